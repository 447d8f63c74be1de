"""A dock that was closed by its x is opened again: the new one goes on with what is in the window."""

import errno
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
from napari_unet_seg.widgets.dock import UNetDock
from tests.fakes import FakeDataset, FakeSegmenter
from tests.widgets.test_whose_work import add_image, choose_flair, stroke
from tests.widgets.windows import open_case, wait_idle


@pytest.fixture
def painted(docked: UNetDock, qtbot: QtBot) -> UNetDock:
    """With a case open, segmented by a threshold of the user's own, and an unsaved stroke."""
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    docked.segment_panel._threshold.setValue(0.8)
    wait_idle(docked, qtbot)
    stroke(docked, 2)
    return docked


@pytest.fixture
def reopen(
    window: Viewer, dataset: FakeDataset, segmenter: FakeSegmenter, pretended: dict[str, Any], qtbot: QtBot
) -> Callable[..., UNetDock]:
    def open_anew(*, wait: bool = True) -> UNetDock:
        session = Session(open_dataset=lambda path: dataset, load_model=lambda name: segmenter)
        dock = add_dock(window, session=session, **pretended)
        if wait:
            qtbot.waitUntil(lambda: session.segmenter is not None and not dock.busy(), timeout=20_000)
        return dock

    return open_anew


def names(window: Viewer) -> list[str]:
    return [layer.name for layer in window.layers]


def test_the_layers_of_the_case_are_taken_over(painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot) -> None:
    before, layer = list(window.layers), painted.segmentation.layer
    painted_data, history = layer.data.copy(), painted.scores.settled().history
    assert len(history) == 1
    window.dims.set_current_step(0, 1)
    window.window.remove_dock_widget(painted)
    # While there is no dock.
    layer.data[4, :3, :3] = 1
    dock = reopen()
    assert list(window.layers) == before
    assert dock.segmentation.layer is layer
    np.testing.assert_array_equal(layer.data[:4], painted_data[:4])
    assert dock.saver.unsaved() == [2, 4]
    assert dock.data_panel.value() == "one"
    assert dock.correct_panel.notice() == ""
    assert dock.saver._autosave.isActive()
    assert dock.status.value() == "one is open as the dock before this one left it."
    assert dock.segment_panel.value().rule.threshold == pytest.approx(0.8)
    assert window.dims.current_step[0] == 1
    assert dock.scores.settled().volume is not None
    assert dock.scores.settled().history == history
    dock.saver.save_now()
    assert dock.saver.unsaved() == []
    assert len(dock.scores.settled().history) == 2
    dock.loader.open_case("two")
    wait_idle(dock, qtbot)
    assert not set(map(id, before)) & set(map(id, window.layers))


def test_a_layer_with_another_array_is_taken_over(painted: UNetDock, window: Viewer, reopen: Any) -> None:
    layer = painted.segmentation.layer
    window.window.remove_dock_widget(painted)
    data = layer.data.copy()
    data[3, :3, :3] = 1
    layer.data = data
    dock = reopen()
    assert dock.session.work.mask.data is data
    assert dock.saver.unsaved() == [2, 3]


def test_a_mask_that_was_removed_meanwhile_comes_back_when_asked_for(
    painted: UNetDock, window: Viewer, reopen: Any
) -> None:
    window.window.remove_dock_widget(painted)
    window.layers.remove("Segmentation")
    dock = reopen()
    assert "Segmentation" not in names(window)
    dock.correct_panel.startRequested.emit()
    assert names(window).count("Segmentation") == 1
    assert dock.saver.unsaved() == [2]


def test_without_the_images_the_case_is_not_opened(
    painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot
) -> None:
    window.window.remove_dock_widget(painted)
    window.layers.clear()
    dock = reopen()
    assert (dock.data_panel.value(), names(window)) == ("", [])
    dock.loader.open_case("one")
    wait_idle(dock, qtbot)
    assert dock.saver.unsaved() == [2]


def test_another_case_that_is_opened_at_once_takes_the_layers_away(
    painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot
) -> None:
    former = list(window.layers)
    window.window.remove_dock_widget(painted)
    dock = reopen(wait=False)
    qtbot.waitUntil(lambda: dock.session.dataset is not None)
    dock.loader.open_case("two")
    wait_idle(dock, qtbot)
    assert dock.data_panel.value() == "two"
    assert dock.data_panel._table.rowCount() == 3
    assert not set(map(id, former)) & set(map(id, window.layers))


def test_the_mask_of_an_image_of_no_dataset_is_taken_over(
    docked: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot
) -> None:
    add_image(window)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    stroke(docked, 2)
    layer = docked.segmentation.layer
    window.window.remove_dock_widget(docked)
    dock = reopen()
    assert dock.segmentation.layer is layer
    assert dock.session.work.mask.edited() == [2]
    # Kept aside when the dock was closed, and here.
    assert dock.correct_panel.notice() == ""
    dock.runner.segment()
    wait_idle(dock, qtbot)
    assert names(window).count("Segmentation") == 1


def test_edits_that_no_disk_has_room_for_are_offered_by_the_next_dock(
    docked: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    add_image(window)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    stroke(docked, 2)
    monkeypatch.setattr("napari_unet_seg.data.loose_edits.write_autosave", full)
    window.layers.remove("Segmentation")
    wait_idle(docked, qtbot)
    window.window.remove_dock_widget(docked)
    dock = reopen()
    # It is told of before the window closes.
    assert dock.keeper.unkept() == ["follow-up flair"]
    dock.runner.segment()
    wait_idle(dock, qtbot)
    assert dock.correct_panel.notice().startswith("Edits of slice 2 of follow-up flair were kept (")


def test_the_mask_of_another_image_is_not_taken_for_that_of_the_case(
    painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot
) -> None:
    before = painted.segmentation.layer.data.copy()
    add_image(window)
    choose_flair(painted, "follow-up flair")
    painted.runner.segment()
    wait_idle(painted, qtbot)
    stroke(painted, 4)
    other = painted.segmentation.layer
    window.window.remove_dock_widget(painted)
    dock = reopen()
    assert other in window.layers
    assert dock.segmentation.layer is None
    dock.correct_panel.startRequested.emit()
    np.testing.assert_array_equal(dock.segmentation.layer.data, before)
    assert dock.saver.unsaved() == [2]


@pytest.mark.parametrize("read", [False, True])
def test_a_dock_that_is_closed_again_at_once_leaves_all_to_the_next(
    painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot, read: bool
) -> None:
    before = list(window.layers)
    window.window.remove_dock_widget(painted)
    dock = reopen(wait=False)
    # The model takes its time.
    dock.runner.load_model = lambda name: None
    qtbot.waitUntil(lambda: (dock.session.case if read else dock.session.dataset) is not None)
    window.window.remove_dock_widget(dock)
    dock = reopen()
    assert list(window.layers) == before
    assert (dock.data_panel.value(), dock.saver.unsaved()) == ("one", [2])
    assert dock.segment_panel.value().rule.threshold == pytest.approx(0.8)


def test_what_was_left_is_taken_once(painted: UNetDock, window: Viewer, reopen: Any, qtbot: QtBot) -> None:
    window.window.remove_dock_widget(painted)
    dock = reopen()
    dock.saver.save_now()
    window.window.remove_dock_widget(dock)
    dock = reopen()
    assert dock.data_panel.value() == "one"
    assert names(window).count("Segmentation") == 1
    assert dock.saver.unsaved() == []
