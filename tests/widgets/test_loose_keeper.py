"""Edits of an image that belongs to no dataset outlive its layer, its window and its program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_unet_seg.session import Session
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.mask_dialog import choose_mask_file
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
    assert painted.correct_panel.notice().startswith("Edits of slice 2 of follow-up flair were kept (")
    assert not np.array_equal(painted.session.work.mask.data[2], edited)
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    settle()
    assert np.array_equal(painted.session.work.mask.data[2], edited)
    assert painted.session.work.mask.unsaved() == [2]
    assert painted.correct_panel.notice() == ""
    painted.segmentation.layer.undo()
    assert not np.array_equal(painted.session.work.mask.data[2], edited)


def test_what_was_accepted_is_offered_though_it_looks_alike(painted: UNetDock, settle: Settle) -> None:
    painted.segmentation.layer.undo()
    painted._viewer.dims.set_point(0, painted.segmentation.layer.scale[0] * 3)
    painted.corrector.accept()
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slice 3 of follow-up flair were kept (")
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    assert painted.session.work.mask.states()[3] is SliceState.ACCEPTED


def test_another_image_in_between_loses_nothing(painted: UNetDock, settle: Settle) -> None:
    pixels = np.random.default_rng(1).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    painted._viewer.add_image(pixels, name="another flair")
    choose_flair(painted, "another flair")
    segment(painted, settle)
    assert painted.correct_panel.notice() == ""
    choose_flair(painted, "follow-up flair")
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slice 2 of follow-up flair")


def test_an_image_that_is_not_segmented_by_a_model_is_kept_too(dock: UNetDock, settle: Settle) -> None:
    image = add_image(dock._viewer)
    dock.corrector.start()
    stroke(dock, 4)
    dock._viewer.layers.remove(dock.segmentation.layer)
    settle()
    dock.corrector.start()
    settle()
    assert dock.segmentation.reference is image
    assert dock.correct_panel.notice().startswith("Edits of slice 4 of follow-up flair")


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
    assert painted.correct_panel.notice().startswith("Edits of slices 2, 5 of follow-up flair")


def test_what_was_painted_since_is_not_overwritten(painted: UNetDock, settle: Settle) -> None:
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    painted.segmentation.layer.data_setitem((np.full(3, 2), np.arange(3) + 9, np.arange(3)), 1)
    painted.segmentation.settle()
    newer = painted.session.work.mask.data[2].copy()
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    assert np.array_equal(painted.session.work.mask.data[2], newer)
    assert painted.status.value() == "Nothing was recovered. Slice 2 kept as painted since."


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
        viewer, session = (
            ViewerModel(),
            Session(load_model=lambda name: segmenter, find_own_model=lambda image_hash: None),
        )
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
    assert painted.corrector.value().note.startswith("Saved as mask.nii.gz at ")
    # All that was corrected is offered again, what was saved too: who saves over the file would lose it.
    stroke(painted, 4)
    assert painted.corrector.value().unsaved == 1
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slices 2, 4 of follow-up flair were kept (")


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


def test_an_accepted_slice_is_recovered(painted: UNetDock, settle: Settle) -> None:
    edited = painted.session.work.mask.data[2].copy()
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    painted._show_slice(2)
    painted.corrector.accept()
    painted.correct_panel.noticeAnswered.emit(RECOVER)
    assert np.array_equal(painted.session.work.mask.data[2], edited)
    assert painted.corrector.value().states[2] is SliceState.EDITED


def test_the_mask_of_an_image_that_was_left_is_not_saved_under_its_name(
    painted: UNetDock, settle: Settle, tmp_path: Path
) -> None:
    def answer(parent: object, suggested: Path) -> Path:
        # Meanwhile, behind the question, another image has been segmented.
        pixels = np.random.default_rng(1).integers(20, 120, (6, 32, 32), dtype=np.uint8)
        painted._viewer.add_image(pixels, name="another flair")
        choose_flair(painted, "another flair")
        segment(painted, settle)
        return tmp_path / "mask.nii.gz"

    painted._choose_mask_file = answer
    painted._save()
    settle()
    assert not (tmp_path / "mask.nii.gz").exists()
    assert painted.status.value() == "Another image is at hand by now; nothing was saved."


def test_a_second_save_is_not_dropped(painted: UNetDock, settle: Settle, tmp_path: Path) -> None:
    image = painted.keeper.image()
    painted.keeper.save(tmp_path / "first.tif", image=image)
    stroke(painted, 3)
    painted.keeper.save(tmp_path / "second.tif", image=image)
    settle()
    first, second = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("first", "second"))
    assert second[3].sum() > first[3].sum()
    assert painted.corrector.value().unsaved == 0
    assert not painted.corrector.value().saving


def test_other_pixels_are_another_image(painted: UNetDock, settle: Settle, own_registry: Path) -> None:
    image = painted.keeper.image()
    image.data = np.asarray(image.data) + 1
    stroke(painted, 3)
    painted.keeper.keep()
    settle()
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slices 2, 3 of follow-up flair were kept (")


def test_what_was_painted_is_kept_when_the_image_changes_its_shape(
    painted: UNetDock, settle: Settle, own_registry: Path
) -> None:
    painted._show_slice(5)
    image = painted.keeper.image()
    image.data = np.asarray(image.data)[:4]
    painted.runner.segment()
    settle()
    assert len(painted.corrector.value().states) == 4
    assert len(kept(own_registry)) == 1


def test_labels_above_a_byte_are_shown_as_they_were_saved(painted: UNetDock, settle: Settle, tmp_path: Path) -> None:
    layer = painted.segmentation.layer
    layer.data = layer.data.astype(np.int32)
    layer.data_setitem((np.full(3, 4), np.arange(3), np.arange(3)), 300)
    painted.segmentation.settle()
    painted.keeper.save(tmp_path / "mask.tif", image=painted.keeper.image())
    settle()
    assert painted.corrector.value().unsaved == 0
    assert painted.session.work.mask.data.max() == 255


def test_edits_that_cannot_be_written_come_back_in_the_same_window(
    painted: UNetDock, settle: Settle, own_registry: Path
) -> None:
    (own_registry / "edits").write_text("no folder")
    painted._viewer.layers.remove(painted.segmentation.layer)
    settle()
    assert "cannot be kept aside" in painted.status.value()
    segment(painted, settle)
    assert painted.correct_panel.notice().startswith("Edits of slice 2 of follow-up flair were kept (")


class Dialog:
    """Stands in for Qt's: gives names in turn, the last of which is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, kind: str = "NIfTI (*.nii.gz *.nii)") -> None:
        self.names, self.suggested, self.kind = list(names), [], kind
        for name in ("exec", "selectedFiles", "selectFile", "selectedNameFilter"):
            monkeypatch.setattr(QFileDialog, name, lambda dialog, *told, name=name: getattr(self, name)(*told))

    def exec(self) -> int:
        return bool(self.names)

    def selectedFiles(self) -> list[str]:
        return self.names[:1]

    def selectFile(self, name: str) -> None:
        self.suggested.append(name)
        if len(self.suggested) > 1:
            self.names.pop(0)

    def selectedNameFilter(self) -> str:
        return self.kind


