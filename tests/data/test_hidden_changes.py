"""A dataset that is corrected in its own folder while an overlay lies over it."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from napari_unet_seg.data.convert import convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.engine.round_data import read_round
from tests.data.corrected import CASE, content, flipped, kaggle, nifti, opened

NOTE = "the dataset has newer corrections of 1 mask file that the overlay folder holds copies of"


@pytest.fixture
def both(tmp_path):
    """A dataset of a single mask file, the same through an overlay, and that mask."""
    root = nifti(tmp_path)
    below, mask = opened(root)
    over, _ = opened(root, overlay=tmp_path / "over")
    return below, over, mask


def again(dataset):
    return open_dataset(dataset.root, overlay=dataset.overlay)


def test_what_is_saved_there_later_is_no_correction_here(both, tmp_path):
    below, over, mask = both
    line = over.save_correction("p1", flipped(mask, 2), [2])
    below.save_correction("p1", flipped(mask, 4), [4])
    for dataset in (over, again(over)):
        assert dataset["p1"].corrected_slices() == [2]
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 2))
    assert any(NOTE in note and "p1_mask.nii.gz" in note for note in again(over).repair_notes)
    assert again(below).repair_notes == []
    (sample,) = read_round(
        over, scope="model", case=None, channel_names=over["p1"].read_image().channel_names
    ).corrected
    assert list(sample.corrected) == [2]
    convert(over, tmp_path / "converted", layout="files")
    assert open_dataset(tmp_path / "converted")["p1"].corrected_slices() == [2]
    # Without its own correction the overlay shows what the dataset has by now.
    over.revert(line.id)
    for dataset in (over, again(over)):
        assert dataset["p1"].corrected_slices() == [4]
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 4))
        np.testing.assert_array_equal(dataset["p1"].read_original_mask(), mask)
        assert not any(NOTE in note for note in dataset.repair_notes)
    assert content(over.overlay) == {}


def test_what_is_reverted_there_later_stands_here(both):
    below, over, mask = both
    lower = below.save_correction("p1", flipped(mask, 4), [4])
    line = over.save_correction("p1", flipped(mask, 2, 4), [2])
    below.revert(lower.id)
    for dataset in (over, again(over)):
        assert dataset["p1"].corrected_slices() == [2, 4]
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 2, 4))
    over.revert(line.id)
    assert again(over)["p1"].corrected_slices() == []
    np.testing.assert_array_equal(over["p1"].read_mask(), mask)
    assert content(over.overlay) == {}


def test_a_copy_that_began_anew_holds_what_came_between(both):
    below, over, mask = both
    over.revert(over.save_correction("p1", flipped(mask, 2), [2]).id)
    below.save_correction("p1", flipped(mask, 4), [4])
    over.save_correction("p1", flipped(mask, 1, 4), [1])
    assert again(over)["p1"].corrected_slices() == [1, 4]
    assert again(over).repair_notes == []
    below.save_correction("p1", flipped(mask, 3, 4), [3])
    assert again(over)["p1"].corrected_slices() == [1, 4]
    np.testing.assert_array_equal(over["p1"].read_mask(), flipped(mask, 1, 4))


def test_a_copy_of_what_another_program_wrote(both):
    below, over, mask = both
    path = below.root / "p1_mask.nii.gz"
    image = nib.load(path)
    lower = below.save_correction("p1", flipped(mask, 4), [4])
    labels = flipped(mask, 0, 4)
    nib.save(nib.Nifti1Image(labels.transpose(2, 1, 0), image.affine), path)
    over = again(over)
    over.save_correction("p1", flipped(over["p1"].read_mask(), 2), [2])
    below["p1"].read_mask()
    below.revert(lower.id)
    assert again(over)["p1"].corrected_slices() == [2, 4]


def test_a_line_of_several_files_of_which_one_is_copied(tmp_path):
    root = kaggle(tmp_path / "here")
    below, mask = opened(root)
    over = open_dataset(root, overlay=tmp_path / "over")
    over.save_correction(CASE, flipped(mask, 1), [1])
    below.save_correction(CASE, flipped(mask, 1, 3) * 0, [1, 3])
    shown = flipped(mask, 1)
    shown[3] = 0
    for dataset in (over, again(over)):
        np.testing.assert_array_equal(dataset[CASE].read_mask(), shown)
        assert {z: line.slices for z, line in dataset[CASE].shown_corrections().items()} == {1: (1,), 3: (3,)}


def test_one_file_for_all_patients(tmp_path):
    convert(open_dataset(kaggle(tmp_path / "first", patients=2)), tmp_path / "coco", layout="coco")
    shutil.rmtree(tmp_path / "first")
    below, mask = opened(tmp_path / "coco")
    one, two = (case.case_id for case in below.cases)
    over = open_dataset(tmp_path / "coco", overlay=tmp_path / "over")
    line = over.save_correction(one, flipped(mask, 1), [1])
    other = below[two].read_mask()
    below.save_correction(two, flipped(other, 2), [2])
    assert again(over).corrected_slices() == {one: [1]}
    np.testing.assert_array_equal(over[two].read_mask(), other)
    over.revert(line.id)
    assert again(over).corrected_slices() == {two: [2]}
    np.testing.assert_array_equal(over[two].read_mask(), flipped(other, 2))
