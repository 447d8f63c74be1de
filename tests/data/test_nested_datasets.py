"""One mask, corrected while different folders were open."""

import numpy as np
import pytest
from PIL import Image

from napari_unet_seg.data.convert import convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.write_lock import write_lock
from napari_unet_seg.errors import InputError
from tests.data.corrected import CASE, content, flipped, kaggle, opened
from tests.data.test_dataset import make_sequences

OTHER = "TCGA_XX_1001_20000101"


def assert_known(case, mask, *slices):
    """Slices count as corrected, and the original is the one that came with the dataset."""
    assert case.corrected_slices() == list(slices)
    np.testing.assert_array_equal(case.read_original_mask(), mask)


@pytest.mark.parametrize(("first", "then"), [("", CASE), (CASE, ""), (CASE, ".."), ("..", CASE)])
def test_corrected_at_one_height_and_then_at_another(tmp_path, first, then):
    root = kaggle(tmp_path / "here", patients=2)
    before = content(root)
    dataset = open_dataset(root / first)
    mask = dataset[CASE].read_mask()
    one = dataset.save_correction(CASE, flipped(mask, 2), [2])
    again = open_dataset(root / then)
    assert_known(again[CASE], mask, 2)
    assert again.corrected_slices() == {CASE: [2]}
    assert [line.id for line in again.corrections(CASE)] == [one.id]
    two = again.save_correction(CASE, flipped(mask, 2, 3) * 0, [2, 3])
    for folder in (first, then):
        assert_known(open_dataset(root / folder)[CASE], mask, 2, 3)
    dataset = open_dataset(root / first)
    dataset.revert(two.id)
    np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 2))
    open_dataset(root / then).revert(one.id)
    assert_known(open_dataset(root / first)[CASE], mask)
    assert content(root) == before


def test_the_newest_counts_in_whichever_log_it_is(tmp_path):
    root = kaggle(tmp_path)
    _, mask = opened(root)
    lines = []
    for number, folder in enumerate((root, root / CASE, root, root / CASE)):
        edited = mask.copy()
        edited[1] = np.eye(16) * (number % 2)
        edited[1, number] = 1
        lines.append((open_dataset(folder).save_correction(CASE, edited, [1]), edited))
    assert [line.id for line in open_dataset(root).corrections()] == [line.id for line, _ in lines]
    for (line, _), (_, left) in zip(reversed(lines[1:]), reversed(lines[:-1]), strict=True):
        open_dataset(root).revert(line.id)
        np.testing.assert_array_equal(open_dataset(root / CASE)[CASE].read_mask(), left)


def test_a_sequence_by_itself_and_its_folder(tmp_path):
    root = tmp_path / "c"
    make_sequences(root)
    (root / "c_seg.nii.gz").unlink()
    before = content(root)
    single = open_dataset(root / "c_flair.nii.gz")
    mask = np.zeros((5, 10, 9), np.uint8)
    mask[2, 3:5] = 1
    one = single.save_correction("c_flair", mask, [2])
    (case,) = dataset = open_dataset(root)
    assert (case.case_id, case.corrected_slices(), case.has_original_mask) == ("c", [2], False)
    two = dataset.save_correction("c", mask, [3], kind="accepted")
    assert open_dataset(root / "c_flair.nii.gz")["c_flair"].corrected_slices() == [2, 3]
    dataset.revert(two.id)
    dataset.revert(one.id)
    assert content(root) == before


