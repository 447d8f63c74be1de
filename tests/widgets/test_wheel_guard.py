"""The wheel over a panel scrolls it, and changes no setting by accident."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QScrollBar,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_unet_seg.widgets.channel_roles import ChannelRoles
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.panel_column import PanelColumn
from napari_unet_seg.widgets.threshold_slider import ThresholdSlider
from napari_unet_seg.widgets.wheel_guard import WheelGuard


def combo() -> QComboBox:
    made = QComboBox()
    made.addItems(["a", "b", "c"])
    made.setCurrentIndex(1)
    return made


def spin_box() -> QSpinBox:
    made = QSpinBox()
    made.setValue(50)
    return made


def fraction_box() -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setValue(50)
    return made


def slider() -> QSlider:
    made = QSlider(Qt.Orientation.Horizontal)
    made.setValue(50)
    return made


KINDS = [combo, spin_box, fraction_box, slider]


def value_of(widget: QWidget) -> float:
    return widget.currentIndex() if isinstance(widget, QComboBox) else widget.value()


def turn_wheel(widget: QWidget) -> None:
    """A notch down, given to what lies in the middle of a widget (in a spin box, its line), and up to who takes it.

    Qt itself hands only a user's wheel on to the parents.
    """
    middle = widget.rect().center()
    everywhere = widget.mapToGlobal(middle)
    under: QWidget | None = widget.childAt(middle) or widget
    while under is not None:
        place = QPointF(under.mapFromGlobal(everywhere))
        event = QWheelEvent(
            place,
            QPointF(everywhere),
            QPoint(),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        if QApplication.sendEvent(under, event) and event.isAccepted():
            return
        under = under.parentWidget()


def focus(widget: QWidget, qtbot: QtBot) -> None:
    widget.activateWindow()
    widget.setFocus()
    qtbot.waitUntil(widget.hasFocus)


@pytest.fixture
def panel() -> QWidget:
    panel = QWidget()
    panel.setMinimumHeight(2000)
    QVBoxLayout(panel).setAlignment(Qt.AlignmentFlag.AlignTop)
    return panel


@pytest.fixture
def column(panel: QWidget, qtbot: QtBot) -> PanelColumn:
    """A column that scrolls, in a window."""
    column = PanelColumn({"Panel": panel})
    qtbot.addWidget(column)
    column.resize(200, 300)
    with qtbot.waitExposed(column):
        column.show()
    return column


@pytest.mark.parametrize("make", KINDS)
def test_without_the_focus_the_column_scrolls(
    column: PanelColumn, panel: QWidget, make: Callable[[], QWidget], qtbot: QtBot
) -> None:
    widget, other = make(), combo()
    panel.layout().addWidget(other)
    panel.layout().addWidget(widget)
    qtbot.waitUntil(widget.isVisible)
    focus(other, qtbot)
    before = value_of(widget)
    turn_wheel(widget)
    assert value_of(widget) == before
    assert column.verticalScrollBar().value() > 0
    assert widget.focusPolicy() == Qt.FocusPolicy.StrongFocus


@pytest.mark.skipif(not hasattr(QTest, "wheelEvent"), reason="PyQt6 cannot turn the wheel as a user does")
@pytest.mark.parametrize("make", KINDS)
def test_a_user_s_wheel_scrolls_and_takes_no_focus(
    column: PanelColumn, panel: QWidget, make: Callable[[], QWidget], qtbot: QtBot
) -> None:
    widget, other = make(), combo()
    panel.layout().addWidget(other)
    panel.layout().addWidget(widget)
    qtbot.waitUntil(widget.isVisible)
    focus(other, qtbot)
    before = value_of(widget)
    place = widget.mapTo(column, widget.rect().center())
    QTest.wheelEvent(column.windowHandle(), QPointF(place), QPoint(0, -120))
    assert column.verticalScrollBar().value() > 0
    assert value_of(widget) == before
    assert other.hasFocus()


@pytest.mark.parametrize("make", KINDS)
def test_with_the_focus_the_value_changes(
    column: PanelColumn, panel: QWidget, make: Callable[[], QWidget], qtbot: QtBot
) -> None:
    widget = make()
    panel.layout().addWidget(widget)
    qtbot.waitUntil(widget.isVisible)
    focus(widget, qtbot)
    before = value_of(widget)
    turn_wheel(widget)
    assert value_of(widget) != before
    assert column.verticalScrollBar().value() == 0


def test_what_was_there_before_is_guarded_at_once(qtbot: QtBot) -> None:
    threshold = ThresholdSlider(minimum=0, maximum=1)
    qtbot.addWidget(threshold)
    threshold.setValue(0.5)
    WheelGuard(threshold)
    turn_wheel(threshold.slider)
    turn_wheel(threshold.box)
    assert threshold.value() == 0.5


def test_a_widget_made_in_its_parent_s_hands_is_guarded(column: PanelColumn, panel: QWidget, qtbot: QtBot) -> None:
    inner = QWidget(panel)
    QVBoxLayout(inner)
    qtbot.wait(1)
    box = QSpinBox(inner)
    box.setValue(50)
    box.show()
    inner.show()
    qtbot.wait(1)
    turn_wheel(box)
    assert box.value() == 50


def test_the_combos_of_another_model_are_guarded(viewer: ViewerModel, qtbot: QtBot) -> None:
    for name in ("a", "b", "c"):
        viewer.add_image(np.zeros((2, 8, 8)), name=name)
    roles = ChannelRoles(viewer=viewer, wanted=("flair",))
    column = PanelColumn({"Data": roles})
    qtbot.addWidget(column)
    roles.set_wanted(("pre", "post"))
    qtbot.wait(1)
    combos = roles.findChildren(QComboBox)
    assert [each.objectName() for each in combos] == ["channel_pre", "channel_post"]
    chosen = [each.currentIndex() for each in combos]
    assert max(chosen) < 3
    for each in combos:
        turn_wheel(each)
    assert [each.currentIndex() for each in combos] == chosen
    roles.disconnect_all()


def test_scroll_bars_still_turn(column: PanelColumn, panel: QWidget, qtbot: QtBot) -> None:
    bar = QScrollBar()
    panel.layout().addWidget(bar)
    qtbot.wait(1)
    turn_wheel(bar)
    assert bar.value() > 0


def test_the_guard_keeps_no_panel_alive(qtbot: QtBot) -> None:
    panel = QWidget()
    QVBoxLayout(panel).addWidget(combo())
    column = PanelColumn({"Panel": panel})
    ended = weakref.ref(panel)
    del panel, column
    gc.collect()
    assert ended() is None


def test_every_setting_of_the_dock_is_guarded(dock: UNetDock, qtbot: QtBot) -> None:
    dock.roles.set_wanted(("t1", "t2"))
    qtbot.wait(1)
    found = [
        widget
        for kind in (QComboBox, QAbstractSpinBox, QAbstractSlider)
        for widget in dock.findChildren(kind)
        if not isinstance(widget, QScrollBar)
    ]
    # Model, ground truth, two channels; the threshold's box and the time; the threshold's slider.
    assert len(found) >= 7
    for widget in found:
        if isinstance(widget, QComboBox):
            widget.addItems(["x", "y"])
        before = value_of(widget)
        turn_wheel(widget)
        assert value_of(widget) == before, widget.objectName() or type(widget)
        assert widget.focusPolicy() == Qt.FocusPolicy.StrongFocus
