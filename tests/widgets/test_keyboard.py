"""The dock without a mouse, and without eyes."""

import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QScrollBar,
    QSlider,
    QTableWidget,
    QWidget,
)

from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.version_table import VersionRow
from tests.fakes import round_report
from tests.widgets.windows import open_case, wait_idle


def test_tab_reaches_everything_from_top_to_bottom(docked: UNetDock, window: Viewer, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    docked.window().activateWindow()
    docked.data_panel._path.setFocus()
    qtbot.waitUntil(docked.data_panel._path.hasFocus)
    reached: list[QWidget] = []
    while docked.isAncestorOf(widget := QApplication.focusWidget()):
        # A table whose cells take the key would keep it for ever.
        assert widget not in reached
        reached.append(widget)
        qtbot.keyClick(widget, Qt.Key.Key_Tab)
    panels = (docked.data_panel, docked.segment_panel, docked.correct_panel, docked.retrain_panel, docked.scores_panel)
    visited = [panel for widget in reached for panel in panels if panel.isAncestorOf(widget)]
    assert list(dict.fromkeys(visited)) == list(panels)
    assert visited == sorted(visited, key=panels.index)


def test_a_reader_of_the_screen_can_name_every_control(docked: UNetDock, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.retrain_panel._model.setChecked(True)
    wait_idle(docked, qtbot)
    docked.retrain_panel.versions.setValue([VersionRow(number=0, time="12:00")])
    docked.retrain_panel.set_outcome("Promoted.", round_report())
    titled = {label.buddy() for label in docked.findChildren(QLabel)}
    kinds = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QTableWidget)
    for control in docked.findChildren(QWidget):
        # Not the parts that Qt makes its controls of.
        inner = isinstance(control, QScrollBar) or control.objectName().startswith("qt_")
        if isinstance(control, kinds) and not inner and control.isVisible():
            text = control.text() if isinstance(control, QAbstractButton) else ""
            assert text or control.accessibleName() or control in titled, (type(control), control.toolTip())


@pytest.mark.parametrize("focused", ["table", "button", "combo box"])
def test_the_keys_of_the_canvas_work_in_the_dock_too(docked: UNetDock, qtbot: QtBot, focused: str) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    docked.window().activateWindow()
    widget = {
        "table": docked.data_panel.findChild(QTableWidget),
        "button": docked.segment_panel.findChild(QPushButton),
        "combo box": docked.segment_panel.findChild(QComboBox),
    }[focused]
    widget.setFocus()
    qtbot.waitUntil(widget.hasFocus)
    z = docked.segmentation.shown_slice()
    qtbot.keyClick(widget, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert docked.saver.unsaved() == [z]
    qtbot.keyClick(widget, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert docked.saver.unsaved() == []


def test_a_capital_letter_in_a_field_is_a_letter(docked: UNetDock, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    docked.window().activateWindow()
    field = docked.data_panel._path
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    field.clear()
    qtbot.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert field.text().upper() == "A"
    assert docked.saver.unsaved() == []


def test_enter_ends_the_typing_of_a_number(docked: UNetDock, qtbot: QtBot) -> None:
    open_case(docked, qtbot)
    docked.window().activateWindow()
    for spin in docked.findChildren(QAbstractSpinBox):
        if spin.isVisible() and spin.isEnabled():
            spin.setFocus()
            qtbot.waitUntil(spin.hasFocus)
            qtbot.keyClick(spin, Qt.Key.Key_Return)
            assert not spin.hasFocus()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_what_has_the_focus_is_framed(docked: UNetDock, window: Viewer, qtbot: QtBot, theme: str) -> None:
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    window.theme = theme
    docked.window().activateWindow()
    for kind in (QPushButton, QCheckBox, QRadioButton, QComboBox, QSlider):
        control = next(each for each in docked.findChildren(kind) if each.isVisible() and each.isEnabled())
        docked.data_panel._path.setFocus()
        qtbot.waitUntil(docked.data_panel._path.hasFocus)
        before = control.grab().toImage()
        control.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.waitUntil(control.hasFocus)
        assert control.grab().toImage() != before, kind
        # Nothing around it moves.
        assert control.grab().toImage().size() == before.size()
