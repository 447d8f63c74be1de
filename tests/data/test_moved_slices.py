"""Slices whose files came or went since they were corrected."""

import json

import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.convert import convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import InputError
from tests.data.corrected import CASE, content, flipped, kaggle, opened


def without(root, before, *removed):
    """What the folder held before, but for the removed files."""
    return {name: data for name, data in before.items() if not any(part in name for part in removed)}


def remove(root, *numbers):
    for number in numbers:
        (root / CASE / f"{CASE}_{number}.tif").unlink()
        (root / CASE / f"{CASE}_{number}_mask.tif").unlink()


class TestKaggle:
    def test_the_patients_folder_has_another_name(self, tmp_path):
        root = kaggle(tmp_path)
        before = content(root)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 1, 3), [1, 3])
        (root / CASE).rename(root / "first patient")
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == [1, 3]
        np.testing.assert_array_equal(again[CASE].read_original_mask(), mask)
        again.save_correction(CASE, flipped(mask, 1, 2, 3), [2])
        assert open_dataset(root)[CASE].corrected_slices() == [1, 2, 3]
        for each in reversed(again.corrections(CASE)):
            again.revert(each.id)
        assert line.id in [each.id for each in again.corrections(CASE)]
        (root / "first patient").rename(root / CASE)
        assert content(root) == before

    def test_another_patient_takes_the_place_of_one(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 1), [1])
        (root / CASE).rename(tmp_path / "put aside")
        for file in kaggle(tmp_path / "other").joinpath(CASE).iterdir():
            pixels = tifffile.imread(file)
            (root / "second").mkdir(exist_ok=True)
            tifffile.imwrite(root / "second" / file.name, 255 - pixels if "mask" in file.name else pixels)
        before = content(root)
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == []
        with pytest.raises(InputError, match="no longer there"):
            again.revert(line.id)
        assert content(root) == before

    def test_a_file_before_it_is_removed(self, tmp_path):
        root = kaggle(tmp_path, slices=6)
        before = content(root)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 1, 4), [1, 4])
        remove(root, 1)
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == [0, 3]
        np.testing.assert_array_equal(again[CASE].read_original_mask(), mask[1:])
        other = again.save_correction(CASE, flipped(mask, 1, 2, 4)[1:], [1])
        assert open_dataset(root)[CASE].corrected_slices() == [0, 1, 3]
        again.revert(line.id)
        again.revert(other.id)
        assert content(root) == without(root, before, f"{CASE}_1.tif", f"{CASE}_1_mask.tif")

    def test_a_file_is_added(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 2), [2])
        tifffile.imwrite(root / CASE / f"{CASE}_0.tif", tifffile.imread(root / CASE / f"{CASE}_1.tif"))
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == [3]
        again.revert(line.id)
        np.testing.assert_array_equal(again[CASE].read_mask()[1:], mask)

    def test_one_of_its_own_is_gone(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 0, 2), [0, 2])
        remove(root, 1)
        again = open_dataset(root)
        again.revert(line.id)
        np.testing.assert_array_equal(again[CASE].read_mask(), mask[1:])

    def test_all_of_its_own_are_gone(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 1), [1])
        remove(root, 2)
        after = content(root)
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == []
        with pytest.raises(InputError, match=f"the slices of correction {line.id} are no longer there"):
            again.revert(line.id)
        assert content(root) == after

    def test_one_slice_is_left(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 3), [3])
        remove(root, 1, 2, 3)
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == [0]
        again.revert(line.id)
        np.testing.assert_array_equal(again[CASE].read_mask(), mask[3:])


def test_folders(tmp_path):
    convert(open_dataset(kaggle(tmp_path)), tmp_path / "folders", layout="folders")
    root = tmp_path / "folders"
    dataset, mask = opened(root)
    line = dataset.save_correction(CASE, flipped(mask, 2), [2])
    for folder in ("images", "masks"):
        (root / folder / CASE / "0000.png").unlink()
    again = open_dataset(root)
    assert again[CASE].corrected_slices() == [1]
    again.revert(line.id)
    np.testing.assert_array_equal(again[CASE].read_mask(), mask[1:])


def test_coco(tmp_path):
    convert(open_dataset(kaggle(tmp_path)), tmp_path / "coco", layout="coco")
    path = tmp_path / "coco" / "_annotations.coco.json"
    dataset, mask = opened(path.parent)
    line = dataset.save_correction(CASE, flipped(mask, 0, 2), [0, 2])
    assert line.names == (f"{CASE}/0000.png", f"{CASE}/0002.png")
    whole = json.loads(path.read_text())
    gone = whole["images"].pop(0)
    whole["annotations"] = [each for each in whole["annotations"] if each["image_id"] != gone["id"]]
    path.write_text(json.dumps(whole))
    again = open_dataset(path.parent)
    assert again[CASE].corrected_slices() == [1]
    again[CASE].read_mask()
    again.revert(line.id, overwrite=True)
    np.testing.assert_array_equal(again[CASE].read_mask(), mask[1:])


def test_a_mask_of_another_name_is_another_mask(tmp_path):
    source = kaggle(tmp_path)
    convert(open_dataset(source), tmp_path / "files", layout="files")
    root = tmp_path / "files"
    dataset, mask = opened(root)
    line = dataset.save_correction(CASE, flipped(mask, 2), [2])
    (root / f"{CASE}_mask.nii.gz").rename(root / "old.nii.gz")
    (root / f"{CASE}_seg.nii.gz").write_bytes((root / "old.nii.gz").read_bytes())
    (root / "old.nii.gz").rename(root / f"{CASE}_mask.nii")
    again = open_dataset(root)
    assert again[CASE].corrected_slices() == []
    with pytest.raises(InputError, match=f"the slices of correction {line.id} are no longer there"):
        again.revert(line.id)
