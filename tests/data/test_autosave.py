import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from napari_unet_seg.data.autosave import autosave_path, read_autosave, write_autosave
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import dicom_scan
from napari_unet_seg.errors import InputError
from tests.data.corrected import CASE, content, flipped, kaggle, nifti, opened
from tests.data.dicom_files import write_series
from tests.data.test_dataset import make_sequences, save_nifti


def test_is_found_again(tmp_path):
    root = kaggle(tmp_path)
    before = content(root)
    dataset, mask = opened(root)
    dataset.autosave(CASE, flipped(mask, 1, 3), [3, 1], model="default", annotator="me")
    assert content(root) == before
    again = open_dataset(root)
    autosave = again.read_autosave(CASE)
    assert (autosave.case, autosave.slices, autosave.shape) == (CASE, (1, 3), mask.shape)
    assert (autosave.model, autosave.annotator, autosave.changed) == ("default", "me", ())
    assert autosave.time.endswith("+00:00")
    for z, plane in autosave.planes().items():
        np.testing.assert_array_equal(plane, flipped(mask, 1, 3)[z])
    again.drop_autosave(CASE)
    assert again.read_autosave(CASE) is None
    again.drop_autosave(CASE)


def test_cases_with_one_are_named_without_reading_it(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    assert dataset.kept_edits() == frozenset()
    dataset.autosave(CASE, flipped(mask, 1), [1])
    assert open_dataset(root).kept_edits() == {CASE}
    dataset.save_correction(CASE, flipped(mask, 1), slices=[1])
    assert open_dataset(root).kept_edits() == frozenset()


def test_a_mask_of_0_and_255_is_one_of_0_and_1(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    edited = 255 * flipped(mask, 1, 3)
    # What is not named is not looked at.
    edited = edited.astype(np.int64)
    edited[0, 0, 0] = 999
    dataset.autosave(CASE, edited, [1, 3])
    for z, plane in dataset.read_autosave(CASE).planes().items():
        np.testing.assert_array_equal(plane, flipped(mask, 1, 3)[z])
    dataset.save_correction(CASE, edited, slices=[1])
    assert dataset.read_autosave(CASE).slices == (3,)
    dataset.save_correction(CASE, edited, slices=[3])
    assert dataset.read_autosave(CASE) is None
    assert dataset.kept_edits() == frozenset()


def test_the_last_one_counts(tmp_path):
    dataset, mask = opened(kaggle(tmp_path))
    dataset.autosave(CASE, flipped(mask, 1), [1])
    dataset.autosave(CASE, flipped(mask, 2), [2])
    assert dataset.read_autosave(CASE).slices == (2,)


def test_is_no_damaged_one_where_the_image_or_the_mask_cannot_be_read(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    dataset.autosave(CASE, flipped(mask, 1), [1])
    masks = sorted((root / CASE).glob("*_mask.tif"))
    images = sorted(path for path in (root / CASE).glob("*.tif") if path not in masks)
    was = masks[2].read_bytes()
    masks[2].write_bytes(was[:40])
    assert dataset.read_autosave(CASE).slices == (1,)
    masks[2].write_bytes(was)
    again = open_dataset(root)
    for image in images:
        image.rename(image.with_suffix(".away"))
    with pytest.raises(InputError, match="no such file"):
        again.read_autosave(CASE)
    for image in images:
        image.with_suffix(".away").rename(image)
    assert open_dataset(root).read_autosave(CASE).slices == (1,)


def test_is_put_back_as_it_was(tmp_path):
    dataset, mask = opened(kaggle(tmp_path))
    mine = mask.copy()
    mine[1], mine[2] = np.eye(16), np.eye(16)
    dataset.autosave(CASE, mine, [1], model="default")
    open_dataset(dataset.root).save_correction(CASE, flipped(mask, 1), [1])
    again = open_dataset(dataset.root)
    kept = again.read_autosave(CASE)
    again.autosave(CASE, mine, [1, 2])
    again.put_back_autosave(CASE, kept)
    back = open_dataset(dataset.root).read_autosave(CASE)
    assert (back.slices, back.changed, back.time, back.model) == ((1,), (1,), kept.time, "default")
    np.testing.assert_array_equal(back.planes()[1], mine[1])


def test_what_is_saved_is_left_out(tmp_path):
    dataset, mask = opened(kaggle(tmp_path))
    edited = flipped(mask, 1, 2)
    dataset.autosave(CASE, edited, [1, 2])
    dataset.save_correction(CASE, edited, [1])
    assert dataset.read_autosave(CASE).slices == (2,)
    dataset.save_correction(CASE, edited, [2])
    assert dataset.read_autosave(CASE) is None
    assert list((dataset.root / ".unetseg" / "autosave").iterdir()) == []


def test_an_edit_that_went_on_is_kept(tmp_path):
    dataset, mask = opened(kaggle(tmp_path))
    further = mask.copy()
    further[1] = np.eye(16)
    dataset.autosave(CASE, further, [1])
    dataset.save_correction(CASE, flipped(mask, 1), [1])
    np.testing.assert_array_equal(dataset.read_autosave(CASE).planes()[1], further[1])


def test_tells_what_has_changed_since(tmp_path):
    root = nifti(tmp_path)
    dataset, mask = opened(root)
    mine = mask.copy()
    mine[1], mine[2] = np.eye(12, 10), np.eye(12, 10)
    dataset.autosave("p1", mine, [1, 2])
    open_dataset(root).save_correction("p1", flipped(mask, 1), [1])
    assert dataset.read_autosave("p1").changed == (1,)


def test_of_an_unlabelled_slice(tmp_path):
    dataset = open_dataset(kaggle(tmp_path, masks=False))
    dataset.autosave(CASE, np.zeros((4, 16, 16), np.uint8), [0])
    # An empty slice that was accepted is something else than a slice nobody looked at.
    assert dataset.read_autosave(CASE).slices == (0,)


@pytest.mark.parametrize(("first", "second", "name"), [("HGG/a", "LGG/a", "HGG/a"), ("x/anat", "y/anat", "x/anat")])
def test_is_found_when_the_case_has_another_name(tmp_path, first, second, name):
    make_sequences(tmp_path / first, name="sub-1")
    dataset, mask = opened(tmp_path)
    edited = flipped(mask, 1, 2)
    dataset.autosave(dataset.cases[0].case_id, edited, [1, 2])
    make_sequences(tmp_path / second, name="sub-1")
    again = open_dataset(tmp_path)
    assert [case.case_id for case in again if again.read_autosave(case.case_id)] == [name]
    again.autosave(name, edited, [1])
    assert len(list((tmp_path / ".unetseg" / "autosave").iterdir())) == 1
    assert again.read_autosave(name).slices == (1,)
    again.drop_autosave(name)
    assert list((tmp_path / ".unetseg" / "autosave").iterdir()) == []


def test_of_a_subject_is_found_when_there_are_more(tmp_path):
    make_sequences(tmp_path / "sub-01" / "anat", name="sub-01")
    dataset, mask = opened(tmp_path)
    dataset.autosave("sub-01", flipped(mask, 1), [1])
    make_sequences(tmp_path / "sub-02" / "anat", name="sub-02")
    again = open_dataset(tmp_path)
    assert again.read_autosave("sub-01").slices == (1,)
    assert again.read_autosave("sub-02") is None


def without_mask(root):
    """Rewrite the one autosave of a dataset as it was before the mask was noted."""
    (path,) = (root / ".unetseg" / "autosave").iterdir()
    write_autosave(path, replace(read_autosave(path), mask=""))


@pytest.mark.parametrize("single", [False, True])
def test_that_notes_no_mask_is_found_by_the_former_name(tmp_path, monkeypatch, single):
    write_series(tmp_path / "p1" / "t1", np.zeros((4, 7, 8), np.int16), description="t1")
    root = tmp_path / "p1" / "t1"
    opened_as = root / "IM0000" if single else root
    with monkeypatch.context() as former:
        former.setattr(dicom_scan, "_names", dicom_scan._mask_names)
        open_dataset(opened_as).autosave("t1", np.ones((4, 7, 8), np.uint8), [1])
    without_mask(root)
    again = open_dataset(opened_as)
    assert again.read_autosave("p1_t1").slices == (1,)
    again.drop_autosave("p1_t1")
    assert list((root / ".unetseg" / "autosave").iterdir()) == []


@pytest.mark.parametrize(("slices", "found"), [(5, False), (4, True)])
def test_that_notes_no_mask_is_given_to_nobody_in_doubt(tmp_path, slices, found):
    make_sequences(tmp_path / "sub-01" / "anat", name="sub-01")
    dataset, mask = opened(tmp_path)
    kept = replace(dataset.autosave("sub-01", flipped(mask, 1), [1]), case="anat", mask="")
    dataset.drop_autosave("sub-01")
    write_autosave(autosave_path(tmp_path / ".unetseg" / "autosave", "anat"), kept)
    assert open_dataset(tmp_path).read_autosave("sub-01").slices == (1,)
    for suffix in ("flair", "t1"):
        path = tmp_path / "sub-02" / "anat" / f"sub-02_{suffix}.nii.gz"
        save_nifti(path, np.zeros((9, 10, slices), np.int16))
    again = open_dataset(tmp_path)
    assert (again.read_autosave("sub-01") is not None, again.read_autosave("sub-02")) == (found, None)


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_one_is_set_aside(tmp_path, damage):
    dataset, mask = opened(kaggle(tmp_path))
    dataset.autosave(CASE, flipped(mask, 1), [1])
    (path,) = (dataset.root / ".unetseg" / "autosave").iterdir()
    path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
    assert dataset.read_autosave(CASE) is None
    assert "is damaged" in dataset.repair_notes[0]
    assert [path.suffix for path in path.parent.iterdir()] == [".damaged"]


def test_of_a_scan_that_has_another_shape_now(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    dataset.autosave(CASE, flipped(mask, 1), [1])
    (root / CASE / f"{CASE}_4.tif").unlink()
    (root / CASE / f"{CASE}_4_mask.tif").unlink()
    assert open_dataset(root).read_autosave(CASE) is None


def test_a_failure_leaves_the_last_one(tmp_path, monkeypatch):
    dataset, mask = opened(kaggle(tmp_path))
    dataset.autosave(CASE, flipped(mask, 1), [1])

    def write(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(InputError, match=r"cannot be autosaved \(no space left on device\)"):
            dataset.autosave(CASE, flipped(mask, 2), [2])
    assert dataset.read_autosave(CASE).slices == (1,)
    assert len(list((dataset.root / ".unetseg" / "autosave").iterdir())) == 1


@pytest.mark.parametrize("slices", [[], [4]])
def test_bad_input(tmp_path, slices):
    dataset, mask = opened(kaggle(tmp_path))
    with pytest.raises(InputError, match="slice"):
        dataset.autosave(CASE, mask, slices)


def test_in_a_folder_that_may_not_be_entered(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # Later Pythons take such a file for one that is not there.
    monkeypatch.setattr("pathlib.Path.stat", refuse)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: bool(path.stat()))
    with pytest.raises(InputError, match="cannot be opened"):
        read_autosave(tmp_path / "edit.npz")


def test_file_names_are_safe_and_different(tmp_path):
    names = ["p1", "P1", "a/b", "a\\b", "..", "con", "Müller «1»", "x" * 300, ""]
    paths = {autosave_path(tmp_path, name) for name in names}
    assert len({str(path).lower() for path in paths}) == len(names)
    for path in paths:
        assert path.parent == tmp_path
        path.write_bytes(b"")
