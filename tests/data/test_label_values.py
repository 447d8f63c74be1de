"""Which label a stored value is, and which value a label is stored as."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.convert import convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.volume import foreground_values, to_labels, value_of_one
from napari_unet_seg.errors import InputError
from tests.data.corrected import CASE, content, kaggle, nifti, opened
from tests.data.test_dataset import make_sequences, save_nifti

CLASSES = {"background": 0, "edema": 1, "core": 2, "enhancing": 3}


def stored(path):
    return np.unique(np.asanyarray(nib.load(path).dataobj)).tolist()


def labels_of(case):
    return np.unique(case.read_mask()).tolist()


def make_nnunet(root, labels, **masks):
    """A case of 9x10x5 voxels for each mask, of which a corner has the values given."""
    for name, values in masks.items():
        save_nifti(root / "imagesTr" / f"{name}_0000.nii.gz", np.ones((9, 10, 5), np.int16))
        truth = np.zeros((9, 10, 5), np.uint8)
        truth[: len(values), 0, 1] = values
        save_nifti(root / "labelsTr" / f"{name}.nii.gz", truth)
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "FLAIR"}, "labels": labels}))
    return root


@pytest.mark.parametrize(
    ("values", "foreground", "one"),
    [
        ((), 1, 1),
        ((1,), 255, 1),
        ((255,), 1, 255),
        ((65535,), 255, 65535),
        ((128,), 255, 128),
        ((2,), 1, 1),
        ((4,), 255, 1),
        ((1, 255), 255, 1),
        ((2, 255), 255, 255),
        ((85, 255), 255, 1),
        ((2, 100), 255, 1),
        ((2,), 2, 2),
        ((3,), 2, 2),
        ((1, 3), 2, 1),
    ],
)
def test_what_stands_for_label_1(values, foreground, one):
    assert value_of_one(values, foreground=foreground) == one


def test_labels_beside_white_of_16_bits():
    values = np.array([[[0, 2, 65535]]], np.uint16)
    assert to_labels(values, value_of_one(foreground_values(values))).tolist() == [[[0, 2, 1]]]
    with pytest.raises(InputError, match="labels up to 300; at most 255"):
        to_labels(np.array([0, 2, 300, 65535]), 65535)


def test_a_case_that_shows_one_class_of_several(tmp_path):
    truth = make_sequences(tmp_path / "p1")
    path = tmp_path / "p1" / "p1_seg.nii.gz"
    save_nifti(path, truth.T * 2)
    before = content(tmp_path)
    dataset, mask = opened(tmp_path)
    np.testing.assert_array_equal(mask, truth * 2)
    mask[3, :2] = 1
    line = dataset.save_correction("p1", mask, [3])
    np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj).T, mask)
    np.testing.assert_array_equal(open_dataset(tmp_path)["p1"].read_mask(), mask)
    np.testing.assert_array_equal(dataset["p1"].read_original_mask(), truth * 2)
    dataset.revert(line.id)
    assert content(tmp_path) == before


def test_classes_that_nnunet_names(tmp_path):
    root = make_nnunet(tmp_path / "raw", CLASSES, a=[1, 2, 3], b=[2])
    dataset = open_dataset(root)
    assert [labels_of(case) for case in dataset] == [[0, 1, 2, 3], [0, 2]]
    convert(dataset, tmp_path / "again", layout="nnunet")
    assert stored(tmp_path / "again" / "labelsTr" / "b.nii.gz") == [0, 2]
    mask = dataset["b"].read_mask()
    for label in (1, 3, 2):
        mask[4, label] = label
        dataset.save_correction("b", mask, [4])
        np.testing.assert_array_equal(open_dataset(root)["b"].read_mask(), mask)
    assert stored(root / "labelsTr" / "b.nii.gz") == [0, 1, 2, 3]


def test_nnunet_whose_only_class_is_not_1(tmp_path):
    root = make_nnunet(tmp_path, {"background": 0, "tumour": 2}, a=[2], b=[])
    dataset = open_dataset(root)
    assert labels_of(dataset["a"]) == [0, 1]
    mask = np.zeros((5, 10, 9), np.uint8)
    mask[1] = 1
    dataset.save_correction("b", mask, [1])
    assert stored(root / "labelsTr" / "b.nii.gz") == [0, 2]
    np.testing.assert_array_equal(open_dataset(root)["b"].read_mask(), mask)


@pytest.mark.parametrize(
    ("classes", "stored", "labels"),
    [
        ([1, 77], [77], [0, 77]),
        ([1, 255], [255], [0, 255]),
        ([1, 2], [2, 255], [0, 1, 2]),
        ([1], [255], [0, 1]),
        ([255], [255], [0, 1]),
        ([4], [4], [0, 1]),
        ([100, 200], [200], [0, 200]),
        ([100, 200], [100, 200], [0, 1, 200]),
    ],
)
def test_what_nnunet_names_is_a_class_however_high(tmp_path, classes, stored, labels):
    names = {"background": 0} | {f"class{value}": value for value in classes}
    root = make_nnunet(tmp_path, names, a=stored)
    assert labels_of(open_dataset(root)["a"]) == labels


def test_a_high_class_that_nnunet_names_is_saved_as_it_is(tmp_path):
    root = make_nnunet(tmp_path, {"background": 0, "gm": 1, "wmh": 77}, a=[77])
    dataset = open_dataset(root)
    mask = dataset["a"].read_mask()
    mask[2, 0, :2] = 1, 77
    line = dataset.save_correction("a", mask, [2])
    assert stored(root / "labelsTr" / "a.nii.gz") == [0, 1, 77]
    np.testing.assert_array_equal(open_dataset(root)["a"].read_mask(), mask)
    dataset.revert(line.id)
    assert stored(root / "labelsTr" / "a.nii.gz") == [0, 77]


@pytest.mark.parametrize("value", [1, 2, 4])
def test_a_lone_nifti_mask_has_the_labels_that_it_says(tmp_path, value):
    root = nifti(tmp_path, values=(0, value))
    dataset, mask = opened(root)
    assert np.unique(mask).tolist() == [0, value]
    mask[2] = np.where(mask[2] == 0, 1, 0)
    dataset.save_correction("p1", mask, [2])
    np.testing.assert_array_equal(open_dataset(root)["p1"].read_mask(), mask)
    assert stored(root / "p1_mask.nii.gz") == sorted({0, 1, value})


def test_a_class_beside_white_is_read_without_the_log_too(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    mask[1, :3, :3] = 2
    dataset.save_correction(CASE, mask, [1])
    shutil.rmtree(root / ".unetseg")
    np.testing.assert_array_equal(open_dataset(root)[CASE].read_mask(), mask)


def test_corrections_of_one_class_keep_its_value(tmp_path):
    # Written when any lone value was label 1.
    root = nifti(tmp_path, values=(0, 2))
    log = root / ".unetseg" / "corrections.jsonl"
    dataset, mask = opened(root)
    dataset.save_correction("p1", mask, [1], kind="accepted")
    record = json.loads(log.read_text())
    del record["one"]
    log.write_text(json.dumps(record) + "\n")
    dataset, mask = opened(root)
    assert np.unique(mask).tolist() == [0, 1]
    dataset.save_correction("p1", 1 - mask, [3])
    assert stored(root / "p1_mask.nii.gz") == [0, 2]


def test_a_mask_of_half_precision_is_read_without_a_word(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(320, dtype=np.uint16).reshape(16, 20))
    tifffile.imwrite(tmp_path / "a_mask.tif", np.eye(16, 20, dtype=np.float16) * 255)
    np.testing.assert_array_equal(open_dataset(tmp_path)["a"].read_mask()[0], np.eye(16, 20))
