"""A strip with a cell for each slice of a scan, coloured by its state."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_unet_seg.working_mask import SliceState

COLOURS = {
    SliceState.EDITED: QColor("#ffb000"),
    SliceState.ACCEPTED: QColor("#ffe08a"),
    SliceState.SAVED: QColor("#3ddc84"),
}
"""Of slices that a person has settled; others are grey. Yellow wants saving, green is safe."""

NAMES = {
    SliceState.OPEN: "not corrected",
    SliceState.EDITED: "edited, not saved",
    SliceState.ACCEPTED: "accepted, not saved",
    SliceState.SAVED: "corrected and saved",
}


class SliceStrip(QWidget):
    """Shows the state of every slice; a click goes to one."""

    sliceChosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._states: tuple[SliceState, ...] = ()
        self._current: int | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, 20)

    def value(self) -> tuple[SliceState, ...]:
        """The states that are shown."""
        return self._states

    def setValue(self, states: Sequence[SliceState], *, current: int | None) -> None:
        """Show these states, and which slice is in view."""
        shown = tuple(states), current
        if shown != (self._states, self._current):
            self._states, self._current = shown
            self.update()

    def slice_at(self, x: float) -> int | None:
        """The slice under a horizontal position in pixels."""
        count = len(self._states)
        if not count or not 0 <= x < self.width():
            return None
        return min(count - 1, int(x * count / self.width()))

    def position_of(self, z: int) -> float:
        """Horizontal middle of a slice's cell in pixels."""
        return (z + 0.5) * float(self.width()) / max(1, len(self._states))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the cells, and a frame around the slice in view."""
        count = len(self._states)
        if not count:
            return
        painter = QPainter(self)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        grey = QColor(text)
        grey.setAlpha(60)
        edges = [round(z * self.width() / count) for z in range(count + 1)]
        height = self.height()
        # A line between the cells, where they are wide enough to spare one.
        gap = 1 if self.width() >= 4 * count else 0
        for z, state in enumerate(self._states):
            width = max(1, edges[z + 1] - edges[z] - gap)
            painter.fillRect(edges[z], 3, width, height - 6, COLOURS.get(state, grey))
        if self._current is not None and 0 <= self._current < count:
            left = edges[self._current]
            width = max(3, edges[self._current + 1] - left)
            painter.setPen(text)
            painter.drawRect(min(left, self.width() - width), 0, width - 1, height - 1)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the slice under the mouse."""
        self._go_to(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Go along while a button is held."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go_to(event)

    def event(self, event: QEvent) -> bool:
        """Say what the slice under the mouse is."""
        if event.type() == QEvent.Type.ToolTip:
            z = self.slice_at(event.pos().x())
            if z is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), f"Slice {z}: {NAMES[self._states[z]]}", self)
            return True
        return bool(super().event(event))

    def _go_to(self, event: QMouseEvent) -> None:
        z = self.slice_at(event.position().x())
        if z is not None and z != self._current:
            self.sliceChosen.emit(z)
