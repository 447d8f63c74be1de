"""Slices whose own mask file is damaged, beside others of the case."""

import numpy as np
import pytest

from napari_unet_seg.data.convert import convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import ChangedElsewhereError, InputError
from tests.data.corrected import CASE, content, flipped, kaggle, opened

DAMAGES = {"cut short": lambda held: held[: len(held) // 2], "garbage": lambda _: b"no image", "empty": lambda _: b""}


@pytest.fixture(params=["kaggle", "folders"])
def root(request, tmp_path):
    """A case with a mask file a slice."""
    if request.param == "kaggle":
        return kaggle(tmp_path)
    convert(open_dataset(kaggle(tmp_path / "made")), tmp_path / "dataset", layout="folders")
    return tmp_path / "dataset"


def damage(root, z, how="cut short"):
    """The mask file of a slice, and what it holds now."""
    path = open_dataset(root)[CASE].scan.mask_paths[z]
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    return path, path.read_bytes()


def originals(root):
    return [path.read_bytes() for path in (root / ".unetseg" / "originals").iterdir()]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_slice_is_not_labelled_and_named(root, how):
    whole = open_dataset(root)[CASE].read_mask()
    path, _ = damage(root, 2, how)
    case = open_dataset(root)[CASE]
    np.testing.assert_array_equal(case.read_mask()[[0, 1, 3]], whole[[0, 1, 3]])
    assert case.labelled_slices().tolist() == [True, True, False, True]
    assert case.read_truth()[1].tolist() == [True, True, False, True]
    (note,) = case.mask_notes()
    assert note.startswith(f"the mask {path.name} cannot be used (")
    assert note.endswith("so slice 2 counts as not labelled; correct and save it anew, or restore the file")
    with pytest.raises(InputError, match=f"{path.name}: "):
        case.check_mask()


def test_several_are_told_of_in_one_line(root):
    path, _ = damage(root, 1)
    damage(root, 3, "empty")
    (note,) = open_dataset(root)[CASE].mask_notes()
    assert note.startswith(f"the mask {path.name} and 1 more cannot be used (")
    assert "slices 1, 3 count as not labelled; correct and save them anew" in note


def test_the_other_slices_are_saved(root):
    path, damaged = damage(root, 2)
    before = content(root)
    dataset, mask = opened(root)
    line = dataset.save_correction(CASE, flipped(mask, 1), [1])
    assert path.read_bytes() == damaged
    np.testing.assert_array_equal(open_dataset(root)[CASE].read_mask(), flipped(mask, 1))
    dataset.revert(line.id)
    assert content(root) == before


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("filled", [0, 1])
def test_the_damaged_one_is_replaced_and_comes_back_when_that_is_reverted(root, how, filled):
    path, damaged = damage(root, 2, how)
    dataset, mask = opened(root)
    mask[2] = filled
    lines = [dataset.save_correction(CASE, mask, [2], kind="accepted")]
    assert damaged in originals(root)
    mask[2, 0, 0] = 1
    lines.append(dataset.save_correction(CASE, mask, [2]))
    case = open_dataset(root)[CASE]
    np.testing.assert_array_equal(case.read_mask(), mask)
    assert case.labelled_slices().all()
    assert case.mask_notes() == ()
    assert case.read_truth()[1].tolist() == [True, True, False, True]
    dataset.revert(lines[1].id)
    assert (dataset[CASE].read_mask()[2] == filled).all()
    dataset.revert(lines[0].id)
    assert path.read_bytes() == damaged
    assert not dataset[CASE].labelled_slices()[2]


def test_a_correction_that_was_damaged_is_not_replaced_unseen_nor_lost(root):
    dataset, mask = opened(root)
    held = dataset[CASE].scan.mask_paths[2].read_bytes()
    line = dataset.save_correction(CASE, flipped(mask, 2), [2])
    path, damaged = damage(root, 2)
    with pytest.raises(ChangedElsewhereError, match=path.name):
        dataset.save_correction(CASE, mask, [2])
    assert path.read_bytes() == damaged
    dataset.revert(line.id, overwrite=True)
    assert path.read_bytes() == held
    assert damaged in originals(root)


def test_what_comes_back_meanwhile_is_not_replaced_unseen(root):
    held = open_dataset(root)[CASE].scan.mask_paths[2].read_bytes()
    path, _ = damage(root, 2)
    dataset, mask = opened(root)
    path.write_bytes(held)
    with pytest.raises(ChangedElsewhereError, match=path.name):
        dataset.save_correction(CASE, flipped(mask, 2), [2])
    assert path.read_bytes() == held


def test_masks_none_of_which_can_be_used_are_an_error(root):
    for z in range(4):
        damage(root, z)
    case = open_dataset(root)[CASE]
    for read in (case.read_mask, case.mask_notes, case.check_mask):
        with pytest.raises(InputError, match=r"(damaged|not a PNG)"):
            read()


def test_a_file_that_cannot_be_opened_is_not_taken_for_damaged(root):
    path = open_dataset(root)[CASE].scan.mask_paths[2]
    path.unlink()
    path.symlink_to(root.parent / "a drive that is gone")
    with pytest.raises(InputError, match=f"{path.name}: there is no such file"):
        open_dataset(root)[CASE].read_mask()


def test_the_case_is_left_out_of_what_is_converted(root, tmp_path):
    damage(root, 2)
    failed = []
    convert(open_dataset(root), tmp_path / "again", layout="files", failed=lambda case, _: failed.append(case.case_id))
    assert failed == [CASE]
