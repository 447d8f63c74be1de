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


def make_mixed(root, layout, *masks):
    """A case of 6x7 pixels with a file a slice, of which each mask has the values given in its first row."""
    for z, values in enumerate(masks):
        mask = np.zeros((6, 7), np.array(values).dtype if values else np.uint8)
        mask[0, : len(values)] = values
        image, path = f"p1/p1_{z}.tif", f"p1/p1_{z}_mask.tif"
        if layout == "folders":
            image, path = f"images/p1/{z}.tif", f"masks/p1/{z}.tif"
        for name, pixels in ((image, np.full((6, 7), 9, np.uint8)), (path, mask)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(root / name, pixels)
    return root


def values_in_files(root):
    paths = sorted(path for path in root.rglob("*.tif") if "mask" in path.relative_to(root).as_posix())
    return [np.unique(tifffile.imread(path)).tolist() for path in paths]


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


BITS = [np.True_] * 3
U16 = [np.uint16(65535)] * 3


@pytest.mark.parametrize("layout", ["kaggle", "folders"])
class TestSlicesOfSeveralPrograms:
    """Files of one case with 0 and 1, and with 0 and 255, as ImageJ writes them."""

    @pytest.mark.parametrize("masks", [([255], [1]), ([1], [255], []), (BITS, [255]), ([1], U16, [255]), (U16, [255])])
    def test_are_of_one_class(self, tmp_path, layout, masks):
        root = make_mixed(tmp_path, layout, *masks)
        dataset, mask = opened(root)
        assert dataset.layout == layout
        assert [int(plane.sum()) for plane in mask] == [len(values) for values in masks]
        assert labels_of(dataset["p1"]) == [0, 1]

    def test_keep_their_own_values(self, tmp_path, layout):
        root = make_mixed(tmp_path, layout, [255], [1], [], [255], [1])
        before = content(root)
        dataset, mask = opened(root)
        mask[:3, 4, 4] = 1
        line = dataset.save_correction("p1", mask, [0, 1, 2])
        assert values_in_files(root) == [[0, 255], [0, 1], [0, 255], [0, 255], [0, 1]]
        assert len(content(root).items() - before.items()) == 3
        np.testing.assert_array_equal(open_dataset(root)["p1"].read_mask(), mask)
        assert int(dataset["p1"].read_original_mask().sum()) == 4
        dataset.revert(line.id)
        assert content(root) == before

    def test_keep_them_where_a_slice_was_cleared(self, tmp_path, layout):
        root = make_mixed(tmp_path, layout, [255], [1], [1], [255])
        dataset, mask = opened(root)
        dataset.save_correction("p1", np.zeros_like(mask), [0, 1])
        dataset.save_correction("p1", mask, [0, 1])
        assert values_in_files(root) == [[0, 255], [0, 1], [0, 1], [0, 255]]

    def test_have_no_room_for_another_class(self, tmp_path, layout):
        root = make_mixed(tmp_path, layout, [255], [1])
        before = content(root)
        dataset, mask = opened(root)
        mask[0, 3, 3] = 2
        with pytest.raises(InputError, match="label 1 as 1 in some files and as 255 in others; give it one value"):
            dataset.save_correction("p1", mask, [0])
        assert content(root) == before

    @pytest.mark.parametrize(
        ("masks", "labels"),
        [
            (([1, 255], [1]), [0, 1, 255]),
            (([1, 2], [255]), [0, 1, 2, 255]),
            (([1], [2], [4]), [0, 1, 2, 4]),
            (([2], [255]), [0, 1, 2]),
            (([1], [254]), [0, 1, 254]),
        ],
    )
    def test_are_classes_where_a_file_has_several_or_another(self, tmp_path, layout, masks, labels):
        dataset, _ = opened(make_mixed(tmp_path, layout, *masks))
        assert labels_of(dataset["p1"]) == labels
