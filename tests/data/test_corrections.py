import hashlib
import io
import json
import os
import threading
import time
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.correction_log import Correction, CorrectionLog, FileChange
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.data.write_lock import write_lock
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from tests.data.corrected import CASE, content, flipped, kaggle, nifti, opened
from tests.data.dicom_files import write_series
from tests.data.test_dataset import make_sequences

OTHER = "TCGA_XX_1001_20000101"


def mask_file(root, z):
    return root / CASE / f"{CASE}_{z + 1}_mask.tif"


class TestSave:
    def test_goes_into_the_file_and_the_log(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        before = sha256_of(mask_file(root, 2))
        edited = flipped(mask, 2)
        line = dataset.save_correction(CASE, edited, slices=[2], model="default", annotator="me", seconds=7)
        np.testing.assert_array_equal(tifffile.imread(mask_file(root, 2)), edited[2] * 255)
        (logged,) = dataset.corrections(CASE)
        assert logged == line
        assert (line.case, line.slices, line.kind) == (CASE, (2,), "hand")
        assert (line.model, line.annotator, line.seconds) == ("default", "me", 7.0)
        assert line.pixels_changed == 256
        (change,) = line.files
        assert change.file == f"{CASE}/{CASE}_3_mask.tif"
        assert (change.before, change.after) == (before, sha256_of(mask_file(root, 2)))
        assert line.hash_before != line.hash_after
        (text,) = (root / ".unetseg" / "corrections.jsonl").read_text().splitlines()
        assert json.loads(text)["slices"] == [2]

    def test_other_slices_of_the_mask_are_not_looked_at(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        before = content(root)
        dataset.save_correction(CASE, flipped(mask, 0, 2), [2])
        changed = {name for name, data in content(root).items() if data != before[name]}
        assert changed == {f"{CASE}/{CASE}_3_mask.tif"}

    def test_a_name_as_long_as_a_drive_has_room_for(self, tmp_path):
        root = nifti(tmp_path)
        for ending in (".nii.gz", "_mask.nii.gz"):
            (root / f"p1{ending}").rename(root / f"{'p' * 243}{ending}")
        dataset, mask = opened(root)
        (case,) = dataset
        dataset.autosave(case.case_id, flipped(mask, 1), [1])
        line = dataset.save_correction(case.case_id, flipped(mask, 2), [2])
        np.testing.assert_array_equal(opened(root)[1], flipped(mask, 2))
        dataset.revert(line.id)
        np.testing.assert_array_equal(opened(root)[1], mask)
        assert not list(root.glob(".*.tmp"))

    @pytest.mark.parametrize("value", [np.nan, -1, 0.5, 300])
    def test_other_slices_may_hold_anything(self, tmp_path, value):
        dataset, mask = opened(kaggle(tmp_path))
        edited = flipped(mask, 2).astype(float)
        edited[0, 0, 0] = value
        assert dataset.save_correction(CASE, edited, [2]).slices == (2,)
        np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 2))
        with pytest.raises(InputError, match=f"{CASE}: the mask"):
            dataset.save_correction(CASE, edited)

    def test_all_that_differ_where_no_slice_is_named(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        assert dataset.save_correction(CASE, flipped(mask, 1, 3)).slices == (1, 3)
        with pytest.raises(InputError, match="the mask is as stored, so there is nothing to save; name the slices"):
            dataset.save_correction(CASE, flipped(mask, 1, 3))

    def test_corrected_slices_of_all_cases_are_those_of_each(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        assert dataset.corrected_slices() == {}
        dataset.save_correction(CASE, flipped(mask, 1, 3))
        line = dataset.save_correction(CASE, mask, [0])
        assert dataset.corrected_slices() == {CASE: [0, 1, 3]}
        dataset.revert(line.id)
        assert dataset.corrected_slices() == {CASE: dataset[CASE].corrected_slices()} == {CASE: [1, 3]}

    def test_accepted_as_it_is(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        before = content(root)
        state = mask_file(root, 1).stat()
        line = dataset.save_correction(CASE, mask, [1], kind="accepted")
        assert content(root) == before
        assert mask_file(root, 1).stat().st_ino == state.st_ino
        assert (line.pixels_changed, line.files[0].before) == (0, line.files[0].after)
        assert dataset.cases[0].corrected_slices() == [1]

    @pytest.mark.parametrize(
        ("mask", "slices", "problem"),
        [
            (np.zeros((4, 16, 15)), [0], r"the mask has shape \(4, 16, 15\) but the case \(4, 16, 16\)"),
            (np.zeros((16, 16)), [0], r"the mask has shape \(16, 16\) but"),
            (np.full((4, 16, 16), 0.5), [0], "the mask holds fractions"),
            (np.full((4, 16, 16), -1), [0], "negative labels"),
            (np.full((4, 16, 16), 300), [0], "labels up to 300; at most 255"),
            (np.zeros((4, 16, 16), int), [], "no slice is named"),
            (np.zeros((4, 16, 16), int), [4], "there is no slice 4; it has slices 0 to 3"),
            (np.zeros((4, 16, 16), int), [-1], "there is no slice -1"),
            (np.zeros((4, 16, 16), int), [1.5], "slices must be a list of whole numbers"),
            (np.zeros((4, 16, 16), int), [False, True, True, False], "slices must be a list of whole numbers"),
            (np.zeros((4, 16, 16), int), np.array([True, False]), "slices must be a list of whole numbers"),
            ([[0, 1], [2]], [0], "the mask is no array"),
        ],
    )
    def test_bad_input(self, tmp_path, mask, slices, problem):
        root = kaggle(tmp_path)
        dataset = open_dataset(root)
        with pytest.raises(InputError, match=rf"{CASE}: .*{problem}"):
            dataset.save_correction(CASE, mask, slices)
        assert not (root / ".unetseg").exists()

    @pytest.mark.parametrize("seconds", [float("nan"), float("inf"), "a while", [1]])
    def test_a_time_that_is_no_number(self, tmp_path, seconds):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        with pytest.raises(InputError, match="seconds must be a finite number, got"):
            dataset.save_correction(CASE, mask, [0], seconds=seconds)
        assert not (root / ".unetseg").exists()

    def test_a_negative_time(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        with pytest.raises(InputError, match="seconds cannot be negative, got -1"):
            dataset.save_correction(CASE, mask, [0], seconds=-1)
        assert not (root / ".unetseg").exists()

    def test_unknown_kind_or_case(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        with pytest.raises(InputError, match="cannot be of kind 'guess'; choose one of hand, accepted, interpolated"):
            dataset.save_correction(CASE, mask, [0], kind="guess")
        with pytest.raises(InputError, match="there is no case 'TCGA'"):
            dataset.save_correction("TCGA", mask, [0])

    @pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
    def test_any_number_type(self, tmp_path, kind):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        edited = flipped(mask, 0)
        dataset.save_correction(CASE, edited.astype(kind), np.array([0]))
        np.testing.assert_array_equal(open_dataset(root)[CASE].read_mask(), edited)

    def test_0_and_255_are_0_and_1(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        dataset.save_correction(CASE, flipped(mask, 0) * np.uint8(255), [0])
        np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 0))

    def test_0_and_255_in_the_slices_named_are_0_and_1(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        edited = flipped(mask, 0)
        edited[0] *= 255
        edited[1, 0, 0] = 1
        dataset.save_correction(CASE, edited, [0])
        np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 0))

    def test_none_is_as_left_out(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        line = dataset.save_correction(CASE, flipped(mask, 0), [0], model=None, annotator=None)
        assert (line.model, line.model_hash, line.annotator) == ("", "", "")
        kept = dataset.autosave(CASE, flipped(mask, 1), [1], model=None, annotator=None)
        assert (kept.model, kept.annotator) == ("", "")

    def test_nothing_is_written_by_opening_and_reading(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, _ = opened(root)
        assert dataset.corrections() == []
        assert dataset[CASE].corrected_slices() == []
        assert dataset.read_autosave(CASE) is None
        assert not (root / ".unetseg").exists()

    def test_keeps_the_permissions_of_the_file(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        mask_file(root, 0).chmod(0o640)
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        assert mask_file(root, 0).stat().st_mode & 0o777 == 0o640

    def test_a_link_stays_one(self, tmp_path):
        root = kaggle(tmp_path)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        mask_file(root, 0).rename(elsewhere / "m.tif")
        mask_file(root, 0).symlink_to(elsewhere / "m.tif")
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 0), [0])
        assert mask_file(root, 0).is_symlink()
        np.testing.assert_array_equal(tifffile.imread(elsewhere / "m.tif") > 0, flipped(mask, 0)[0])
        assert [path.name for path in elsewhere.iterdir()] == ["m.tif"]
        dataset.revert(line.id)
        np.testing.assert_array_equal(dataset[CASE].read_mask(), mask)


class TestUnlabelled:
    def test_new_files_are_removed_again(self, tmp_path):
        root = kaggle(tmp_path, masks=False)
        before = content(root)
        dataset, mask = opened(root)
        assert mask is None
        edited = np.zeros((4, 16, 16), np.uint8)
        edited[2, 3:6, 3:6] = 1
        line = dataset.save_correction(CASE, edited, [1, 2])
        case = dataset[CASE]
        assert (case.has_mask, case.has_original_mask) == (True, False)
        assert case.labelled_slices().tolist() == [False, True, True, False]
        assert not case.originally_labelled().any()
        assert case.read_original_mask() is None
        np.testing.assert_array_equal(case.read_mask(), edited)
        assert tifffile.imread(mask_file(root, 2)).max() == 255
        dataset.revert(line.id)
        assert content(root) == before
        assert not dataset[CASE].has_mask

    def test_a_file_of_our_own_labels_only_what_was_corrected(self, tmp_path):
        root = nifti(tmp_path, mask=False)
        dataset = open_dataset(root)
        mask = np.zeros((5, 12, 10), np.uint8)
        mask[1, 2:5, 2:5] = 1
        first = dataset.save_correction("p1", mask, [1])
        second = dataset.save_correction("p1", mask, [3], kind="accepted")
        case = open_dataset(root)["p1"]
        assert case.labelled_slices().tolist() == [False, True, False, True, False]
        np.testing.assert_array_equal(case.read_mask(), mask)
        dataset.revert(first.id)
        assert case.labelled_slices().tolist() == [False, False, False, True, False]
        dataset.revert(second.id)
        assert [path.name for path in root.iterdir() if path.is_file()] == ["p1.nii.gz"]

    def test_slices_that_another_program_fills_in_are_labelled(self, tmp_path):
        root = nifti(tmp_path, mask=False)
        dataset = open_dataset(root)
        dataset.save_correction("p1", np.ones((5, 12, 10), np.uint8), [1])
        path = root / "p1_mask.nii.gz"
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).copy()
        values[..., 4] = 1
        nib.save(nib.Nifti1Image(values, image.affine), path)
        assert open_dataset(root)["p1"].labelled_slices().tolist() == [False, True, False, False, True]


class TestRevert:
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
    @pytest.mark.parametrize("make", [kaggle, nifti])
    def test_in_any_order_back_to_the_same_bytes(self, tmp_path, make, order):
        root = make(tmp_path)
        before = content(root)
        dataset, mask = opened(root)
        case = dataset.cases[0].case_id
        lines = [dataset.save_correction(case, flipped(mask, *slices), slices) for slices in ([0, 1], [1, 2], [1, 3])]
        for index in order:
            dataset.revert(lines[index].id)
        assert content(root) == before
        assert dataset.cases[0].corrected_slices() == []
        np.testing.assert_array_equal(open_dataset(root).cases[0].read_mask(), mask)

    def test_shows_the_newest_that_stands(self, tmp_path):
        dataset, mask = opened(kaggle(tmp_path))
        one, two = mask.copy(), mask.copy()
        one[1], two[1] = 1, np.eye(16)
        first = dataset.save_correction(CASE, one, [1])
        second = dataset.save_correction(CASE, two, [1])
        dataset.revert(first.id)
        np.testing.assert_array_equal(dataset[CASE].read_mask(), two)
        dataset.revert(second.id)
        np.testing.assert_array_equal(dataset[CASE].read_mask(), mask)

    def test_can_be_reverted(self, tmp_path):
        dataset, mask = opened(nifti(tmp_path))
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        taken_back = dataset.revert(line.id)
        assert (taken_back.kind, taken_back.reverts) == ("reverted", line.id)
        dataset.revert(taken_back.id)
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 1))
        assert dataset["p1"].corrected_slices() == [1]

    def test_only_once(self, tmp_path):
        dataset, mask = opened(nifti(tmp_path))
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        dataset.revert(line.id)
        with pytest.raises(InputError, match=f"correction {line.id} is reverted already; revert the line that did it"):
            dataset.revert(line.id)
        with pytest.raises(InputError, match="there is no correction 'x'"):
            dataset.revert("x")
        with pytest.raises(InputError, match=r"there is no correction \['x'\]"):
            dataset.revert(["x"])

    def test_the_original_is_read_meanwhile(self, tmp_path):
        dataset, mask = opened(nifti(tmp_path))
        dataset.save_correction("p1", flipped(mask, 1), [1])
        np.testing.assert_array_equal(dataset["p1"].read_original_mask(), mask)
        assert dataset["p1"].originally_labelled().all()
        assert dataset["p1"].has_original_mask

    def test_without_the_original_it_says_so(self, tmp_path):
        root = nifti(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        for path in (root / ".unetseg" / "originals").iterdir():
            path.unlink()
        with pytest.raises(InputError, match="the original of p1_mask"):
            open_dataset(root).revert(line.id)

    def test_of_a_mask_that_is_gone_brings_the_original_back(self, tmp_path):
        root = nifti(tmp_path)
        before = content(root)
        dataset, mask = opened(root)
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        (root / "p1_mask.nii.gz").unlink()
        open_dataset(root).revert(line.id)
        assert content(root) == before

    @pytest.mark.parametrize("masked", [True, False])
    def test_a_mask_that_is_gone_has_what_is_known_of_it_again(self, tmp_path, masked):
        root = nifti(tmp_path, mask=masked)
        before = content(root)
        dataset = open_dataset(root)
        mask = dataset["p1"].read_mask() if masked else np.zeros((5, 12, 10), np.uint8)
        lines = [dataset.save_correction("p1", flipped(mask, 1), [1])]
        (root / "p1_mask.nii.gz").unlink()
        dataset = open_dataset(root)
        lines.append(dataset.save_correction("p1", flipped(mask, 1, 3), [3]))
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 1, 3))
        assert dataset["p1"].labelled_slices().tolist() == [masked, True, masked, True, masked]
        for line in lines:
            dataset.revert(line.id)
        assert content(root) == before

    @pytest.mark.parametrize("value", [1, 0])
    def test_what_was_written_since_all_were_is_the_original(self, tmp_path, value):
        root = nifti(tmp_path)
        dataset, mask = opened(root)
        dataset.revert(dataset.save_correction("p1", flipped(mask, 1), [1]).id)
        path = root / "p1_mask.nii.gz"
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).copy()
        values[0, 0, 1] = value
        image.header["descrip"] = b"checked"
        nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
        before = content(root)
        dataset, mask = opened(root)
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        assert [each.kind for each in dataset.corrections()] == ["hand", "reverted", "hand"]
        np.testing.assert_array_equal(dataset["p1"].read_original_mask(), mask)
        dataset.revert(line.id)
        assert content(root) == before
        assert dataset["p1"].corrected_slices() == []


