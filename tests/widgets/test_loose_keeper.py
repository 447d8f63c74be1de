"""Edits of an image that belongs to no dataset outlive its layer, its window and its program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.session import Session
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.questions import DISCARD, RECOVER
from napari_unet_seg.working_mask import SliceState
from tests.fakes import FakeSegmenter
from tests.widgets.test_whose_work import add_image, choose_flair, segment, stroke

Settle = Callable[[], None]


@pytest.fixture
def painted(dock: UNetDock, settle: Settle) -> UNetDock:
    """With an image of one's own segmented, and slice 2 edited."""
    add_image(dock._viewer)
    segment(dock, settle)
    stroke(dock, 2)
    return dock


def kept(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("edits/*"))


def test_edits_are_kept_aside_while_painting(painted: UNetDock, settle: Settle, own_registry: Path) -> None:
    assert painted.keeper._timer.isActive()
    painted.keeper._timer.timeout.emit()
    settle()
    assert len(kept(own_registry)) == 1
    assert "Edits kept aside at" in painted.corrector.value().note


def test_an_undone_edit_is_not_kept(painted: UNetDock, settle: Settle, own_registry: Path) -> None:
    painted.keeper.keep()
    settle()
    painted.segmentation.layer.undo()
    painted.segmentation.settle()
    painted.keeper.keep(final=True)
    settle()
    assert kept(own_registry) == []
    assert painted.keeper.note == ""


