from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_settings
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_unet_seg.engine.metrics import count
from napari_unet_seg.errors import InputError
from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.widgets.demo import segment_first_case
from napari_unet_seg.widgets.dock import UNetDock
from tests.fakes import FakeDataset, FakeSegmenter

Settle = Callable[[], None]


def test_what_was_typed_is_shown_as_it_was_typed(dock: UNetDock) -> None:
    sentences = [label for label in dock.findChildren(QLabel) if label.wordWrap()]
    assert len(sentences) > 8
    assert {label.textFormat() for label in sentences} == {Qt.TextFormat.PlainText}


def test_letters_are_of_one_size(docked: UNetDock) -> None:
    # Labels are one larger, by napari's style sheet.
    size = get_settings().appearance.font_size
    assert {docked.data_panel._table.font().pointSize(), docked.data_panel._path.font().pointSize()} == {size}


def test_a_dataset_s_cases_are_listed_with_their_state(dock: UNetDock, settle: Settle) -> None:
    dock.data_panel.pathEntered.emit(Path("scans"))
    settle()
    assert [(row.case_id, row.state) for row in dock.data_panel.rows()] == [
        ("one", ("ground truth",)),
        ("two", ("ground truth",)),
        ("three", ("no mask",)),
    ]


def test_a_folder_that_cannot_be_opened_is_said(dock: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    dataset.unread = (InputError("this folder cannot be opened (permission denied)", path="scans/four"),)
    dock.data_panel.pathEntered.emit(Path("scans"))
    settle()
    assert "scans/four: this folder cannot be opened (permission denied)" in dock.status.value()


def test_a_case_s_sequences_become_layers(opened: UNetDock, viewer: ViewerModel) -> None:
    assert [layer.name for layer in viewer.layers] == ["pre", "post", "FLAIR", "Ground truth"]
    assert [layer.visible for layer in viewer.layers] == [False, False, True, True]
    assert all(tuple(layer.scale) == (3, 1, 1) for layer in viewer.layers)
    low, high = viewer.layers["FLAIR"].contrast_limits
    assert 0 <= low < high < 200
    assert opened.data_panel.value() == "one"
    assert {role: source.layer.name for role, source in opened.roles.value().items()} == {
        "pre": "pre",
        "flair": "FLAIR",
        "post": "post",
    }
    assert opened.roles.note() == ""


def test_what_was_assumed_of_a_mask_is_said(dock: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    dataset.cases[0].notes = ("the mask one_mask.png has blurred edges",)
    dock.loader.open_path(dataset.root)
    settle()
    dock.loader.open_case("one")
    settle()
    assert dock.status.value().endswith("The mask one_mask.png has blurred edges.")
    assert not dock.status.is_error


@pytest.mark.parametrize("own", [False, True])
def test_another_case_takes_the_place_of_the_first(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle, own: bool
) -> None:
    if own:
        viewer.add_labels(np.zeros((4, 10, 64, 64), np.uint8), name="own")
        viewer.dims.set_point(0, 2)
    viewer.dims.set_point(viewer.dims.ndim - 3, 0)
    left: list[int] = []
    viewer.layers.events.removed.connect(lambda: left.append(len(viewer.layers)))
    segmented.data_panel.caseActivated.emit("two")
    settle()
    # An empty canvas that is drawn after a question may end the process.
    assert len(left) == 5
    assert min(left) == 4 + own
    names = [layer.name for layer in viewer.layers]
    assert sorted(names) == sorted(["pre", "post", "FLAIR", "Ground truth"] + ["own"] * own)
    assert viewer.layers.selection.active is viewer.layers["FLAIR"]
    assert {layer.name for layer in viewer.layers.selection} == {"FLAIR"}
    # The middle of the scan, and the user's own axis where it was.
    assert viewer.dims.point == ((2.0,) if own else ()) + (9.0, 16.0, 16.0)
    assert segmented.scores.truth is viewer.layers["Ground truth"]
    segmented.runner.segment()
    settle()
    assert segmented.segmentation.shown_slice() == 3


def test_a_dataset_takes_the_layers_of_the_one_before_out(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle, qtbot: QtBot
) -> None:
    viewer.add_labels(np.zeros((6, 32, 32), np.uint8), name="own")
    segmented.loader.open_path(Path("scans"))
    qtbot.waitUntil(lambda: segmented.session.case is None, timeout=5000)
    # They leave a moment later.
    assert len(viewer.layers) == 6
    assert segmented.loader.images == []
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == ["own"], timeout=5000)


def test_a_dock_that_is_closed_takes_no_more_layers_out(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle, qtbot: QtBot
) -> None:
    segmented.loader._leave.setInterval(50)
    segmented.loader.open_path(Path("scans"))
    qtbot.waitUntil(lambda: segmented.session.case is None, timeout=5000)
    segmented.shutdown()
    qtbot.wait(100)
    assert len(viewer.layers) == 5


def test_a_dataset_of_one_case_leaves_the_viewer_never_empty(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, qtbot: QtBot
) -> None:
    left: list[int] = []
    viewer.layers.events.removed.connect(lambda: left.append(len(viewer.layers)))
    segmented.loader._leave.setInterval(5000)
    dataset.cases = dataset.cases[2:]
    segmented.loader.open_path(Path("scans"))
    settle()
    assert [layer.name for layer in viewer.layers] == ["pre", "post", "FLAIR"]
    assert min(left) == 3
    assert not segmented.loader._leave.isActive()


@pytest.mark.parametrize("by", ["the dock", "the demo"])
def test_a_layer_of_more_axes_stays_where_it_is(
    dock: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, by: str
) -> None:
    settle()
    viewer.add_labels(np.zeros((9, 6, 32, 32), np.uint8), name="own", scale=(1, 3, 1, 1))
    viewer.dims.set_point((0, 1), (7, 0))
    if by == "the demo":
        segment_first_case(viewer, dock, Path("scans"))
        shown = int(viewer.layers["Segmentation"].data.sum(axis=(1, 2)).argmax())
    else:
        dock.loader.open_path(Path("scans"))
        settle()
        dock.loader.open_case("one")
        settle()
        shown = 3
    assert viewer.dims.current_step[:2] == (7, shown)


def test_one_click_makes_an_editable_mask(segmented: UNetDock, viewer: ViewerModel, segmenter: FakeSegmenter) -> None:
    layer = viewer.layers["Segmentation"]
    flair = viewer.layers["FLAIR"].data
    np.testing.assert_array_equal(layer.data, flair / 128 >= 0.5)
    assert tuple(layer.scale) == (3, 1, 1)
    assert viewer.layers.selection.active is layer
    assert layer.editable
    assert segmented.status.value().startswith("Segmented 6 slices in")
    assert segmenter.threads == {"unet-seg-model_0"}
    assert segmented.data_panel.rows()[0].state == ("ground truth", "predicted")
    board = segmented.scores_panel.board()
    assert board.volume == count(layer.data, viewer.layers["Ground truth"].data)
    assert board.voxel_ml == pytest.approx(0.003)


def test_segmenting_again_keeps_what_was_painted(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    layer = viewer.layers["Segmentation"]
    viewer.dims.set_current_step(0, 2)
    layer.paint((2, 16, 16), 1)
    layer.paint((2, 3, 3), 1)
    painted = layer.data[2].copy()
    segmented.runner.segment()
    settle()
    assert segmented.status.value().endswith("Slice 2 edited by hand: kept.")
    assert len([layer for layer in viewer.layers if layer.name.startswith("Segmentation")]) == 1
    segmented.segment_panel.setValue(
        replace(segmented.segment_panel.value(), rule=MaskRule(threshold=0.3, largest_component=True))
    )
    np.testing.assert_array_equal(layer.data[2], painted)
    assert "Slice 2 edited by hand: kept" in segmented.status.value()


def test_threshold_and_component_act_at_once(segmented: UNetDock, viewer: ViewerModel) -> None:
    layer, flair = viewer.layers["Segmentation"], viewer.layers["FLAIR"].data
    shown = layer.data
    segmented.segment_panel._threshold.setValue(0.3)
    np.testing.assert_array_equal(layer.data, flair / 128 >= np.float32(0.3))
    # Above this the bright scalp and the lesion are apart.
    segmented.segment_panel._threshold.setValue(0.7)
    full = int(layer.data.sum())
    segmented.segment_panel._largest.setChecked(True)
    assert 0 < layer.data.sum() < full
    assert layer.data is shown
    board = segmented.scores_panel.board()
    assert board.volume == count(layer.data, viewer.layers["Ground truth"].data)


def test_a_costly_rule_shows_the_present_slice_first(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_unet_seg.widgets.rule_follower._AT_ONCE", {False: 0, True: 0})
    layer, flair = viewer.layers["Segmentation"], viewer.layers["FLAIR"].data
    viewer.dims.set_current_step(0, 3)
    segmented.segment_panel._threshold.setValue(0.3)
    wanted = flair / 128 >= np.float32(0.3)
    np.testing.assert_array_equal(layer.data[3], wanted[3])
    assert (layer.data[2] != wanted[2]).any()
    qtbot.waitUntil(lambda: bool((layer.data == wanted).all()), timeout=5000)
    assert segmented.scores.value().volume == count(layer.data, viewer.layers["Ground truth"].data)


def test_the_shown_slice_is_segmented_live(
    opened: UNetDock, viewer: ViewerModel, segmenter: FakeSegmenter, qtbot: QtBot, settle: Settle
) -> None:
    viewer.dims.set_current_step(0, 1)
    opened.segment_panel._live.setChecked(True)
    qtbot.waitUntil(lambda: segmenter.calls == [[1]], timeout=5000)
    for z in (2, 3, 4):
        viewer.dims.set_current_step(0, z)
    qtbot.waitUntil(lambda: segmenter.calls == [[1], [4]], timeout=5000)
    settle()
    layer = viewer.layers["Segmentation"]
    np.testing.assert_array_equal(layer.data[4], viewer.layers["FLAIR"].data[4] / 128 >= 0.5)
    assert not layer.data[[0, 2, 3, 5]].any()
    viewer.dims.set_current_step(0, 1)
    qtbot.wait(150)
    assert segmenter.calls == [[1], [4]]


def test_cancelling_changes_nothing(
    opened: UNetDock, viewer: ViewerModel, segmenter: FakeSegmenter, qtbot: QtBot, settle: Settle
) -> None:
    segmenter.delay = 0.05
    with qtbot.waitSignal(opened.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        opened.segment_panel._segment.click()
    assert not opened.segment_panel._segment.isEnabled()
    opened.segment_panel._cancel.click()
    settle()
    assert opened.status.value() == "Stopped; nothing was changed."
    assert "Segmentation" not in viewer.layers
    assert opened.segment_panel._segment.isEnabled()


@pytest.mark.parametrize("when", ["before the case is left", "after"])
def test_another_case_is_not_segmented_unasked(
    segmented: UNetDock, segmenter: FakeSegmenter, qtbot: QtBot, settle: Settle, when: str
) -> None:
    segmenter.delay = 0.05
    with qtbot.waitSignal(segmented.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        segmented.runner.segment()
    if when == "before the case is left":
        segmented.runner.segment_again()
    case = segmented.session.dataset["two"]
    segmented.session.take_case(case)
    if when == "after":
        segmented.runner.segment_again()
    calls = len(segmenter.calls)
    settle()
    assert len(segmenter.calls) == calls
    assert not segmented.runner._again


def test_a_model_that_changes_meanwhile_segments_again(
    opened: UNetDock, segmenter: FakeSegmenter, qtbot: QtBot, settle: Settle
) -> None:
    segmenter.delay = 0.02
    with qtbot.waitSignal(opened.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        opened.runner.segment()
    opened.runner.load_model("other")
    opened.runner.segment_again()
    settle()
    assert opened.session.work.model == "other"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("the image is constant"), "the image is constant"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), "MemoryError: no message"),
    ],
)
def test_an_error_is_one_red_line(
    opened: UNetDock,
    segmenter: FakeSegmenter,
    settle: Settle,
    error: Exception,
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    segmenter.error = error
    opened.runner.segment()
    settle()
    assert text in opened.status.value()
    assert opened.status.is_error
    assert "color" in opened.status.styleSheet()
    assert opened.status.toolTip() == opened.status.value()
    assert opened.segment_panel._segment.isEnabled()
    segmenter.error = None
    opened.runner.segment()
    settle()
    assert not opened.status.is_error


def test_work_comes_back_with_its_case(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    edited = viewer.layers["Segmentation"].data.copy()
    points = viewer.add_points(np.zeros((1, 3)))
    segmented.data_panel.caseActivated.emit("three")
    settle()
    assert "Segmentation" not in viewer.layers
    assert "Ground truth" not in viewer.layers
    assert points in viewer.layers
    assert segmented.scores_panel.board().volume is None
    segmented.data_panel.caseActivated.emit("one")
    settle()
    np.testing.assert_array_equal(viewer.layers["Segmentation"].data, edited)
    assert segmented.scores_panel.value() == "Ground truth"
    assert segmented.scores_panel.board().volume == count(edited, viewer.layers["Ground truth"].data)


def test_without_truth_the_edited_mask_is_compared_with_the_model_s(segmented: UNetDock, viewer: ViewerModel) -> None:
    segmented.scores_panel.setValue("")
    layer = viewer.layers["Segmentation"]
    model = layer.data.copy()
    board = segmented.scores_panel.board()
    assert board.against_model
    assert board.volume.dice == 1
    layer.paint((int(viewer.dims.current_step[0]), 2, 2), 1)
    assert segmented.scores.settled().volume == count(layer.data, model)
    assert segmented.scores_panel.board().volume.dice < 1


def test_removing_the_mask_forgets_it(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    viewer.layers.remove("Segmentation")
    assert segmented.session.work is None
    assert segmented.scores_panel.board().volume is None
    segmented.runner.segment()
    settle()
    assert viewer.layers["Segmentation"].data.any()


def test_a_mask_of_another_shape_cannot_be_the_truth(segmented: UNetDock, viewer: ViewerModel) -> None:
    viewer.add_labels(np.zeros((2, 3, 4), np.uint8), name="other scan")
    segmented.scores_panel.setValue("other scan")
    assert "different shapes, (6, 32, 32) and (2, 3, 4)" in segmented.status.value()
    assert segmented.scores_panel.board().volume is None


@pytest.mark.parametrize("right", ["Ground truth", ""])
def test_the_error_of_a_wrong_truth_goes_with_it(segmented: UNetDock, viewer: ViewerModel, right: str) -> None:
    viewer.add_labels(np.zeros((2, 3, 4), np.uint8), name="other scan")
    segmented.scores_panel.setValue("other scan")
    assert segmented.status.is_error
    segmented.scores_panel.setValue(right)
    assert (segmented.status.value(), segmented.status.is_error) == ("", False)
    assert segmented.scores_panel.board().volume is not None


def test_a_truth_that_gets_the_right_shape_takes_its_error_back(segmented: UNetDock, viewer: ViewerModel) -> None:
    truth = viewer.layers["Ground truth"]
    right = truth.data
    truth.data = right[:2]
    assert segmented.status.is_error
    truth.data = right
    assert not segmented.status.is_error


def test_a_model_s_own_channels_and_threshold_are_used(
    dock: UNetDock, segmenter: FakeSegmenter, settle: Settle
) -> None:
    segmenter.description = replace(segmenter.description, threshold=0.4, min_fraction=0.5)
    settle()
    assert dock.session.rule == MaskRule(threshold=0.4, min_fraction=0.5)
    assert dock.segment_panel.device() == "pretended device"


def test_work_that_runs_ends_with_the_dock(opened: UNetDock, segmenter: FakeSegmenter, qtbot: QtBot) -> None:
    segmenter.delay = 0.05
    with qtbot.waitSignal(opened.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        opened.runner.segment()
    opened.close()
    assert not opened.busy()


def test_a_closed_dock_hears_nothing_more(opened: UNetDock, viewer: ViewerModel) -> None:
    opened.shutdown()
    opened.shutdown()
    viewer.add_image(np.zeros((2, 4, 4)), name="t1")
    viewer.theme = "light"
    viewer.layers.clear()
    assert set(opened.roles.value()) == {"pre", "flair", "post"}


def test_a_model_that_cannot_be_loaded_is_said(qtbot: QtBot, viewer: ViewerModel, dataset: FakeDataset) -> None:
    from napari_unet_seg.session import Session

    def load(name: str) -> FakeSegmenter:
        raise InputError(f"there is no model {name!r}")

    dock = UNetDock(viewer, session=Session(load_model=load), list_models=list)
    qtbot.addWidget(dock)
    qtbot.waitUntil(lambda: dock.status.is_error, timeout=5000)
    assert dock.status.value() == "there is no model 'default'"
    dock.shutdown()


def test_the_volume_s_dice_is_followed_from_save_to_save(
    segmented: UNetDock, viewer: ViewerModel, settle: Settle
) -> None:
    layer, truth = viewer.layers["Segmentation"], viewer.layers["Ground truth"].data
    expected = [count(layer.data, truth).dice]
    for z in (2, 3):
        layer.data[z] = truth[z]
        layer.refresh()
        segmented.corrector.value()
        segmented.saver.save()
        settle()
        expected.append(count(layer.data, truth).dice)
    assert expected[0] < expected[1] < expected[2]
    shown = segmented.scores_panel._history
    assert shown.value() == tuple(expected)
    assert not shown.isHidden()
    # With another case's return, its own history is back.
    segmented.loader.open_case("two")
    settle()
    assert shown.value() == ()
    segmented.loader.open_case("one")
    settle()
    assert shown.value() == tuple(expected)
    segmented.scores_panel.setValue("")
    assert shown.value() == ()
