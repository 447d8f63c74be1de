"""A dataset that changes under the open case: the case is read again, another program writes, a folder is chosen."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.errors import InputError
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.correction_saver import KEEP_MINE, TAKE_THEIRS
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import Answer
from napari_unet_seg.working_mask import SliceState
from tests.fakes import FakeSegmenter
from tests.widgets.test_whose_work import add_image, choose_flair, segment, stroke

Settle = Callable[[], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of two patients, on the disk."""
    return write_kaggle(tmp_path / "scans", patients=2, slices=6, size=32)


@pytest.fixture
def session(segmenter: FakeSegmenter) -> Session:
    return Session(load_model=lambda name: segmenter, find_own_model=lambda image_hash: None)


@pytest.fixture
def opened(dock: UNetDock, root: Path, settle: Settle) -> UNetDock:
    """With the first case open."""
    dock.loader.open_path(root)
    settle()
    dock.loader.open_case(names(dock)[0])
    settle()
    return dock


def names(dock: UNetDock) -> list[str]:
    return [case.case_id for case in dock.session.dataset.cases]


def square() -> np.ndarray:
    mask = np.zeros((6, 32, 32), np.uint8)
    mask[:, 20:28, 20:28] = 1
    return mask


def correct_elsewhere(root: Path, slices: list[int], *, case: int = 0, overlay: Path | None = None) -> None:
    """As another program does it: these slices show a square."""
    dataset = open_dataset(root, overlay=overlay)
    dataset.cases[case].read_mask()
    dataset.save_correction(dataset.cases[case].case_id, square(), slices)


def on_disk(root: Path, z: int, *, overlay: Path | None = None) -> np.ndarray:
    return open_dataset(root, overlay=overlay).cases[0].read_mask()[z]


def shown(dock: UNetDock, z: int) -> np.ndarray:
    return np.asarray(dock.segmentation.layer.data[z])


def open_again(dock: UNetDock, settle: Settle, *, answer: Answer) -> None:
    dock._ask = lambda parent, text: answer
    dock.loader.open_case(names(dock)[0])
    settle()


def save(dock: UNetDock, settle: Settle) -> None:
    dock.saver.save()
    settle()


# The open case is opened once more.