def test_edits_of_a_removed_layer_are_offered_with_the_next_segmentation(painted: UNetDock, settle: Settle) -> None:
    edited = painted.session.work.mask.data[2].copy()
    painted._viewer.layers.remove(painted.segmentation.layer)
    assert "kept" in painted.status.value()
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slice 2 of this image were kept (")
    assert not np.array_equal(painted.session.work.mask.data[2], edited)
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    settle()
    assert np.array_equal(painted.session.work.mask.data[2], edited)
    assert painted.session.work.mask.unsaved() == [2]
    assert painted.correct_panel.notice() == ""
    painted.segmentation.layer.undo()
    assert not np.array_equal(painted.session.work.mask.data[2], edited)


def test_another_image_in_between_loses_nothing(painted: UNetDock, settle: Settle) -> None:
    pixels = np.random.default_rng(1).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    painted._viewer.add_image(pixels, name="another flair")
    choose_flair(painted, "another flair")
    segment(painted, settle)
    assert painted.correct_panel.notice() == ""
    choose_flair(painted, "follow-up flair")
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slice 2 of this image")


def test_an_image_that_is_not_segmented_by_a_model_is_kept_too(dock: UNetDock, settle: Settle) -> None:
    image = add_image(dock._viewer)
    dock.corrector.start()
    stroke(dock, 4)
    dock._viewer.layers.remove(dock.segmentation.layer)
    settle()
    dock.corrector.start()
    settle()
    assert dock.segmentation.reference is image
    assert dock.correct_panel.notice().startswith("Edits of slice 4 of this image")


def test_discarded_edits_are_forgotten(painted: UNetDock, settle: Settle, own_registry: Path) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    painted.correct_panel.noticeAnswered.emit(DISCARD)
    painted.keeper.keep()
    settle()
    assert kept(own_registry) == []
    assert painted.correct_panel.notice() == ""


def test_earlier_edits_stay_until_they_are_decided_about(painted: UNetDock, settle: Settle) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    stroke(painted, 5)
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slices 2, 5 of this image")


def test_what_was_painted_since_is_not_overwritten(painted: UNetDock, settle: Settle) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    painted.segmentation.layer.data_setitem((np.full(3, 2), np.arange(3) + 9, np.arange(3)), 1)
    painted.segmentation.settle()
    newer = painted.session.work.mask.data[2].copy()
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    assert np.array_equal(painted.session.work.mask.data[2], newer)
    assert painted.status.value() == "Nothing older than what is painted now."


def test_a_question_goes_with_its_image(painted: UNetDock, settle: Settle) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice()
    painted.loader.open_path(Path("scans"))
    settle()
    painted.loader.open_case("one")
    settle()
    assert painted.correct_panel.notice() == ""


@pytest.fixture
def next_dock(qtbot: QtBot, segmenter: FakeSegmenter, pretended: dict[str, Any]) -> Iterator[Callable[[], UNetDock]]:
    """Another program's dock, with the same image open."""
    docks = []

    def start() -> UNetDock:
        viewer, session = ViewerModel(), Session(load_model=lambda name: segmenter, find_adaptation=lambda name: None)
        dock = UNetDock(viewer, session=session, list_models=lambda: ["default"], **pretended)
        qtbot.addWidget(dock)
        add_image(viewer, "under another name")
        docks.append(dock)
        return dock

    yield start
    for dock in docks:
        dock.shutdown()


def test_the_last_strokes_before_the_window_closes_are_kept(
    qtbot: QtBot, painted: UNetDock, next_dock: Callable[[], UNetDock]
) -> None:
    edited = painted.session.work.mask.data[2].copy()
    painted.shutdown()
    dock = next_dock()
    qtbot.waitUntil(lambda: dock.session.segmenter is not None and not dock.busy(), timeout=10_000)
    dock.runner.segment()
    qtbot.waitUntil(lambda: not dock.busy() and bool(dock.correct_panel.notice()), timeout=10_000)
    dock.correct_panel.noticeAnswered.emit(RECOVER)
    assert np.array_equal(dock.session.work.mask.data[2], edited)


def test_a_damaged_file_is_told_and_painting_goes_on(painted: UNetDock, settle: Settle, own_registry: Path) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    (file,) = (own_registry / "edits").iterdir()
    file.write_bytes(b"cut short")
    segment(painted, settle)
    assert "damaged" in painted.status.value()
    stroke(painted, 3)
    painted.keeper.keep()
    settle()
    assert kept(own_registry) == [f"{file.stem}.damaged", file.name]


@pytest.fixture
def chosen(painted: UNetDock, tmp_path: Path) -> list[Path]:
    """Answers to the question for a file, in turn; and, before them, what was suggested."""
    answers = [tmp_path / "mask.nii.gz"]
    painted._choose_mask_file = lambda parent, suggested: answers.append(suggested) or answers.pop(0)
    return answers


def test_the_mask_is_saved_as_a_file(
    painted: UNetDock, chosen: list[Path], settle: Settle, own_registry: Path, tmp_path: Path
) -> None:
    painted.keeper.keep()
    settle()
    painted.correct_panel.saveRequested.emit()
    assert painted.corrector.value().saving
    settle()
    assert chosen == [Path.home() / "follow-up flair_seg.nii.gz"]
    written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert written.sum() == painted.session.work.mask.data.sum() > 0
    board = painted.corrector.value()
    assert board.unsaved == 0
    assert board.states[2] is SliceState.SAVED
    assert board.note.startswith("Saved as mask.nii.gz at ")
    painted.keeper.keep()
    settle()
    assert kept(own_registry) == []
    assert painted.corrector.value().note.startswith("Saved as mask.nii.gz at ")
    # And what is painted then is kept aside again.
    stroke(painted, 4)
    assert painted.corrector.value().unsaved == 1
    painted.keeper.keep()
    settle()
    assert len(kept(own_registry)) == 1


def test_a_file_that_cannot_be_written_leaves_all_unsaved(
    painted: UNetDock, chosen: list[Path], settle: Settle, tmp_path: Path
) -> None:
    (tmp_path / "folder").write_text("a file")
    chosen[0] = tmp_path / "folder" / "mask.nii.gz"
    painted._save()
    settle()
    assert "cannot be written" in painted.status.value()
    assert painted.corrector.value().unsaved == 1
    assert not painted.corrector.value().saving


def test_the_scan_is_not_replaced_by_its_mask(
    painted: UNetDock, chosen: list[Path], settle: Settle, tmp_path: Path
) -> None:
    scan = chosen[0] = tmp_path / "scan.tif"
    scan.write_bytes(b"precious")
    painted.keeper.image().metadata["source"] = str(scan)
    painted._save()
    settle()
    assert chosen == [tmp_path / "scan_seg.tif"]
    assert "would replace" in painted.status.value()
    assert scan.read_bytes() == b"precious"


def test_nothing_is_saved_without_a_name(painted: UNetDock, settle: Settle) -> None:
    painted._choose_mask_file = lambda parent, suggested: None
    painted._save()
    settle()
    assert painted.corrector.value().unsaved == 1


def test_a_scan_of_the_dataset_is_saved_there(segmented: UNetDock, settle: Settle) -> None:
    segmented._choose_mask_file = lambda parent, suggested: pytest.fail("asked for a file")
    stroke(segmented, 2)
    segmented._save()
    settle()
    assert segmented.corrector.value().unsaved == 0