@pytest.mark.parametrize(
    ("typed", "taken"), [("m.nii.gz", "m.nii.gz"), ("patient.01", "patient.01.nii.gz"), ("M.NII", "M.NII"), ("", None)]
)
def test_a_name_gets_the_ending_of_its_kind(
    dock: UNetDock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str, taken: str | None
) -> None:
    dialog = Dialog(monkeypatch, *([str(tmp_path / typed)] if typed else []))
    found = choose_mask_file(dock, tmp_path / "scan_seg.nii.gz")
    assert found == (None if taken is None else tmp_path / taken)
    assert dialog.suggested == ["scan_seg.nii.gz"]


def test_a_file_that_is_there_is_asked_about(dock: UNetDock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.tif").touch()
    dialog = Dialog(monkeypatch, str(tmp_path / "m"), str(tmp_path / "n"), kind="TIFF (*.tif *.tiff)")
    assert choose_mask_file(dock, tmp_path / "scan_seg.tif") == tmp_path / "n.tif"
    # Qt is shown the whole name, and asks.
    assert dialog.suggested == ["scan_seg.tif", "m.tif"]


def test_a_series_of_many_volumes_is_kept_too(dock: UNetDock, settle: Settle, own_registry: Path) -> None:
    settle()
    pixels = np.random.default_rng(2).integers(20, 120, (9, 6, 32, 32), dtype=np.uint8)
    dock._viewer.add_image(pixels, name="time flair")
    dock.corrector.start()
    layer = dock.segmentation.layer
    layer.data_setitem((np.full(3, 2), np.arange(3), np.arange(3)), 1)
    dock.segmentation.settle()
    dock._viewer.layers.remove(layer)
    settle()
    assert len(kept(own_registry)) == 1