class TestClasses:
    def test_of_a_file_with_several_are_kept(self, tmp_path):
        root = nifti(tmp_path, values=(0, 1, 2, 4), kind=np.int16)
        dataset, mask = opened(root)
        edited = np.where(mask == 4, 0, mask).astype(np.uint8)
        edited[edited == 1] = 0  # only one class is left, and it is still class 2
        dataset.save_correction("p1", edited, range(5))
        np.testing.assert_array_equal(open_dataset(root)["p1"].read_mask(), edited)
        assert nib.load(root / "p1_mask.nii.gz").get_data_dtype() == np.int16

    def test_join_a_binary_mask(self, tmp_path):
        root = kaggle(tmp_path)
        before = content(root)
        dataset, mask = opened(root)
        edited = mask.copy()
        edited[1, :4] = 2
        edited[1, 8:] = 1
        line = dataset.save_correction(CASE, edited, [1])
        np.testing.assert_array_equal(open_dataset(root)[CASE].read_mask(), edited)
        assert set(np.unique(tifffile.imread(mask_file(root, 1)))) == {0, 2, 255}
        with pytest.raises(InputError, match="255 stands for label 1 in the masks of this case"):
            dataset.save_correction(CASE, np.full_like(mask, 255), [2])
        dataset.revert(line.id)
        assert content(root) == before

    def test_the_foreground_keeps_its_value(self, tmp_path):
        root = nifti(tmp_path, values=(0, 255))
        dataset, mask = opened(root)
        assert mask.max() == 1
        dataset.save_correction("p1", np.zeros_like(mask), range(5))
        dataset.save_correction("p1", np.ones_like(mask), [2])
        assert np.unique(np.asanyarray(nib.load(root / "p1_mask.nii.gz").dataobj)).tolist() == [0, 255]


