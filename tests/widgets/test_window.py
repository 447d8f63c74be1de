"""The dock in a real window, worked with mouse and keys."""

import numpy as np
import pytest
from napari.utils.shortcuts import default_shortcuts
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QOpenGLContext
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QScrollArea, QWidget

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import ask_about_edits
from tests.fakes import FakeSegmenter
from tests.widgets.windows import on_canvas, open_case, our_threads, wait_idle


def test_a_stroke_with_the_mouse_and_its_undo_are_scored(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    qtbot.mouseClick(docked.segment_panel._segment, Qt.MouseButton.LeftButton)
    wait_idle(docked, qtbot)
    layer, truth = window.layers["Segmentation"], window.layers["Ground truth"]
    predicted = layer.data.copy()
    layer.mode = "paint"
    layer.brush_size = 4
    qtbot.wait(300)
    canvas, start = on_canvas(window, 20, 10)
    _, end = on_canvas(window, 20, 22)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(canvas, end)
    qtbot.waitUntil(lambda: bool((layer.data != predicted).any()))
    assert docked.scores.settled().volume == count(layer.data, truth.data)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    z = window.dims.current_step[0]
    assert docked.session.work.mask.edited() == [z]
    board = docked.scores.settled()
    assert (board.volume, board.slice) == (count(layer.data, truth.data), count(layer.data[z], truth.data[z]))
    window.dims.set_current_step(0, 0)
    layer.undo()
    np.testing.assert_array_equal(layer.data, predicted)
    assert docked.scores.settled().volume == count(predicted, truth.data)


def test_cases_are_exchanged_after_the_question(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked._ask = ask_about_edits
    answered = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if box is None:
            QTimer.singleShot(50, answer)
            return
        button = next(button for button in box.buttons() if button.text().replace("&", "") == "Discard")
        answered.append(box.text())
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    # A canvas drawn with what a layer has left behind ended the process only now and then.
    for switch in range(25):
        docked.runner.segment()
        wait_idle(docked, qtbot)
        layer = window.layers["Segmentation"]
        layer.mode, layer.brush_size = "paint", 4
        qtbot.wait(300)
        canvas, start = on_canvas(window, 20, 10)
        _, end = on_canvas(window, 20, 22 - switch % 5)
        # In view of the mouse: the brush's circle is drawn.
        qtbot.mouseMove(canvas, start)
        qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
        qtbot.mouseMove(canvas, end)
        qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
        qtbot.wait(100)
        QTimer.singleShot(50, answer)
        docked.data_panel.caseActivated.emit("two" if switch % 2 == 0 else "one")
        wait_idle(docked, qtbot)
        qtbot.waitUntil(lambda: len(answered) == switch + 1, timeout=5000)  # noqa: B023 - called in this turn
        qtbot.wait(100)
    assert docked.data_panel.value() == "two"


def test_a_brush_leaves_nothing_behind(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    layer = window.layers["Segmentation"]
    layer.mode, layer.brush_size = "paint", 4
    canvas, place = on_canvas(window, 20, 10)
    qtbot.mouseMove(canvas, place)
    assert window.cursor.style == "circle"
    docked.loader.open_case("two")
    wait_idle(docked, qtbot)
    assert layer not in window.layers
    shown = [type(node).__name__ for node in window.window._qt_viewer.canvas.view.children if node.visible]
    assert "Rectangle" not in shown


def test_a_second_brush_has_no_black_square_in_it(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    view = window.window._qt_viewer.canvas.view
    for case in ("one", "two"):
        docked.loader.open_case(case)
        wait_idle(docked, qtbot)
        docked.runner.segment()
        wait_idle(docked, qtbot)
        window.layers["Segmentation"].mode, window.layers["Segmentation"].brush_size = "paint", 4
        canvas, place = on_canvas(window, 20, 10)
        qtbot.mouseMove(canvas, place)
        assert window.cursor.style == "circle"
        assert "Rectangle" not in [type(node).__name__ for node in view.children if node.visible]


def test_layers_go_in_the_context_of_the_canvas(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    for name in ("flair", "pre"):
        window.add_image(make_phantom(slices=3, size=32)[0].data[0], name=name)
    canvas = window.window._qt_viewer.canvas.native
    found = []
    window.layers.events.removed.connect(lambda: found.append(QOpenGLContext.currentContext() == canvas.context()))
    for floating in (False, True):
        docked.parent().setFloating(floating)
        qtbot.wait(300)
        # As between two frames, when Qt puts the window together.
        canvas.doneCurrent()
        window.layers.pop()
    assert found == [True, True]


def test_keys_start_the_segmentation_and_the_live_mode(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.window().activateWindow()
    buttons = {button.shortcut().toString(): button for button in docked.findChildren(QAbstractButton)}
    # Pressed by Qt where the window has the keyboard, which a bare virtual screen gives to none.
    buttons["Ctrl+Shift+L"].animateClick()
    qtbot.waitUntil(lambda: docked.segment_panel.value().live)
    wait_idle(docked, qtbot)
    buttons["Ctrl+Shift+L"].animateClick()
    buttons["Ctrl+Shift+G"].animateClick()
    qtbot.waitUntil(lambda: docked.session.work is not None and bool(docked.session.work.probability.known.all()))
    taken = {str(key).lower() for keys in default_shortcuts.values() for key in keys}
    assert not taken & {"ctrl+shift+g", "ctrl+shift+l"}


def test_many_progress_reports_do_not_pile_up(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    volume, _ = make_phantom(slices=300, size=16)
    window.add_image(volume.data[1], name="flair")
    docked.runner.segment()
    wait_idle(docked, qtbot)
    assert docked.status.value().startswith("Segmented 300 slices")


def test_closing_the_window_ends_what_runs(
    docked: UNetDock, window: Viewer, segmenter: FakeSegmenter, qtbot: QtBot
) -> None:
    open_case(docked, qtbot)
    segmenter.delay = 0.1
    with qtbot.waitSignal(docked.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        docked.runner.segment()
    window.close()
    assert docked.is_closed()
    assert our_threads() == []


def test_closing_the_dock_ends_what_runs(
    docked: UNetDock, window: Viewer, segmenter: FakeSegmenter, qtbot: QtBot
) -> None:
    open_case(docked, qtbot)
    segmenter.delay = 0.1
    with qtbot.waitSignal(docked.runner.busy, check_params_cb=lambda done, total: done >= 1, timeout=5000):
        docked.runner.segment()
    window.window.remove_dock_widget(docked)
    assert docked.is_closed()
    assert our_threads() == []


@pytest.mark.parametrize("whole_window", [False, True])
def test_a_mask_that_stays_without_the_dock_is_told_of(
    docked: UNetDock, window: Viewer, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, whole_window: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_unet_seg.widgets.dock.show_info", told.append)
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    if whole_window:
        window.close()
    else:
        window.window.remove_dock_widget(docked)
    assert docked.is_closed()
    assert [text.partition(" is ")[0] for text in told] == ([] if whole_window else ["Nothing painted now"])


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_cut_off_at_400_pixels(docked: UNetDock, window: Viewer, qtbot: QtBot, theme: str) -> None:
    window.theme = theme
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    docked.parent().setFixedWidth(400)
    qtbot.wait(100)
    scroll = docked.findChild(QScrollArea)
    assert scroll.widget().width() <= scroll.viewport().width()
    for panel in (docked.data_panel, docked.segment_panel, docked.scores_panel):
        for child in panel.findChildren(QWidget):
            if child.isVisible() and child.parent() is panel and not child.sizePolicy().hasHeightForWidth():
                assert child.width() >= child.minimumSizeHint().width(), child.objectName() or type(child)


def test_the_dock_cannot_be_made_narrower_than_its_panels(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    narrow = window.window._qt_window.resizeDocks
    viewport, panels = docked.findChild(QScrollArea).viewport(), docked.findChild(QScrollArea).widget()
    narrow([docked.parent()], [100], Qt.Orientation.Horizontal)
    qtbot.wait(100)
    assert panels.minimumSizeHint().width() <= viewport.width()
    assert docked.scores_panel.minimumSizeHint().width() <= docked.scores_panel.width()
    # It follows what the panels need.
    docked.segment_panel.setMinimumWidth(450)
    qtbot.waitUntil(lambda: viewport.width() >= 450)
