"""The dock's panels above one another: each folds, and all scroll together."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_unet_seg.widgets.wheel_guard import WheelGuard

_LOOKS = 8
"""Times that a part to be in view is looked after: long sentences find their height in more than one go."""

_LOOK_MS = 50


class PanelColumn(QScrollArea):
    """A column of panels.

    Parameters
    ----------
    panels : mapping
        Title to panel, from top to bottom.
    """

    def __init__(self, panels: Mapping[str, QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wanted: QWidget | None = None
        self._looks = 0
        self._look = QTimer(self)
        self._look.setInterval(_LOOK_MS)
        self._look.timeout.connect(self._reveal)
        # Whoever scrolls meanwhile wants to see something else.
        self.verticalScrollBar().actionTriggered.connect(self._look.stop)
        self._narrowest = 0
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 6, 0)
        for title, panel in panels.items():
            column.addWidget(fold(title, panel))
        column.addStretch(1)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

    def minimumSizeHint(self) -> QSize:
        """As wide as the panels need: they scroll up and down only, and what is cut off at a side is out of reach."""
        self._narrowest = self._panels_width()
        # napari's style sheet draws a frame where there is none.
        beside = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(self._narrowest + beside, super().minimumSizeHint().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Ask for more room, or less, when the panels do."""
        done = bool(super().eventFilter(watched, event))
        if event.type() == QEvent.Type.LayoutRequest and self._panels_width() != self._narrowest:
            self.updateGeometry()
        return done

    def _panels_width(self) -> int:
        content = self.widget()
        return 0 if content is None else int(content.minimumSizeHint().width())

    def reveal(self, widget: QWidget) -> None:
        """Scroll to a part of a panel, once what has just been shown has its place."""
        self._wanted, self._looks = widget, _LOOKS
        self._look.start()

    def _reveal(self) -> None:
        self._looks -= 1
        if not self._looks:
            self._look.stop()
        if self._wanted is not None:
            self.ensureWidgetVisible(self._wanted, 0, 8)


def fold(title: str, panel: QWidget) -> QCollapsible:
    """A panel that folds, open, under its title; the wheel changes nothing in it by accident, see `WheelGuard`."""
    folded = QCollapsible(title, collapsedIcon="▶")
    folded.setDuration(0)
    button = folded.toggleButton()
    button.setToolTip(f"Fold or unfold {title}")
    # Its own style has no border, so none shows where the keyboard's focus is.
    button.setStyleSheet(f"QPushButton {{ {button.styleSheet()} }} QPushButton:focus {{ text-decoration: underline; }}")
    folded.addWidget(panel)
    WheelGuard(panel)
    folded.expand(animate=False)
    return folded