def test_what_is_saved_before_the_case_is_read_again_stays(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    painted = shown(segmented, 2).copy()
    open_again(segmented, settle, answer=Answer.SAVE)
    np.testing.assert_array_equal(shown(segmented, 2), painted)
    assert segmented.corrector.value().states[2] is SliceState.SAVED


def test_nothing_is_read_where_the_open_case_stays(segmented: UNetDock, root: Path, settle: Settle) -> None:
    stroke(segmented, 2)
    correct_elsewhere(root, [2])
    open_again(segmented, settle, answer=Answer.CANCEL)
    save(segmented, settle)
    assert "has changed slice 2" in segmented.correct_panel.notice()
    np.testing.assert_array_equal(on_disk(root, 2), square()[2])


def test_what_is_discarded_before_the_case_is_read_again_is_not_offered(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    segmented.saver.autosave()
    settle()
    open_again(segmented, settle, answer=Answer.DISCARD)
    assert segmented.correct_panel.notice() == ""
    assert segmented.saver.unsaved() == []


def test_a_stroke_while_the_case_is_read_again_is_kept(segmented: UNetDock, root: Path, settle: Settle) -> None:
    correct_elsewhere(root, [2, 3])
    segmented._ask = lambda parent, text: pytest.fail("asked")
    segmented.loader.open_case(names(segmented)[0])
    stroke(segmented, 2)
    settle()
    assert segmented.saver.unsaved() == [2]
    np.testing.assert_array_equal(shown(segmented, 3), square()[3])
    # What another program made of it was read and not shown.
    save(segmented, settle)
    assert "which you have not seen" in segmented.correct_panel.notice()
    np.testing.assert_array_equal(on_disk(root, 2), square()[2])
    segmented.questions.answer(KEEP_MINE)
    settle()
    np.testing.assert_array_equal(on_disk(root, 2), shown(segmented, 2))


def test_what_is_saved_while_the_case_is_read_again_stays(
    segmented: UNetDock, settle: Settle, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, go_on = segmented.session.case, threading.Event()
    has_read = threading.Event()
    read = case.mask_notes
    # The last that is read of a case: its mask was read before.
    monkeypatch.setattr(case, "mask_notes", lambda: (has_read.set(), go_on.wait(10), read())[-1])
    segmented.loader.open_case(case.case_id)
    assert has_read.wait(10)
    stroke(segmented, 2)
    painted = shown(segmented, 2).copy()
    segmented.saver.save()
    qtbot.waitUntil(lambda: not segmented.saver.saving() and segmented.saver.unsaved() == [])
    go_on.set()
    settle()
    np.testing.assert_array_equal(shown(segmented, 2), painted)
    assert segmented.corrector.value().states[2] is SliceState.SAVED
    assert segmented.correct_panel.notice() == ""


def test_files_are_read_after_all_that_was_to_be_saved(opened: UNetDock, settle: Settle) -> None:
    done: list[str] = []
    read = opened.session.reader.read_case
    opened.loader._wait_for_saves = lambda: done.append("saved")
    opened.session.reader.read_case = lambda case, dataset: done.append("read") or read(case, dataset=dataset)
    opened.loader.open_case(names(opened)[1])
    settle()
    assert done == ["saved", "read"]


# Another program has changed slices.


def take_theirs(dock: UNetDock, settle: Settle) -> None:
    dock.questions.answer(TAKE_THEIRS)
    settle()


def test_theirs_are_shown_of_every_slice_without_edits(segmented: UNetDock, root: Path, settle: Settle) -> None:
    stroke(segmented, 2)
    correct_elsewhere(root, [2, 5])
    save(segmented, settle)
    take_theirs(segmented, settle)
    states = segmented.corrector.value().states
    for z in (2, 5):
        np.testing.assert_array_equal(shown(segmented, z), square()[z])
        assert states[z] is SliceState.SAVED
    assert states[3] is SliceState.OPEN


def test_taking_theirs_leaves_the_question_about_other_edits(segmented: UNetDock, root: Path, settle: Settle) -> None:
    stroke(segmented, 2)
    correct_elsewhere(root, [2, 5])
    save(segmented, settle)
    stroke(segmented, 5)
    take_theirs(segmented, settle)
    save(segmented, settle)
    assert "slice 5" in segmented.correct_panel.notice()
    np.testing.assert_array_equal(on_disk(root, 5), square()[5])
    take_theirs(segmented, settle)
    np.testing.assert_array_equal(shown(segmented, 5), square()[5])
    assert segmented.saver.unsaved() == []


def test_what_a_program_without_a_log_wrote_is_not_replaced_unseen(
    segmented: UNetDock, root: Path, settle: Settle
) -> None:
    import tifffile

    for z in (3, 4):
        path = sorted(root.rglob("*_mask.tif"), key=lambda path: int(path.stem.split("_")[-2]))
        own = [each for each in path if each.parent.name == names(segmented)[0]]
        tifffile.imwrite(own[z], square()[z] * np.uint8(255))
    stroke(segmented, 3)
    save(segmented, settle)
    take_theirs(segmented, settle)
    assert segmented.corrector.value().states[3] is SliceState.SAVED
    stroke(segmented, 4)
    save(segmented, settle)
    assert "slice 4" in segmented.correct_panel.notice()


def test_an_error_stays_where_the_answer_was_to_save(
    segmented: UNetDock, root: Path, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **told: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(segmented.session.dataset, "save_correction", fail)
    segmented._ask = lambda parent, text: Answer.SAVE
    stroke(segmented, 2)
    for leave in (lambda: segmented.loader.open_case(names(segmented)[1]), lambda: segmented.loader.open_path(root)):
        segmented.status.setValue("")
        leave()
        settle()
        assert "the disk is full" in segmented.status.value()


# A folder is chosen for the corrections.


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """With corrections of yesterday in it: slices 2 and 3 of the first case, one of the other."""
    folder = tmp_path / "overlay"
    folder.mkdir()
    correct_elsewhere(root, [2, 3], overlay=folder)
    correct_elsewhere(root, [4], case=1, overlay=folder)
    return folder


def choose_folder(dock: UNetDock, folder: Path, settle: Settle) -> None:
    dock.loader.open_overlay(folder, dock.saver.use_overlay)
    settle()


def test_corrections_in_a_chosen_folder_are_shown(segmented: UNetDock, folder: Path, settle: Settle) -> None:
    choose_folder(segmented, folder, settle)
    np.testing.assert_array_equal(shown(segmented, 2), square()[2])
    assert [z for z, state in enumerate(segmented.correct_panel.value().states) if state is SliceState.SAVED] == [2, 3]
    assert [row.state for row in segmented.data_panel.rows()] == [
        ("ground truth", "2 corrected"),
        ("ground truth", "1 corrected"),
    ]
    board = segmented.retrain_panel.board()
    assert (board.scan_slices, board.slices, board.cases) == (2, 3, 2)
    assert segmented.data_panel.value() == names(segmented)[0]
    assert segmented.data_panel._table.item(0, 0).font().bold()


def test_corrections_in_a_chosen_folder_open_as_a_mask(opened: UNetDock, folder: Path, settle: Settle) -> None:
    assert opened.segmentation.layer is None
    choose_folder(opened, folder, settle)
    np.testing.assert_array_equal(shown(opened, 3), square()[3])


def test_the_chosen_folder_is_used_again_when_the_read_only_dataset_is_opened_again(
    opened: UNetDock, root: Path, folder: Path, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Places, "writable", property(lambda places: places.overlay is not None))
    open_again(opened, settle, answer=Answer.DISCARD)
    assert opened.session.dataset.overlay is None
    assert "read-only" in opened.correct_panel.notice()
    choose_folder(opened, folder, settle)
    opened.loader.open_path(root)
    settle()
    assert opened.session.dataset.overlay == folder
    assert f"Its corrections are in {folder}." in opened.status.value()
    opened.loader.open_case(names(opened)[0])
    settle()
    assert opened.correct_panel.notice() == ""
    np.testing.assert_array_equal(shown(opened, 2), square()[2])
    # It is another dataset's now.
    (folder / ".unetseg" / "overlay-of.txt").write_text(f"another\n{Path.cwd()}\n0 0")
    opened.loader.open_path(root)
    settle()
    assert opened.session.dataset.overlay is None


def test_edits_of_now_stay_when_a_folder_is_chosen(
    segmented: UNetDock, root: Path, folder: Path, settle: Settle
) -> None:
    stroke(segmented, 2)
    painted = shown(segmented, 2).copy()
    choose_folder(segmented, folder, settle)
    np.testing.assert_array_equal(shown(segmented, 2), painted)
    assert segmented.saver.unsaved() == [2]
    save(segmented, settle)
    assert "slice 2" in segmented.correct_panel.notice()
    np.testing.assert_array_equal(on_disk(root, 2, overlay=folder), square()[2])


def test_work_that_was_put_aside_has_the_folders_corrections_too(
    segmented: UNetDock, folder: Path, settle: Settle
) -> None:
    add_image(segmented._viewer)
    choose_flair(segmented, "follow-up flair")
    segment(segmented, settle)
    choose_folder(segmented, folder, settle)
    assert segmented.session.case_work is None
    choose_flair(segmented, "FLAIR")
    segment(segmented, settle)
    np.testing.assert_array_equal(shown(segmented, 2), square()[2])


def test_the_colours_of_a_picture_are_what_the_command_line_takes_them_for(
    dock: UNetDock, tmp_path: Path, settle: Settle
) -> None:
    (tmp_path / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    dock.loader.open_path(tmp_path)
    settle()
    dock.loader.open_case("a")
    settle()
    said = {role: source.label for role, source in dock.roles.value().items()}
    assert said == {"pre": "red", "flair": "green", "post": "blue"}
    (active,) = dock._viewer.layers.selection
    assert (active.name, active.visible) == ("green", True)
    np.testing.assert_array_equal(np.squeeze(active.data), pixels[..., 1])


# The mask cannot be read.


def masks_of(root: Path, name: str) -> list[Path]:
    return sorted((root / name).glob("*_mask.tif"), key=lambda path: int(path.stem.split("_")[-2]))


def paint(dock: UNetDock, settle: Settle) -> np.ndarray:
    """Segment, and paint on slice 2; what that shows then."""
    segment(dock, settle)
    stroke(dock, 2)
    return shown(dock, 2).copy()


@pytest.fixture
def without_mask(dock: UNetDock, root: Path, settle: Settle) -> tuple[UNetDock, Path, bytes]:
    """With the first case open, the mask of its slice 3 on a drive that is gone; that file, and what it held."""
    dock.loader.open_path(root)
    settle()
    path = masks_of(root, names(dock)[0])[3]
    was = path.read_bytes()
    path.unlink()
    path.symlink_to(root.parent / "elsewhere.tif")
    dock.loader.open_case(names(dock)[0])
    settle()
    return dock, path, was


def test_a_scan_is_shown_without_the_mask_that_cannot_be_read(
    without_mask: tuple[UNetDock, Path, bytes], root: Path, settle: Settle
) -> None:
    dock, path, _ = without_mask
    assert [layer.name for layer in dock.loader.images] == ["pre", "post", "FLAIR"]
    assert dock.loader.truth is None
    assert str(path) in dock.status.value()
    assert "without its mask, and corrections cannot be saved" in dock.status.value()
    assert dock.data_panel.value() == names(dock)[0]
    segment(dock, settle)
    stroke(dock, 2)
    others = [each for each in masks_of(root, names(dock)[0]) if each != path]
    before = [each.read_bytes() for each in others]
    save(dock, settle)
    assert str(path) in dock.status.value()
    assert dock.saver.unsaved() == [2]
    assert [each.read_bytes() for each in others] == before


def test_a_mask_that_can_be_read_by_now_is_not_replaced_unseen(
    without_mask: tuple[UNetDock, Path, bytes], root: Path, settle: Settle
) -> None:
    dock, path, was = without_mask
    painted = paint(dock, settle)
    path.write_bytes(was)
    save(dock, settle)
    assert "slice 2" in dock.correct_panel.notice()
    dock.questions.answer(KEEP_MINE)
    settle()
    np.testing.assert_array_equal(on_disk(root, 2), painted)
    assert path.read_bytes() == was


def test_edits_of_before_are_offered_without_the_mask(
    without_mask: tuple[UNetDock, Path, bytes], root: Path, settle: Settle
) -> None:
    dock, _, _ = without_mask
    painted = paint(dock, settle)
    dock.saver.autosave()
    settle()
    autosave = open_dataset(root).read_autosave(names(dock)[0])
    assert autosave is not None
    assert autosave.slices == (2,)
    np.testing.assert_array_equal(autosave.planes()[2], painted)


def test_what_was_saved_before_stays_where_the_mask_became_unreadable(
    segmented: UNetDock, root: Path, settle: Settle
) -> None:
    name = names(segmented)[0]
    stroke(segmented, 2)
    save(segmented, settle)
    painted = shown(segmented, 2).copy()
    path = masks_of(root, name)[4]
    path.write_bytes(path.read_bytes()[:40])
    segmented.loader.open_case(names(segmented)[1])
    settle()
    segmented.loader.open_case(name)
    settle()
    np.testing.assert_array_equal(shown(segmented, 2), painted)
    assert segmented.corrector.value().states[2] is SliceState.SAVED
    assert segmented.retrain_panel.board().scan_slices == 1


def test_a_truth_that_nobody_has_seen_is_not_replaced_after_theirs_were_taken(
    without_mask: tuple[UNetDock, Path, bytes], root: Path, settle: Settle
) -> None:
    dock, path, was = without_mask
    segment(dock, settle)
    path.write_bytes(was)
    with_tumour = [z for z in range(6) if on_disk(root, z).any()]
    for z in with_tumour[:2]:
        stroke(dock, z)
        save(dock, settle)
        assert f"slice {z}" in dock.correct_panel.notice()
        take_theirs(dock, settle)
        np.testing.assert_array_equal(shown(dock, z), on_disk(root, z))


def test_a_damaged_slice_is_named_and_the_others_are_shown_and_saved(
    dock: UNetDock, root: Path, settle: Settle
) -> None:
    dock.loader.open_path(root)
    settle()
    path = masks_of(root, names(dock)[0])[3]
    path.write_bytes(b"no image")
    dock.loader.open_case(names(dock)[0])
    settle()
    assert f"The mask {path.name} cannot be used (this is not a TIFF file)" in dock.status.value()
    assert "slice 3 counts as not labelled; correct and save it anew" in dock.status.value()
    assert dock.loader.truth is not None
    segment(dock, settle)
    for z in (2, 3):
        stroke(dock, z)
        painted = shown(dock, z).copy()
        save(dock, settle)
        np.testing.assert_array_equal(on_disk(root, z), painted)
    assert dock.saver.unsaved() == []
    assert b"no image" in [each.read_bytes() for each in (root / ".unetseg" / "originals").iterdir()]


def test_corrections_are_shown_where_the_original_is_lost(opened: UNetDock, root: Path, settle: Settle) -> None:
    correct_elsewhere(root, [2])
    for kept in (root / ".unetseg" / "originals").iterdir():
        kept.unlink()
    open_again(opened, settle, answer=Answer.DISCARD)
    np.testing.assert_array_equal(shown(opened, 2), square()[2])
    assert opened.loader.truth is None
    assert "is gone; restore it from a backup" in opened.status.value()
    assert "cannot be saved" not in opened.status.value()
    stroke(opened, 2)
    painted = shown(opened, 2).copy()
    save(opened, settle)
    np.testing.assert_array_equal(on_disk(root, 2), painted)


def test_edits_go_to_a_chosen_folder_without_the_mask(
    without_mask: tuple[UNetDock, Path, bytes], root: Path, tmp_path: Path, settle: Settle
) -> None:
    dock, path, _ = without_mask
    segment(dock, settle)
    stroke(dock, 2)
    choose_folder(dock, tmp_path / "overlay", settle)
    assert str(path) in dock.status.value()
    dock.saver.autosave()
    settle()
    assert open_dataset(root, overlay=tmp_path / "overlay").read_autosave(names(dock)[0]).slices == (2,)
    assert open_dataset(root).read_autosave(names(dock)[0]) is None