def test_a_slice_by_itself_and_its_patient(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    line = dataset.save_correction(CASE, flipped(mask, 1, 2), [1, 2])
    single = open_dataset(root / CASE / f"{CASE}_3.tif")
    (case,) = single
    assert_known(case, mask[2:3], 0)
    with pytest.raises(InputError, match=rf"{CASE}_2_mask\.tif: correction {line.id} of {CASE}_3 changed this file"):
        single.revert(line.id)
    single.save_correction(case.case_id, mask[2:3] * 0, [0])
    assert_known(open_dataset(root)[CASE], mask, 1, 2)


def test_a_split_of_coco_and_the_whole(tmp_path):
    source = kaggle(tmp_path, patients=2)
    for split in ("train", "valid"):
        convert(open_dataset(source), tmp_path / "coco" / split, layout="coco")
    before = content(tmp_path / "coco")
    split, mask = opened(tmp_path / "coco" / "valid")
    line = split.save_correction(CASE, flipped(mask, 2), [2])
    whole = open_dataset(tmp_path / "coco")
    assert whole.corrected_slices() == {f"valid/{CASE}": [2]}
    np.testing.assert_array_equal(whole[f"valid/{CASE}"].read_original_mask(), mask)
    whole.revert(line.id)
    assert open_dataset(tmp_path / "coco" / "valid").corrected_slices() == {}
    assert content(tmp_path / "coco") == before


def test_a_case_of_the_same_name_elsewhere_is_another_one(tmp_path):
    for folder in ("a", "b"):
        make_sequences(tmp_path / folder / "anat", name="sub-1")
    dataset, mask = opened(tmp_path / "a")
    dataset.save_correction("sub-1", flipped(mask, 1), [1])
    assert open_dataset(tmp_path).corrected_slices() == {"a/anat": [1]}
    assert open_dataset(tmp_path / "b").corrected_slices() == {}
    assert open_dataset(tmp_path / "b").corrections() == []


def test_a_line_with_a_former_name_of_its_case_is_known(tmp_path):
    make_sequences(tmp_path / "sub-01" / "anat", name="sub-01")
    dataset, mask = opened(tmp_path)
    line = dataset.save_correction("sub-01", flipped(mask, 1), [1])
    log = tmp_path / ".unetseg" / "corrections.jsonl"
    log.write_text(log.read_text().replace('"case": "sub-01"', '"case": "anat"'))
    make_sequences(tmp_path / "sub-02" / "anat", name="sub-02")
    again = open_dataset(tmp_path)
    assert again.corrected_slices() == {"sub-01": [1]}
    again.revert(line.id)
    np.testing.assert_array_equal(again["sub-01"].read_mask(), mask)


def test_an_overlay_lies_over_all_of_them(tmp_path):
    root = kaggle(tmp_path)
    part, mask = opened(root / CASE)
    below = part.save_correction(CASE, flipped(mask, 2), [2])
    before = content(root)
    over, corrected = opened(root, overlay=tmp_path / "over")
    assert_known(over[CASE], mask, 2)
    over.save_correction(CASE, flipped(corrected, 1), [1])
    assert over[CASE].corrected_slices() == [1, 2]
    with pytest.raises(InputError, match="lies in the dataset, which the overlay leaves as it is"):
        over.revert(below.id)
    assert content(root) == before


def test_what_another_window_does_meanwhile_is_seen(tmp_path):
    root = kaggle(tmp_path, patients=2)
    whole, mask = opened(root)
    whole.save_correction(OTHER, whole[OTHER].read_mask(), [0])
    part = open_dataset(root / CASE)
    assert part.claim() is None
    try:
        line = whole.save_correction(CASE, flipped(mask, 3), [3])
        assert part[CASE].corrected_slices() == [3]
        whole.revert(line.id)
        assert part[CASE].corrected_slices() == []
        part.save_correction(CASE, flipped(mask, 1), [1])
        assert open_dataset(root).claim() == "another dock of this program"
    finally:
        part.release()


def test_a_save_that_was_interrupted_is_completed_from_elsewhere(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    part, mask = opened(root / CASE)
    part.save_correction(CASE, flipped(mask, 0), [0])

    def fail(*_):
        raise SystemExit

    with monkeypatch.context() as killed:
        killed.setattr("napari_unet_seg.data.correction_log.CorrectionLog.append", fail)
        killed.setattr("napari_unet_seg.data.transaction.Transaction._undo", lambda *_: False)
        with pytest.raises(SystemExit):
            part.save_correction(CASE, flipped(mask, 2), [2])
    whole = open_dataset(root)
    assert whole.repair_notes == [f"a save of {CASE} that was interrupted has been completed: slice 2"]
    assert_known(whole[CASE], mask, 0, 2)


def test_a_log_that_cannot_be_read_is_noted(tmp_path):
    root = kaggle(tmp_path)
    (root / ".unetseg" / "corrections.jsonl").mkdir(parents=True)
    (note,) = open_dataset(root / CASE).repair_notes
    assert "corrections.jsonl may tell of corrections of these masks, and cannot be read (is a directory)" in note


def test_locks_of_other_folders_are_left_alone(tmp_path):
    root = kaggle(tmp_path)
    whole, mask = opened(root)
    whole.save_correction(CASE, flipped(mask, 0), [0])
    part = open_dataset(root / CASE)
    with write_lock(root / ".unetseg"):
        part.save_correction(CASE, flipped(mask, 1), [1])


def test_a_picture_with_its_folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "a_mask", "b"):
        Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(folder / f"{name}.png")
    whole, mask = opened(folder)
    whole.save_correction("a", 1 - mask, [0])
    assert_known(open_dataset(folder / "a.png")["a"], mask, 0)
    assert open_dataset(folder / "b.png").corrections() == []
