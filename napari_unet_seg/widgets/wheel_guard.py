"""The wheel scrolls a panel; it changes a value only where the keyboard does."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QAbstractSlider, QAbstractSpinBox, QComboBox, QScrollBar, QWidget

_VALUE_WIDGETS = (QComboBox, QAbstractSpinBox, QAbstractSlider)


class WheelGuard(QObject):
    """Keeps the wheel from combos, spin boxes and sliders without the keyboard focus, for what lies around them.

    A click or Tab gives them the focus, the wheel does not. Those that a panel makes later are found too.

    Parameters
    ----------
    panel : QWidget
        All that lies in it is guarded; the guard ends with it.
    """

    def __init__(self, panel: QWidget) -> None:
        super().__init__(panel)
        # A child is told of while it is being made, when nothing can be asked of it yet.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._guard_all)
        panel.installEventFilter(self)
        self._guard_all()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Pass the wheel on to the widget around, and notice new widgets."""
        if event.type() == QEvent.Type.Wheel:
            if isinstance(watched, _VALUE_WIDGETS) and not watched.hasFocus():
                event.ignore()
                return True
        elif event.type() == QEvent.Type.ChildAdded:
            self._later.start()
        return False

    def _guard_all(self) -> None:
        for widget in self.parent().findChildren(QWidget):
            if isinstance(widget, _VALUE_WIDGETS):
                # The bars of a table or a text are to scroll it.
                if not isinstance(widget, QScrollBar):
                    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                    widget.installEventFilter(self)
            elif widget.layout() is not None:
                # Only these get new widgets; the others, many, are spared a call for each of their events.
                widget.installEventFilter(self)