class TestOtherWriters:
    def test_another_window_is_told(self, tmp_path):
        root = kaggle(tmp_path)
        one, mask = opened(root)
        two, _ = opened(root)
        one.save_correction(CASE, flipped(mask, 1), [1])
        theirs = mask.copy()
        theirs[1] = np.eye(16)
        after = content(root)
        with pytest.raises(
            ChangedElsewhereError, match=rf"{CASE}_2_mask\.tif: another program .* changed slice 1 since"
        ):
            two.save_correction(CASE, theirs, [1, 2])
        assert content(root) == after
        line = two.save_correction(CASE, theirs, [1], overwrite=True)
        two.revert(line.id)
        np.testing.assert_array_equal(two[CASE].read_mask(), flipped(mask, 1))

    def test_other_slices_and_cases_go_together(self, tmp_path):
        root = nifti(tmp_path)
        one, mask = opened(root)
        two, _ = opened(root)
        one.save_correction("p1", flipped(mask, 1), [1])
        two.save_correction("p1", flipped(mask, 3), [3])
        np.testing.assert_array_equal(one["p1"].read_mask(), flipped(mask, 1, 3))
        assert len(one.corrections()) == len(two.corrections()) == 2
        assert one["p1"].corrected_slices() == [1, 3]

    def test_what_another_program_wrote_can_be_brought_back(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        first = dataset.save_correction(CASE, flipped(mask, 1), [1])
        theirs = np.eye(16, dtype=np.uint8)
        tifffile.imwrite(mask_file(root, 1), theirs * 255)
        with pytest.raises(ChangedElsewhereError, match="another program or window has changed"):
            dataset.save_correction(CASE, mask * 0 + 1, [1])
        ours = dataset.save_correction(CASE, mask * 0 + 1, [1], overwrite=True)
        assert [line.kind for line in dataset.corrections()] == ["hand", "elsewhere", "hand"]
        dataset.revert(ours.id)
        np.testing.assert_array_equal(dataset[CASE].read_mask()[1], theirs)
        dataset.revert(first.id)
        np.testing.assert_array_equal(dataset[CASE].read_mask()[1], theirs)

    def test_reverting_asks_too(self, tmp_path):
        root = nifti(tmp_path)
        before = content(root)
        dataset, mask = opened(root)
        line = dataset.save_correction("p1", flipped(mask, 1), [1])
        path = root / "p1_mask.nii.gz"
        image = nib.load(path)
        values = np.asanyarray(image.dataobj).copy()
        values[..., 1] = 1
        nib.save(nib.Nifti1Image(values, image.affine, image.header), path)
        with pytest.raises(ChangedElsewhereError, match="slice 1"):
            open_dataset(root).revert(line.id)
        with pytest.raises(ChangedElsewhereError, match="slice 1"):
            dataset.revert(line.id)
        dataset.revert(line.id, overwrite=True)
        assert content(root) == before
        assert [each.kind for each in dataset.corrections()] == ["hand", "elsewhere", "reverted", "reverted"]
        dataset.revert(dataset.corrections()[2].id)
        assert dataset["p1"].read_mask()[1].all()

    def test_a_mask_that_was_removed(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        mask_file(root, 1).unlink()
        with pytest.raises(ChangedElsewhereError, match="slice 1"):
            dataset.save_correction(CASE, flipped(mask, 1), [1])
        dataset.save_correction(CASE, flipped(mask, 1), [1], overwrite=True)
        np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 1))

    def test_the_same_pixels_are_no_conflict(self, tmp_path):
        root = kaggle(tmp_path)
        one, mask = opened(root)
        two, _ = opened(root)
        one.save_correction(CASE, flipped(mask, 1), [1])
        two.save_correction(CASE, flipped(mask, 1), [1])
        assert len(one.corrections()) == 2

    def test_many_threads_lose_nothing(self, tmp_path):
        root = nifti(tmp_path)
        _, mask = opened(root)
        errors = []

        def save(z):
            try:
                dataset = open_dataset(root)
                for _ in range(3):
                    dataset.save_correction("p1", flipped(mask, z), [z])
            except InputError as error:
                errors.append(error)

        threads = [threading.Thread(target=save, args=(z,)) for z in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        dataset = open_dataset(root)
        assert len(dataset.corrections()) == 12
        np.testing.assert_array_equal(dataset["p1"].read_mask(), flipped(mask, 0, 1, 2, 3))

    def test_a_lock_that_is_held_names_its_holder(self, tmp_path, monkeypatch):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        dataset.save_correction(CASE, mask, [0])
        with write_lock(root / ".unetseg"):
            monkeypatch.setattr("napari_unet_seg.data.write_lock.PATIENCE", 0.05)
            with (
                pytest.raises(
                    InputError,
                    match=rf"another program is saving here \(process {os.getpid()} on \S+ since [-\d]+ [\d:]+\)",
                ),
                write_lock(root / ".unetseg", patience=0.05),
            ):
                pass

    def test_windows_know_of_each_other(self, tmp_path, monkeypatch):
        root = kaggle(tmp_path)
        one, two = open_dataset(root), open_dataset(root)
        assert one.claim() is None
        assert two.claim() == "another dock of this program"
        monkeypatch.setattr("napari_unet_seg.data.write_lock.socket.gethostname", lambda: "elsewhere")
        assert f"process {os.getpid()} on " in open_dataset(root).claim()
        monkeypatch.undo()
        one.release()
        two.release()
        assert one.claim() is None
        one.release()
        assert not (root / ".unetseg").exists()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_dead_window_is_forgotten(self, tmp_path):
        root = kaggle(tmp_path)
        child = os.fork()
        if child == 0:
            open_dataset(root).claim()
            os._exit(0)
        os.waitpid(child, 0)
        assert list((root / ".unetseg" / "windows").glob("*.lock"))
        dataset = open_dataset(root)
        assert dataset.claim() is None
        dataset.release()


class TestOverlay:
    @pytest.fixture
    def read_only(self, tmp_path, monkeypatch):
        root = kaggle(tmp_path / "data")
        real = os.access

        def access(path, mode, **options):
            return not (str(path).startswith(str(root)) and mode & os.W_OK) and real(path, mode, **options)

        monkeypatch.setattr(os, "access", access)
        return root

    def test_is_asked_for(self, read_only):
        dataset, mask = opened(read_only)
        assert not dataset.writable
        with pytest.raises(ReadOnlyError, match="the dataset is read-only; choose an overlay folder"):
            dataset.save_correction(CASE, flipped(mask, 0), [0])
        with pytest.raises(ReadOnlyError, match="the dataset is read-only"):
            dataset.autosave(CASE, mask, [0])
        assert dataset.claim() is None
        dataset.release()
        assert not (read_only / ".unetseg").exists()

    def test_takes_everything(self, read_only, tmp_path):
        before = content(read_only)
        over = tmp_path / "over"
        dataset, mask = opened(read_only, overlay=over)
        assert dataset.writable
        assert dataset.overlay == over
        assert not over.exists()
        line = dataset.save_correction(CASE, flipped(mask, 0), [0])
        assert content(read_only) == before
        assert not (read_only / ".unetseg").exists()
        assert list(content(over)) == [f"{CASE}/{CASE}_1_mask.tif"]
        again, corrected = opened(read_only, overlay=over)
        np.testing.assert_array_equal(corrected, flipped(mask, 0))
        np.testing.assert_array_equal(again[CASE].read_original_mask(), mask)
        assert again[CASE].corrected_slices() == [0]
        assert open_dataset(read_only)[CASE].corrected_slices() == []
        again.revert(line.id)
        assert content(over) == {}
        np.testing.assert_array_equal(again[CASE].read_mask(), mask)

    def test_lies_over_earlier_corrections(self, tmp_path):
        root = nifti(tmp_path)
        dataset, mask = opened(root)
        below = dataset.save_correction("p1", flipped(mask, 1), [1])
        over, corrected = opened(root, overlay=tmp_path / "over")
        assert over["p1"].corrected_slices() == [1]
        line = over.save_correction("p1", mask, [1, 2])
        np.testing.assert_array_equal(over["p1"].read_mask(), mask)
        with pytest.raises(ReadOnlyError, match="lies in the dataset, which the overlay leaves as it is"):
            over.revert(below.id)
        over.revert(line.id)
        np.testing.assert_array_equal(over["p1"].read_mask(), corrected)
        np.testing.assert_array_equal(over["p1"].read_original_mask(), mask)

    def test_must_lie_elsewhere_and_belong_to_the_dataset(self, tmp_path):
        root = kaggle(tmp_path)
        with pytest.raises(InputError, match="the overlay folder must lie outside the dataset"):
            open_dataset(root, overlay=root / CASE)
        dataset, mask = opened(root, overlay=tmp_path / "over")
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        with pytest.raises(InputError, match=rf"holds the corrections of another dataset, {root}; choose another one"):
            open_dataset(nifti(tmp_path), overlay=tmp_path / "over")

    def test_of_a_dataset_that_is_only_called_alike(self, tmp_path):
        one, other = kaggle(tmp_path / "a"), kaggle(tmp_path / "b")
        dataset, mask = opened(one, overlay=tmp_path / "over")
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        with pytest.raises(InputError, match=rf"holds the corrections of another dataset, {one}; choose another one"):
            open_dataset(other, overlay=tmp_path / "over")

    def test_of_another_dataset_that_was_claimed_and_autosaved_first(self, tmp_path):
        one, other = kaggle(tmp_path / "a"), kaggle(tmp_path / "b")
        dataset, mask = opened(one, overlay=tmp_path / "over")
        dataset.claim()
        dataset.autosave(CASE, flipped(mask, 0), [0])
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        dataset.release()
        with pytest.raises(InputError, match=rf"holds the corrections of another dataset, {one}; choose another one"):
            open_dataset(other, overlay=tmp_path / "over")

    def test_of_a_dataset_that_was_moved(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root, overlay=tmp_path / "over")
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        (tmp_path / "link").symlink_to(root)
        assert open_dataset(tmp_path / "link", overlay=tmp_path / "over")[CASE].corrected_slices() == [0]
        root = root.rename(tmp_path / "moved")
        assert open_dataset(root, overlay=tmp_path / "over")[CASE].corrected_slices() == [0]
        with pytest.raises(InputError, match="holds the corrections of another dataset"):
            open_dataset(root.rename(tmp_path / "again") / CASE / f"{CASE}_1.tif", overlay=tmp_path / "over")

    @staticmethod
    def series(folder, *, patient):
        """A series of DICOM."""
        write_series(folder, np.zeros((4, 7, 8), np.int16), study=patient, description="t1")
        return folder

    @staticmethod
    def subject(folder, *, patient):
        """The images of a subject in BIDS."""
        make_sequences(folder, suffixes=("flair", "t1"), name=patient)
        (folder / f"{patient}_seg.nii.gz").unlink()
        return folder

    @pytest.mark.parametrize("signed_before", [False, True])
    @pytest.mark.parametrize(
        ("make", "folder", "patients", "names"),
        [
            ("series", "t1", ("p1", "p2"), ("p1_t1", "disk_t1")),
            ("subject", "anat", ("sub-01", "sub-02"), ("sub-01", "sub-01")),
            ("subject", "ses-1", ("sub-01", "sub-02"), ("sub-01_ses-1", "sub-01_ses-1")),
        ],
    )
    def test_of_a_folder_that_was_moved_from_those_it_is_called_after(
        self, tmp_path, make, folder, patients, names, signed_before
    ):
        root = getattr(self, make)(tmp_path / "p1" / folder, patient=patients[0])
        dataset = open_dataset(root, overlay=tmp_path / "over")
        (case,) = dataset
        assert case.case_id == names[0]
        dataset.save_correction(case.case_id, np.ones(case.scan.read_shape(), np.uint8), [0])
        if signed_before:
            note = tmp_path / "over" / ".unetseg" / "overlay-of.txt"
            name, place, _ = note.read_text().split("\n")
            note.write_text("\n".join((name, place, hashlib.sha256(folder.encode()).hexdigest())))
        (tmp_path / "disk").mkdir()
        moved = root.rename(tmp_path / "disk" / folder)
        (case,) = open_dataset(moved, overlay=tmp_path / "over")
        assert case.case_id == names[1]
        assert case.corrected_slices() == [0]
        other = getattr(self, make)(tmp_path / "p2" / folder, patient=patients[1])
        with pytest.raises(InputError, match="holds the corrections of another dataset"):
            open_dataset(other, overlay=tmp_path / "over")

    def test_that_names_the_folder_alone(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root, overlay=tmp_path / "over")
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        note = tmp_path / "over" / ".unetseg" / "overlay-of.txt"
        note.write_text(root.name)
        assert open_dataset(root, overlay=tmp_path / "over")[CASE].corrected_slices() == [0]
        note.write_text("another")
        with pytest.raises(InputError, match="holds the corrections of another dataset, another; choose another one"):
            open_dataset(root, overlay=tmp_path / "over")


class TestSingleFile:
    def test_lies_beside_the_file(self, tmp_path):
        root = nifti(tmp_path)
        dataset, mask = opened(root / "p1.nii.gz")
        dataset.save_correction("p1", flipped(mask, 0), [0])
        assert (root / ".unetseg" / "corrections.jsonl").exists()
        # The folder that the file is in is the same dataset.
        assert open_dataset(root)["p1"].corrected_slices() == [0]

    def test_files_of_one_folder_are_kept_apart(self, tmp_path):
        root = nifti(tmp_path)
        tifffile.imwrite(root / "p1.tif", np.zeros((5, 12, 10), np.uint8), metadata={"axes": "ZYX"})
        one, mask = opened(root / "p1.nii.gz")
        one.save_correction("p1", flipped(mask, 0), [0])
        other = open_dataset(root / "p1.tif")
        assert other.corrections() == []
        assert not other["p1"].has_mask


def damage(root, number, how):
    """Change a line of the log of a dataset."""
    path = root / ".unetseg" / "corrections.jsonl"
    lines = path.read_bytes().splitlines()
    lines[number] = how(lines[number])
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def change(name):
    return FileChange(file=name, before=None, after="0" * 64)


class TestLog:
    def line(self, number):
        return Correction(id=f"{number}", time="2026-01-01T00:00:00+00:00", case=CASE, slices=(0,), kind="hand")

    def test_keys_of_a_later_version_are_no_fault(self):
        text = json.dumps(json.loads(self.line(1).to_json()) | {"mood": "good"})
        assert Correction.from_json(text) == self.line(1)

    def test_names_that_are_no_text_are_given_back(self, tmp_path):
        line = replace(self.line(1), case="M\udcfcller", annotator="日本", files=(change("M\udcfcller.tif"),))
        log = CorrectionLog(tmp_path / "log")
        log.append([line])
        assert log.lines() == [line]
        assert "日本" in replace(self.line(1), annotator="日本").to_json()
        log.path.read_text(encoding="utf-8")

    def test_reads_what_was_appended(self, tmp_path):
        log, other = CorrectionLog(tmp_path / "log"), CorrectionLog(tmp_path / "log")
        assert log.lines() == []
        for number in range(3):
            other.append([self.line(number)])
            assert [line.id for line in log.lines()] == [str(n) for n in range(number + 1)]

    def test_threads_that_ask_at_once_read_each_line_once(self, tmp_path, monkeypatch):
        class Slow(io.BufferedReader):
            def read(self, size=-1):
                content = super().read(size)
                # Long enough for the other thread to find the same line unread.
                time.sleep(0.3)
                return content

        log = CorrectionLog(tmp_path / "log")
        log.append([self.line(1)])
        monkeypatch.setattr(type(log.path), "open", lambda path, mode: Slow(io.FileIO(path, "r")))
        found = []
        threads = [threading.Thread(target=lambda: found.append(log.lines())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [[self.line(1)]] * 2

    def test_a_torn_last_line_is_cut_off_and_kept(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 0), [0])
        path = root / ".unetseg" / "corrections.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:50])
        again = open_dataset(root)
        assert again.corrections() == [line]
        assert path.read_bytes() == whole
        (aside,) = (root / ".unetseg").glob("*torn*")
        assert aside.read_bytes() == whole[:50]
        assert again.repair_notes == [f"the last line of the log of corrections broke off; it is kept in {aside.name}"]

    def test_a_last_line_without_its_end_is_completed(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        line = dataset.save_correction(CASE, flipped(mask, 0), [0])
        path = root / ".unetseg" / "corrections.jsonl"
        path.write_bytes(path.read_bytes()[:-1])
        assert open_dataset(root).corrections() == [line]

    def test_a_bad_line_spoils_no_other(self, tmp_path):
        log = CorrectionLog(tmp_path / "log")
        log.append([self.line(1)])
        with log.path.open("ab") as file:
            file.write(b'{"id": 3}\n\x00\x00\xff\n[]\n')
        log.append([self.line(2)])
        assert [line.id for line in log.lines()] == ["1", "2"]
        assert list(log.unreadable) == [2, 3, 4]
        assert log.damage() == "lines 2, 3, 4 of log are damaged"

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("pixels_changed", "1e999"),
            ("reverts", "[1]"),
            ("slices", "[-1]"),
            ("slices", "[1e999]"),
            ("one", '"1"'),
            ("files", '[{"file": "a", "before": [1], "after": null}]'),
        ],
    )
    def test_values_that_no_correction_has_make_a_bad_line(self, key, value):
        record = json.loads(self.line(1).to_json()) | {key: None}
        with pytest.raises(ValueError, match=r"lacks|slices are numbered from 0"):
            Correction.from_json(json.dumps(record).replace(f'"{key}": null', f'"{key}": {value}'))

    def test_a_damaged_line_is_told_of(self, tmp_path):
        root = kaggle(tmp_path)
        dataset, mask = opened(root)
        for z in range(3):
            dataset.save_correction(CASE, flipped(mask, z), [z])
        path = damage(root, 1, lambda line: line.replace(b"{", b"", 1))
        again = open_dataset(root)
        assert again[CASE].corrected_slices() == [0, 2]
        (note,) = again.repair_notes
        assert note.startswith(f"{path}: line 2 of corrections.jsonl is damaged, and what was corrected there")

    def test_corrections_of_a_case_that_was_renamed_are_told_of(self, tmp_path):
        root = kaggle(tmp_path, patients=2)
        dataset, mask = opened(root)
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        taken_back = dataset.save_correction(OTHER, flipped(mask, 0), [0])
        dataset.revert(taken_back.id)

        def rename(old, new):
            for path in (root / old).iterdir():
                path.rename(path.with_name(path.name.replace(old, new)))
            (root / old).rename(root / new)

        for name in (CASE, OTHER):
            rename(name, name.replace("XX", "YY"))
        again = open_dataset(root)
        assert again.corrected_slices() == {}
        (note,) = again.repair_notes
        assert note.startswith(f"corrections of 1 case not here any more are kept: {CASE}; where one was")
        rename(CASE.replace("XX", "YY"), CASE)
        back = open_dataset(root)
        assert back.repair_notes == []
        assert back[CASE].corrected_slices() == [0]

    def test_the_original_that_a_damaged_line_names_is_found(self, tmp_path):
        root = nifti(tmp_path)
        dataset, mask = opened(root)
        dataset.save_correction("p1", flipped(mask, 0), [0])
        dataset.save_correction("p1", flipped(mask, 0, 1), [1])
        damage(root, 0, lambda line: line.replace(b"{", b"", 1))
        again, shown = opened(root)
        np.testing.assert_array_equal(again["p1"].read_original_mask(), mask)
        (line,) = again.corrections()
        again.save_correction("p1", flipped(shown, 3), [3])
        again.revert(line.id)
        np.testing.assert_array_equal(again["p1"].read_mask(), flipped(mask, 0, 3))

    def test_saving_goes_on_where_the_line_with_the_original_is_gone(self, tmp_path):
        root = nifti(tmp_path)
        dataset, mask = opened(root)
        dataset.save_correction("p1", flipped(mask, 0), [0])
        last = dataset.save_correction("p1", flipped(mask, 0, 1), [1])
        damage(root, 0, lambda line: b"\0" * len(line))
        again, shown = opened(root)
        again.save_correction("p1", flipped(shown, 0, 3), [0, 3])
        np.testing.assert_array_equal(open_dataset(root)["p1"].read_mask(), flipped(mask, 1, 3))
        with pytest.raises(InputError, match=r"line 1 of corrections\.jsonl is damaged, so the original of p1_mask"):
            again.revert(last.id)

    def test_ten_thousand_lines(self, tmp_path):
        root = kaggle(tmp_path)
        (root / ".unetseg").mkdir()
        lines = "".join(self.line(number).to_json() + "\n" for number in range(10_000))
        (root / ".unetseg" / "corrections.jsonl").write_text(lines)
        start = time.perf_counter()
        dataset = open_dataset(root)
        assert len(dataset.corrections()) == 10_000
        assert dataset[CASE].corrected_slices() == [0]
        print(f"{time.perf_counter() - start:.2f} s")  # noqa: T201 - no bound: machines differ
