"""Correcting, saving and recovering, through the dock, on a dataset that lives in memory."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from napari_unet_seg.widgets.correct_panel import CorrectPanel
from napari_unet_seg.widgets.correction_saver import CHOOSE_FOLDER, KEEP_MINE, TAKE_THEIRS
from napari_unet_seg.widgets.corrector import find_gap
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import Answer
from napari_unet_seg.widgets.questions import DISCARD, RECOVER
from napari_unet_seg.working_mask import SliceState
from tests.fakes import FakeAutosave, FakeDataset

Settle = Callable[[], None]


def go_to(viewer: ViewerModel, z: int) -> None:
    viewer.dims.set_point(0, viewer.layers["Segmentation"].data_to_world((z, 0, 0))[0])


def data(viewer: ViewerModel) -> np.ndarray:
    return viewer.layers["Segmentation"].data


def states(dock: UNetDock) -> dict[int, SliceState]:
    return {z: state for z, state in enumerate(dock.corrector.value().states) if state is not SliceState.OPEN}


def click(dock: UNetDock, name: str) -> None:
    getattr(dock.correct_panel, f"_{name}").click()


def test_a_stroke_is_seen_saved_and_logged(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    assert states(segmented) == {2: SliceState.EDITED}
    assert segmented.correct_panel._state.value()[1] == "1 slice to save"
    click(segmented, "save")
    settle()
    assert [(save["slices"], save["kind"], save["model"]) for save in dataset.saves] == [([2], "hand", "default")]
    np.testing.assert_array_equal(dataset["one"].corrected[2], data(viewer)[2])
    assert states(segmented) == {2: SliceState.SAVED}
    assert "Saved slice 2 of one" in segmented.status.value()
    assert segmented.correct_panel._state.value()[1] == ""
    row = next(row for row in segmented.data_panel.rows() if row.case_id == "one")
    assert "1 corrected" in row.state


def test_accept_is_a_correction_that_undo_takes_back(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    go_to(viewer, 3)
    click(segmented, "accept")
    assert states(segmented) == {3: SliceState.ACCEPTED}
    viewer.layers["Segmentation"].undo()
    assert states(segmented) == {}
    viewer.layers["Segmentation"].redo()
    assert states(segmented) == {3: SliceState.ACCEPTED}
    assert segmented.correct_panel._accept.isChecked()
    click(segmented, "accept")
    assert states(segmented) == {}
    click(segmented, "accept")
    click(segmented, "save")
    settle()
    assert [(save["slices"], save["kind"]) for save in dataset.saves] == [([3], "accepted")]


def test_revert_and_clear_are_undone(segmented: UNetDock, viewer: ViewerModel) -> None:
    go_to(viewer, 3)
    model = data(viewer)[3].copy()
    assert model.any()
    click(segmented, "clear")
    assert not data(viewer)[3].any()
    assert segmented.status.value() == "Cleared slice 3."
    go_to(viewer, 0)
    viewer.layers["Segmentation"].undo()
    np.testing.assert_array_equal(data(viewer)[3], model)
    viewer.layers["Segmentation"].paint((3, 1, 1), 1)
    go_to(viewer, 3)
    click(segmented, "revert")
    np.testing.assert_array_equal(data(viewer)[3], model)
    assert segmented.status.value() == "Reverted slice 3."
    assert states(segmented) == {}
    viewer.layers["Segmentation"].undo()
    assert states(segmented) == {3: SliceState.EDITED}


def test_a_key_without_a_mask_says_what_to_do(dock: UNetDock, settle: Settle) -> None:
    settle()
    dock.corrector.accept()
    assert "There is no mask to correct yet" in dock.status.value()


def test_revert_of_an_accepted_slice_takes_the_acceptance_back(segmented: UNetDock, viewer: ViewerModel) -> None:
    go_to(viewer, 3)
    click(segmented, "accept")
    click(segmented, "revert")
    assert states(segmented) == {}


def test_slices_between_two_corrected_ones_are_filled(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    layer = viewer.layers["Segmentation"]
    layer.data[:] = 0
    for z in (1, 4):
        layer.data[z, 8:20, 8:20] = 1
    layer.refresh()
    go_to(viewer, 1)
    segmented.corrector.accept()
    go_to(viewer, 2)
    # Slices that the model filled and that are empty now count as corrected too.
    for z in range(6):
        segmented.session.work.mask.model[z] = layer.data[z]
    segmented.session.work.mask.touch()
    go_to(viewer, 4)
    segmented.corrector.accept()
    go_to(viewer, 2)
    click(segmented, "interpolate")
    np.testing.assert_array_equal(data(viewer)[2], data(viewer)[1])
    np.testing.assert_array_equal(data(viewer)[3], data(viewer)[4])
    assert set(states(segmented)) == {1, 2, 3, 4}
    layer.undo()
    assert not data(viewer)[2:4].any()
    layer.redo()
    click(segmented, "save")
    settle()
    assert {save["kind"]: save["slices"] for save in dataset.saves} == {"accepted": [1, 4], "interpolated": [2, 3]}


def test_interpolation_says_what_it_needs(segmented: UNetDock) -> None:
    click(segmented, "interpolate")
    assert segmented.status.is_error
    assert "two corrected slices" in segmented.status.value()


@pytest.mark.parametrize(
    ("settled", "z", "gap"),
    [
        ([1, 5], 3, (1, 5)),
        ([1, 5], 1, (1, 5)),
        ([1, 5], 5, (1, 5)),
        ([1, 2, 6], 1, None),
        ([1, 2, 6], 2, (2, 6)),
        ([1, 2, 6], 4, (2, 6)),
        ([3], 3, None),
        ([], 3, None),
        ([1, 5], 7, None),
    ],
)
def test_the_gap_is_between_neighbouring_corrected_slices(
    settled: list[int], z: int, gap: tuple[int, int] | None
) -> None:
    assert find_gap(settled, z) == gap


def test_a_corrected_slice_is_not_overwritten_by_the_model(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle
) -> None:
    go_to(viewer, 3)
    click(segmented, "clear")
    click(segmented, "save")
    settle()
    segmented.runner.segment()
    settle()
    assert not data(viewer)[3].any()
    assert states(segmented) == {3: SliceState.SAVED}


def test_saved_slices_open_with_their_case(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset["three"].corrected[4] = np.eye(32, dtype=np.uint8)
    segmented.data_panel.caseActivated.emit("three")
    settle()
    np.testing.assert_array_equal(data(viewer)[4], np.eye(32))
    assert states(segmented) == {4: SliceState.SAVED}
    assert "Ground truth" not in viewer.layers


def test_edits_are_kept_beside_the_dataset_before_they_are_saved(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented.saver._autosave.setInterval(50)
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    qtbot.waitUntil(lambda: "one" in dataset.autosaves, timeout=5000)
    np.testing.assert_array_equal(dataset.autosaves["one"].planes()[2], data(viewer)[2])
    viewer.layers["Segmentation"].undo()
    qtbot.waitUntil(lambda: "one" not in dataset.autosaves, timeout=5000)


def test_what_a_crash_left_is_offered_and_recovered(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.autosaves["two"] = FakeAutosave({1: np.eye(32, dtype=np.uint8)})
    segmented.loader.open_path("scans")
    settle()
    rows = segmented.data_panel.rows
    assert [row.state for row in rows()][:2] == [("ground truth", "predicted"), ("ground truth", "edits kept")]
    segmented.data_panel.caseActivated.emit("two")
    settle()
    assert "slice 1" in segmented.correct_panel.notice()
    segmented.correct_panel.noticeAnswered.emit(RECOVER)
    settle()
    assert rows()[1].state == ("ground truth", "1 unsaved")
    np.testing.assert_array_equal(data(viewer)[1], np.eye(32))
    assert segmented.saver.unsaved() == [1]
    assert segmented.correct_panel.notice() == ""


def test_painting_on_before_deciding_loses_neither(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    older = np.eye(32, dtype=np.uint8)
    dataset.autosaves["two"] = FakeAutosave({1: older, 2: older})
    segmented.data_panel.caseActivated.emit("two")
    settle()
    click(segmented, "start")
    viewer.layers["Segmentation"].paint((2, 20, 5), 1)
    newer = data(viewer)[2].copy()
    segmented.saver.autosave()
    settle()
    kept = dataset.autosaves["two"].planes()
    np.testing.assert_array_equal(kept[1], older)
    np.testing.assert_array_equal(kept[2], newer)
    segmented.correct_panel.noticeAnswered.emit(RECOVER)
    np.testing.assert_array_equal(data(viewer)[1], older)
    np.testing.assert_array_equal(data(viewer)[2], newer)


def test_what_a_crash_left_is_discarded_only_when_the_user_says_so(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    kept = dataset.autosaves["two"] = FakeAutosave({1: np.eye(32, dtype=np.uint8)})
    segmented.loader.open_path("scans")
    settle()
    segmented.data_panel.caseActivated.emit("two")
    settle()
    segmented.saver.autosave()
    settle()
    assert dataset.autosaves["two"] is kept
    assert segmented.data_panel.rows()[1].state == ("ground truth", "edits kept")
    segmented.correct_panel.noticeAnswered.emit(DISCARD)
    settle()
    assert dataset.autosaves == {}
    assert segmented.data_panel.rows()[1].state == ("ground truth",)


@pytest.mark.parametrize("how", ["discarded", "undone"])
def test_what_is_no_longer_wanted_is_not_kept_with_what_a_crash_left(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, how: str
) -> None:
    kept = dataset.autosaves["two"] = FakeAutosave({1: np.eye(32, dtype=np.uint8)})
    segmented.data_panel.caseActivated.emit("two")
    settle()
    segmented.runner.segment()
    settle()
    viewer.layers["Segmentation"].paint((3, 5, 5), 1)
    segmented.saver.autosave()
    settle()
    assert dataset.autosaves["two"].slices == (1, 3)
    if how == "discarded":
        segmented.data_panel.caseActivated.emit("one")
        settle()
        segmented.data_panel.caseActivated.emit("two")
    else:
        viewer.layers["Segmentation"].undo()
        segmented.saver.autosave()
    settle()
    assert dataset.autosaves["two"] is kept
    assert segmented.correct_panel.notice().startswith("Edits of slice 1 of two were not saved")


def test_a_failed_save_keeps_the_edit(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.error = InputError("cannot be written (no space left on device)", path=Path("scans/one_mask.tif"))
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    click(segmented, "save")
    settle()
    assert "one_mask.tif" in segmented.status.value()
    assert segmented.status.is_error
    assert segmented.saver.unsaved() == [2]
    dataset.error = None
    click(segmented, "save")
    settle()
    assert segmented.saver.unsaved() == []


def test_a_label_that_the_dataset_does_not_declare_can_be_painted_over(
    dock: UNetDock, viewer: ViewerModel, settle: Settle, tmp_path: Path
) -> None:
    scan = np.random.default_rng(0).integers(0, 99, (16, 16, 4)).astype(np.int16)
    for folder, name, values in (("imagesTr", "c1_0000", scan), ("labelsTr", "c1", (scan > 90).astype(np.uint8))):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1, 3, 1])), tmp_path / folder / f"{name}.nii.gz")
    labels = {"background": 0, "tumour": 1}
    description = {"channel_names": {"0": "flair"}, "labels": labels, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(tmp_path)
    dock.session.reader._open_dataset = lambda path: dataset
    dock.loader.open_path(tmp_path)
    settle()
    dock.runner.segment()
    settle()
    viewer.layers["Segmentation"].paint((2, 5, 5), 7)
    click(dock, "save")
    settle()
    assert "label 7 in slice 2 of c1 is none that the dataset declares (1)" in dock.status.value()
    assert dock.status.is_error
    assert dock.saver.unsaved() == [2]
    dock.saver.autosave()
    settle()
    kept = dataset.read_autosave("c1")
    assert kept is not None
    assert kept.slices == (2,)
    data(viewer)[2][data(viewer)[2] == 7] = 1
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    click(dock, "save")
    settle()
    assert dock.saver.unsaved() == []
    stored = dataset["c1"].read_mask()
    assert stored is not None
    np.testing.assert_array_equal(stored[2], data(viewer)[2])


@pytest.mark.parametrize("answer", [KEEP_MINE, TAKE_THEIRS])
def test_the_user_chooses_when_another_program_changed_the_slice(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, answer: str
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    mine, theirs = data(viewer)[2].copy(), np.eye(32, dtype=np.uint8)
    dataset["one"].corrected[2] = theirs
    dataset.error = ChangedElsewhereError(
        "slice 2 was changed by another program", path=Path("one_mask.tif"), slices=[2]
    )
    click(segmented, "save")
    settle()
    assert "changed by another program" in segmented.correct_panel.notice()
    np.testing.assert_array_equal(dataset["one"].corrected[2], theirs)
    segmented.correct_panel.noticeAnswered.emit(answer)
    settle()
    expected = mine if answer == KEEP_MINE else theirs
    np.testing.assert_array_equal(data(viewer)[2], expected)
    np.testing.assert_array_equal(dataset["one"].corrected[2], expected)
    assert states(segmented) == {2: SliceState.SAVED}


def test_taking_theirs_leaves_other_unsaved_slices_alone(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    layer = viewer.layers["Segmentation"]
    layer.paint((2, 5, 5), 1)
    layer.paint((4, 5, 5), 1)
    mine, theirs = data(viewer)[4].copy(), np.eye(32, dtype=np.uint8)
    dataset["one"].corrected[2] = theirs
    dataset.error = ChangedElsewhereError("slice 2 was changed", path=Path("one_mask.tif"), slices=[2])
    click(segmented, "save")
    settle()
    segmented.correct_panel.noticeAnswered.emit(TAKE_THEIRS)
    settle()
    np.testing.assert_array_equal(data(viewer)[2], theirs)
    np.testing.assert_array_equal(data(viewer)[4], mine)
    assert states(segmented) == {2: SliceState.SAVED, 4: SliceState.EDITED}


def test_the_note_of_a_save_stays_when_nothing_is_left_to_keep(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    click(segmented, "save")
    settle()
    segmented.saver.autosave()
    settle()
    assert segmented.corrector.value().note.startswith("Saved slice 2")


@pytest.mark.parametrize("saved", [False, True])
def test_nothing_is_said_to_be_kept_aside_when_nothing_is(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle, saved: bool
) -> None:
    if saved:
        viewer.layers["Segmentation"].paint((2, 5, 5), 1)
        click(segmented, "save")
        settle()
    viewer.layers["Segmentation"].paint((4, 5, 5), 1)
    segmented.saver.autosave()
    settle()
    assert segmented.correct_panel.value().note.startswith("Edits kept aside")
    viewer.layers["Segmentation"].undo()
    segmented.saver.autosave()
    settle()
    note = segmented.correct_panel.value().note
    assert note.startswith("Saved slice 2") if saved else note == ""


def test_another_case_does_not_say_what_was_kept_of_the_one_before(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.saver.autosave()
    segmented.session.close_case()
    settle()
    assert segmented.saver.note == ""


def test_what_was_discarded_on_closing_is_not_offered_again(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.saver.autosave()
    settle()
    assert "one" in dataset.autosaves
    segmented.saver.discard()
    segmented.shutdown()
    assert dataset.autosaves == {}


def test_a_read_only_dataset_asks_for_a_folder(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.error = ReadOnlyError("the dataset is read-only; choose a folder", path=Path("scans"))
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    click(segmented, "save")
    settle()
    assert "read-only" in segmented.correct_panel.notice()
    asked = []
    segmented.saver.folderWanted.disconnect()
    segmented.saver.folderWanted.connect(lambda: asked.append(True))
    segmented.correct_panel.noticeAnswered.emit(CHOOSE_FOLDER)
    assert asked == [True]
    assert segmented.saver.unsaved() == [2]


def test_another_window_is_told_of(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.other = "process 7 on desk since 2026-11-23 12:03"
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.saver.autosave()
    settle()
    assert "(process 7 on desk" in segmented.correct_panel.notice()
    segmented.correct_panel.noticeAnswered.emit("OK")
    segmented.saver.autosave()
    settle()
    assert segmented.correct_panel.notice() == ""


@pytest.mark.parametrize("answer", list(Answer))
def test_leaving_a_case_with_unsaved_edits_asks(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, answer: Answer
) -> None:
    asked = []
    segmented._ask = lambda parent, text: asked.append(text) or answer
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.data_panel.caseActivated.emit("two")
    settle()
    assert asked == ["one: slice 2 is corrected but not saved."]
    assert segmented.data_panel.value() == ("one" if answer is Answer.CANCEL else "two")
    assert list(dataset["one"].corrected) == ([2] if answer is Answer.SAVE else [])
    if answer is Answer.CANCEL:
        assert segmented.saver.unsaved() == [2]


def test_leaving_does_not_ask_when_all_is_saved(segmented: UNetDock, settle: Settle) -> None:
    segmented._ask = lambda parent, text: pytest.fail("asked")
    segmented.data_panel.caseActivated.emit("two")
    settle()
    assert segmented.data_panel.value() == "two"


def test_a_save_that_fails_on_leaving_stays(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.error = InputError("cannot be written", path=Path("one_mask.tif"))
    segmented._ask = lambda parent, text: Answer.SAVE
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.data_panel.caseActivated.emit("two")
    settle()
    assert segmented.data_panel.value() == "one"
    assert segmented.saver.unsaved() == [2]


def test_a_mask_is_begun_without_a_model(opened: UNetDock, viewer: ViewerModel, dataset: FakeDataset) -> None:
    assert opened.correct_panel._start.text() == "Correct the dataset's mask"
    click(opened, "start")
    np.testing.assert_array_equal(data(viewer), dataset["one"].mask)
    assert not np.shares_memory(data(viewer), dataset["one"].mask)
    assert states(opened) == {}


def test_an_empty_mask_is_begun_where_there_is_none(opened: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    opened.data_panel.caseActivated.emit("three")
    settle()
    assert opened.correct_panel._start.text() == "Start with an empty mask"
    click(opened, "start")
    assert data(viewer).shape == (6, 32, 32)
    assert not data(viewer).any()


def test_a_click_on_the_strip_shows_the_slice(segmented: UNetDock, viewer: ViewerModel) -> None:
    segmented.correct_panel.sliceChosen.emit(5)
    assert segmented.corrector.value().z == 5


def test_keys_do_what_the_buttons_do(segmented: UNetDock, viewer: ViewerModel) -> None:
    from app_model.types import KeyBinding

    go_to(viewer, 3)
    viewer.keymap[KeyBinding.from_str("Shift-A")](viewer)
    assert states(segmented) == {3: SliceState.ACCEPTED}
    segmented.shutdown()
    assert KeyBinding.from_str("Shift-A") not in viewer.keymap


def test_unsaved_edits_outlive_the_dock(segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.shutdown()
    assert list(dataset.autosaves["one"].planes()) == [2]


def test_the_panel_shows_nothing_to_press_where_nothing_is_open(qtbot: QtBot) -> None:
    panel = CorrectPanel()
    qtbot.addWidget(panel)
    assert panel._start.isHidden()
    assert panel._save.isHidden()
