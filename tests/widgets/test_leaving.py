"""A case is left, or the window closed, while its corrections are unsaved, or are just being saved."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEventLoop, QTimer

from napari_unet_seg.case_reader import CaseReader
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from napari_unet_seg.widgets.correction_saver import KEEP_MINE, TAKE_THEIRS
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import Answer
from napari_unet_seg.working_mask import SliceState
from tests.fakes import FakeAutosave, FakeDataset, fake_dataset
from tests.widgets.test_whose_work import stroke

Settle = Callable[[], None]


@pytest.fixture
def slow_drive(dataset: FakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save takes a while."""
    save = dataset.save_correction

    def slow_save(*arguments: object, **told: object) -> None:
        time.sleep(0.4)
        save(*arguments, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "save_correction", slow_save)


def open_scans(dock: UNetDock, settle: Settle) -> None:
    dock.loader.open_path(Path("scans"))
    settle()
    open_case(dock, "one", settle)


def open_case(dock: UNetDock, name: str, settle: Settle) -> None:
    dock.loader.open_case(name)
    settle()


@pytest.mark.usefixtures("slow_drive")
def test_a_save_that_runs_ends_before_its_case_is_left(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    segmented._ask = lambda parent, text: pytest.fail("asked")
    stroke(segmented, 2)
    painted = segmented.segmentation.layer.data[2].copy()
    segmented.saver.save()
    open_case(segmented, "two", settle)
    assert segmented.session.case.case_id == "two"
    assert segmented.saver.note == ""
    open_case(segmented, "one", settle)
    assert segmented.corrector.value().states[2] is SliceState.SAVED
    np.testing.assert_array_equal(segmented.segmentation.layer.data[2], painted)


@pytest.mark.usefixtures("slow_drive")
@pytest.mark.parametrize(("answer", "saved"), [(Answer.SAVE, [[2], [3]]), (Answer.DISCARD, [[2]])])
def test_a_stroke_during_a_save_is_asked_about_after_it(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, answer: Answer, saved: list[list[int]]
) -> None:
    asked: list[str] = []
    segmented._ask = lambda parent, text: asked.append(text) or answer
    stroke(segmented, 2)
    segmented.saver.save()
    stroke(segmented, 3)
    open_case(segmented, "two", settle)
    assert asked == ["one: slice 3 is corrected but not saved."]
    assert segmented.session.case.case_id == "two"
    assert [save["slices"] for save in dataset.saves] == saved
    open_case(segmented, "one", settle)
    assert segmented.saver.unsaved() == []


@pytest.mark.usefixtures("slow_drive")
def test_the_question_is_not_asked_twice(segmented: UNetDock, settle: Settle) -> None:
    asked: list[str] = []
    segmented._ask = lambda parent, text: asked.append(text) or Answer.SAVE
    stroke(segmented, 2)
    QTimer.singleShot(100, lambda: segmented.loader.open_case("three"))
    open_case(segmented, "two", settle)
    assert len(asked) == 1


@pytest.mark.usefixtures("slow_drive")
def test_a_dock_closed_while_its_case_is_saved_does_not_leave_it(segmented: UNetDock, dataset: FakeDataset) -> None:
    stroke(segmented, 2)
    QTimer.singleShot(100, segmented.shutdown)
    assert not segmented.saver.save_now()
    assert segmented.is_closed()
    assert list(dataset["one"].corrected) == [2]
    assert dataset.autosaves == {}


@pytest.mark.usefixtures("slow_drive")
def test_an_application_that_quits_waits_for_the_save(
    segmented: UNetDock, dataset: FakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # When the application quits, every loop returns at once.
    monkeypatch.setattr(QEventLoop, "exec", lambda self, flags=None: 0)
    stroke(segmented, 2)
    assert segmented.saver.save_now()
    assert list(dataset["one"].corrected) == [2]


def test_a_case_that_cannot_be_saved_says_why_it_stays(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.error = InputError("the disk is full")
    segmented._ask = lambda parent, text: Answer.SAVE
    stroke(segmented, 2)
    open_case(segmented, "two", settle)
    assert segmented.session.case.case_id == "one"
    assert "the disk is full" in segmented.status.value()


def test_a_conflict_of_a_case_that_was_left_asks_nothing(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    stroke(segmented, 2)
    job = segmented.saver._job()
    dataset.error = ChangedElsewhereError("slice 2 was changed", slices=(2,))
    open_case(segmented, "two", settle)
    segmented.session.take_saved(job.save())
    assert segmented.correct_panel.notice() == ""
    assert segmented.saver.note == ""
    segmented.corrector.start()
    stroke(segmented, 4)
    segmented.questions.answer(KEEP_MINE)
    settle()
    assert dataset.saves == []


def test_a_conflict_is_not_settled_while_another_scan_is_segmented(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    stroke(segmented, 2)
    dataset.error = ChangedElsewhereError("slice 2 was changed", slices=(2,))
    segmented.saver.save()
    settle()
    segmented.session.put_work_aside()
    for answer in (KEEP_MINE, TAKE_THEIRS):
        segmented.questions.answer(answer)
        assert "go on with the corrections" in segmented.status.value()
    assert "slice 2 was changed" in segmented.correct_panel.notice().lower()


def test_what_another_program_wrote_is_not_shown_in_another_case(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stroke(segmented, 2)
    dataset.error = ChangedElsewhereError("slice 2 was changed", slices=(2,))
    segmented.saver.save()
    settle()
    read, go_on = dataset["one"].read_mask, threading.Event()
    monkeypatch.setattr(dataset["one"], "read_mask", lambda: read() if go_on.wait(10) else None)
    segmented.questions.answer(TAKE_THEIRS)
    open_case_without_waiting(segmented, "two")
    go_on.set()
    settle()
    segmented.corrector.start()
    assert segmented.saver.unsaved() == []
    np.testing.assert_array_equal(segmented.segmentation.layer.data, dataset["two"].mask)


def open_case_without_waiting(dock: UNetDock, name: str) -> None:
    case = dock.session.dataset[name]
    dock.saver.discard()
    dock.loader._take_case(dock.session.reader.read_case(case, dataset=dock.session.dataset))


def test_a_notice_goes_with_its_dataset(dock: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    dataset.autosaves["one"] = FakeAutosave({2: np.ones((32, 32), np.uint8)})
    open_scans(dock, settle)
    assert "not saved" in dock.correct_panel.notice()
    dock.loader.open_path(Path("scans"))
    settle()
    assert dock.correct_panel.notice() == ""


def test_a_dataset_that_can_be_written_is_not_called_read_only(
    dock: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.writable = False
    open_scans(dock, settle)
    assert "read-only" in dock.correct_panel.notice()
    dock.session.reader._open_dataset = lambda path: fake_dataset()
    dock.loader.open_path(Path("others"))
    settle()
    assert dock.correct_panel.notice() == ""


def test_labels_above_a_byte_are_shown_as_they_were_saved(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    layer = segmented.segmentation.layer
    layer.data = layer.data.astype(np.int32)
    layer.data_setitem((np.full(3, 2), np.arange(3), np.arange(3)), 300)
    segmented.saver.save()
    settle()
    assert segmented.saver.unsaved() == []
    assert segmented.corrector.value().states[2] is SliceState.SAVED
    np.testing.assert_array_equal(layer.data[2], dataset["one"].corrected[2])


def test_edits_of_a_read_only_dataset_are_kept_with_the_user_s_data(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the question for a folder."""

    def refuse(*_: object, **__: object) -> None:
        raise ReadOnlyError("this dataset is read-only")

    with monkeypatch.context() as read_only:
        read_only.setattr(dataset, "autosave", refuse)
        stroke(segmented, 2)
        painted = segmented.session.work.mask.data[2].copy()
        segmented.saver.autosave()
        settle()
    assert "Corrections need a folder of their own" in segmented.correct_panel.notice()
    assert len(list(own_registry.glob("edits/case-*"))) == 1
    other = CaseReader()
    kept = other.read_case(dataset["one"], dataset=dataset).autosaved
    assert kept is not None
    np.testing.assert_array_equal(kept.planes()[2], painted)
    assert other.read_case(dataset["two"], dataset=dataset).autosaved is None
    # A folder was chosen: they lie there now.
    segmented.saver.autosave()
    settle()
    assert list(own_registry.glob("edits/case-*")) == []
    assert list(dataset.autosaves["one"].planes()) == [2]


def test_edits_of_a_dataset_on_a_full_disk_are_kept_with_the_user_s_data(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, own_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("cannot be autosaved (No space left on device); save before closing")

    stroke(segmented, 2)
    segmented.saver.autosave()
    settle()
    assert list(dataset.autosaves["one"].planes()) == [2]
    time.sleep(0.01)
    with monkeypatch.context() as full:
        full.setattr(dataset, "autosave", refuse)
        stroke(segmented, 3)
        segmented.saver.autosave()
        settle()
    assert "No space left on device" in segmented.status.value()
    # What is beside the dataset is older, and lacks a slice.
    other = CaseReader()
    kept = other.read_case(dataset["one"], dataset=dataset).autosaved
    assert kept is not None
    assert list(kept.planes()) == [2, 3]
    # There is room again.
    segmented.saver.autosave()
    settle()
    assert list(own_registry.glob("edits/case-*")) == []
    assert list(dataset.autosaves["one"].planes()) == [2, 3]
