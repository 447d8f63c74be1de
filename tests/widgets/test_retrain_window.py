"""Retraining in a real window, worked with mouse and keys."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QScrollArea, QTableWidget, QWidget

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.events import StepDone, ValidationDone
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.times import time_or_day
from napari_unet_seg.widgets.version_table import VersionRow
from tests.fakes import FakeRound, FakeSuggestion, FakeVersion, FakeVersions, round_started
from tests.widgets.windows import on_canvas, open_case, our_threads, wait_idle


def click(button: QAbstractButton, qtbot: QtBot) -> None:
    """Scroll to a button and press it with the mouse."""
    scroll = button.window().findChild(UNetDock).findChild(QScrollArea)
    scroll.ensureWidgetVisible(button)
    qtbot.wait(20)
    assert button.isVisible()
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def paint(dock: UNetDock, viewer: Viewer, qtbot: QtBot) -> None:
    """A stroke with the brush in the shown slice."""
    layer = viewer.layers["Segmentation"]
    layer.mode = "paint"
    layer.brush_size = 3
    layer.selected_label = 1
    before = layer.data.copy()
    viewer.reset_view()
    qtbot.wait(300)
    height, width = layer.data.shape[1:]
    canvas, start = on_canvas(viewer, height * 0.1, width * 0.2)
    _, end = on_canvas(viewer, height * 0.1, width * 0.6)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(canvas, end)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=end)
    qtbot.waitUntil(lambda: bool((layer.data != before).any()))


def tell_some(rounds: FakeRound, *, steps: int = 40) -> None:
    rounds.tell(round_started())
    for step in range(1, steps + 1):
        rounds.tell(StepDone(step=step, steps=1000, loss=1 / step, elapsed=step / 2))
        if step % 10 == 0:
            rounds.tell(ValidationDone(step=step, dice=0.7 + step / 1000, before=0.7, elapsed=step / 2))


@pytest.fixture
def corrected(
    docked: UNetDock, window: Viewer, suggestions: list[FakeSuggestion], versions: FakeVersions, qtbot: QtBot
) -> UNetDock:
    """Segmented, and slice 4, the one suggested, corrected with the brush and saved."""
    versions.found = [FakeVersion(0, scope="model", before=None, after=None), FakeVersion(1, current=True)]
    suggestions += [FakeSuggestion(4, "the mask jumps between slices 3 and 4"), FakeSuggestion(1)]
    open_case(docked, qtbot)
    click(docked.segment_panel._segment, qtbot)
    wait_idle(docked, qtbot)
    qtbot.waitUntil(lambda: docked.correct_panel.suggestion().startswith("Slice 4"), timeout=5000)
    canvas = window.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert window.dims.current_step[0] == 4
    paint(docked, window, qtbot)
    qtbot.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    wait_idle(docked, qtbot)
    assert docked.session.case.corrected_slices() == [4]
    return docked


def test_a_round_from_the_first_stroke_to_going_back(
    corrected: UNetDock, window: Viewer, rounds: FakeRound, qtbot: QtBot
) -> None:
    panel = corrected.retrain_panel
    click(panel._start, qtbot)
    tell_some(rounds)
    qtbot.waitUntil(lambda: panel.plot is not None and len(panel.plot.value()[0]) == 4, timeout=5000)
    scroll = corrected.findChild(QScrollArea)
    middle = panel._round._progress.mapTo(scroll.viewport(), panel._round._progress.rect().center())
    assert scroll.viewport().rect().contains(middle)
    # Painting, scrolling and saving go on meanwhile.
    window.dims.set_current_step(0, 1)
    paint(corrected, window, qtbot)
    click(corrected.correct_panel._save, qtbot)
    qtbot.waitUntil(lambda: panel.board().scan_slices == 2, timeout=5000)
    kept = window.layers["Segmentation"].data[[1, 4]].copy()
    rounds.finish()
    wait_idle(corrected, qtbot)
    assert panel.verdict().startswith("Promoted")
    assert corrected.session.work.model == corrected.runner.model() != "default"
    table = panel.versions.findChild(QTableWidget)
    scroll.ensureWidgetVisible(panel.versions._use)
    where = table.visualItemRect(table.item(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    click(panel.versions._use, qtbot)
    wait_idle(corrected, qtbot)
    assert corrected.session.work.model == "default"
    np.testing.assert_array_equal(window.layers["Segmentation"].data[[1, 4]], kept)


@pytest.mark.parametrize("how", ["window", "dock"])
@pytest.mark.parametrize("stopping", [False, True])
def test_closing_in_a_round_leaves_no_thread(
    corrected: UNetDock, window: Viewer, rounds: FakeRound, qtbot: QtBot, how: str, stopping: bool
) -> None:
    click(corrected.retrain_panel._start, qtbot)
    tell_some(rounds)
    qtbot.waitUntil(lambda: rounds.running == 1)
    if stopping:
        click(corrected.retrain_panel._stop, qtbot)
    if how == "window":
        window.close()
    else:
        window.window.remove_dock_widget(corrected)
    assert corrected.is_closed()
    assert rounds.running == 0
    assert our_threads() == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_cut_off_at_400_pixels(
    corrected: UNetDock, window: Viewer, rounds: FakeRound, qtbot: QtBot, theme: str
) -> None:
    window.theme = theme
    corrected.parent().setFixedWidth(400)
    scroll, panel = corrected.findChild(QScrollArea), corrected.retrain_panel

    def check() -> None:
        qtbot.wait(100)
        assert scroll.widget().width() <= scroll.viewport().width()
        for child in panel.findChildren(QWidget):
            if child.isVisible() and child.parent() is panel and not child.sizePolicy().hasHeightForWidth():
                assert child.width() >= child.minimumSizeHint().width(), child.objectName() or type(child)

    check()
    click(panel._model, qtbot)
    click(panel._start, qtbot)
    tell_some(rounds)
    qtbot.waitUntil(lambda: panel.plot is not None and len(panel.plot.value()[0]) == 4, timeout=5000)
    check()
    rounds.finish(promoted=False, reason="a long reason, with many words in it, which takes more than a single line")
    wait_idle(corrected, qtbot)
    check()


def test_what_came_of_a_round_is_scrolled_to_in_a_narrow_dock(
    corrected: UNetDock, window: Viewer, rounds: FakeRound, qtbot: QtBot
) -> None:
    corrected.parent().setFixedWidth(343)
    scroll, panel = corrected.findChild(QScrollArea), corrected.retrain_panel
    click(panel._start, qtbot)
    tell_some(rounds)
    qtbot.waitUntil(lambda: panel.plot is not None and len(panel.plot.value()[0]) == 4, timeout=5000)
    # The status line takes several lines of this, and the panels have less room then.
    rounds.finish(promoted=False, reason="a long reason, with many words in it, " * 4)
    wait_idle(corrected, qtbot)

    def is_in_view() -> bool:
        table = panel._outcome
        top = table.mapTo(scroll.viewport(), table.rect().topLeft()).y()
        return top >= 0 and top + table.height() <= scroll.viewport().height()

    qtbot.wait(600)
    assert is_in_view()


def test_versions_of_another_day_are_whole_in_a_narrow_dock(corrected: UNetDock, qtbot: QtBot) -> None:
    corrected.parent().setFixedWidth(343)
    versions, time = corrected.retrain_panel.versions, time_or_day("2025-09-28T12:34:56+00:00")
    rows = [
        VersionRow(number=0, time=time, made="28 September, 12:34"),
        VersionRow(number=1, time=time, before=0.7, after=0.6, promoted=False),
        VersionRow(number=2, time=time, before=0.7, after=0.8, current=True),
    ]
    versions.setValue(rows, title="Versions:")
    qtbot.wait(100)
    table = versions.findChild(QTableWidget)
    header = table.horizontalHeader()
    for column in range(table.columnCount()):
        needed = max(header.sectionSizeHint(column), table.sizeHintForColumn(column))
        assert header.sectionSize(column) >= needed, table.horizontalHeaderItem(column).text()
    assert header.length() <= table.viewport().width()
    assert table.item(2, 1).toolTip() == "28 September, 12:34"


def test_a_round_in_a_process_of_its_own(window: Viewer, tmp_path: Path, own_registry: Path, qtbot: QtBot) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=6, size=64)
    dock = add_dock(window, session=Session())
    qtbot.waitUntil(lambda: dock.session.segmenter is not None and not dock.busy(), timeout=60_000)
    dock.loader.open_path(root)
    wait_idle(dock, qtbot)
    dock.loader.open_case(dock.session.dataset.cases[0].case_id)
    wait_idle(dock, qtbot)
    click(dock.segment_panel._segment, qtbot)
    qtbot.waitUntil(lambda: not dock.busy() and not dock.next.busy(), timeout=60_000)
    paint(dock, window, qtbot)
    for z in (1, 4):
        window.dims.set_current_step(0, z)
        click(dock.correct_panel._accept, qtbot)
    dock.retrain_panel._seconds.setMinimum(6)
    dock.retrain_panel._seconds.setValue(6)
    click(dock.retrain_panel._save_and_start, qtbot)
    panel = dock.retrain_panel
    # It gives way to everything else, so that beside other programs it takes many times as long.
    qtbot.waitUntil(lambda: bool(panel.verdict()) and not dock.busy(), timeout=300_000)
    assert panel.verdict().startswith(("Promoted", "Not promoted")), panel.verdict()
    dice, loss = panel.plot.value()
    assert dice
    assert loss
    assert [row[0] for row in panel.versions.texts()] == ["1", "0"]
    assert not dock.status.is_error
    assert not list((own_registry / "models").rglob("*.tmp*"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_closing_ends_the_process_of_a_round(window: Viewer, tmp_path: Path, qtbot: QtBot) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=1, slices=6, size=64)
    dock = add_dock(window, session=Session())
    qtbot.waitUntil(lambda: dock.session.segmenter is not None and not dock.busy(), timeout=60_000)
    dock.loader.open_path(root)
    wait_idle(dock, qtbot)
    dock.loader.open_case(dock.session.dataset.cases[0].case_id)
    wait_idle(dock, qtbot)
    dock.corrector.start()
    click(dock.correct_panel._accept, qtbot)
    click(dock.retrain_panel._save_and_start, qtbot)
    qtbot.waitUntil(lambda: bool(children()), timeout=20_000)
    window.close()
    assert our_threads() == []
    assert children() == []


def children() -> list[int]:
    """Processes that this one has started to train in."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "status").read_text()
            if f"\nPPid:\t{os.getpid()}\n" in status and "round_child" in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found
