"""A strip with a cell for each slice of a scan, coloured by its state."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QPixmap
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
        self._drawn: tuple[object, QPixmap] | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Slices and what became of them")
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
        text = self.palette().color(QPalette.ColorRole.WindowText)
        key = self._states, self.size(), text.rgba(), self.devicePixelRatioF()
        if self._drawn is None or self._drawn[0] != key:
            # Scrolling moves the frame alone, and thousands of cells take a while.
            self._drawn = key, self._draw_cells(text)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._drawn[1])
        if self._current is not None and 0 <= self._current < count:
            left, right = self._edge(self._current), self._edge(self._current + 1)
            width = max(3, right - left)
            painter.setPen(text)
            painter.drawRect(min(left, self.width() - width), 0, width - 1, self.height() - 1)
        painter.end()

    def _draw_cells(self, text: QColor) -> QPixmap:
        ratio = self.devicePixelRatioF()
        cells = QPixmap(self.size() * ratio)
        cells.setDevicePixelRatio(ratio)
        cells.fill(Qt.GlobalColor.transparent)
        grey = QColor(text)
        grey.setAlpha(60)
        # A line between the cells, where they are wide enough to spare one.
        gap = 1 if self.width() >= 4 * len(self._states) else 0
        painter = QPainter(cells)
        # Settled slices last, so that none is hidden where many share a pixel.
        for settled in (False, True):
            for z, state in enumerate(self._states):
                if (state in COLOURS) == settled:
                    width = max(1, self._edge(z + 1) - self._edge(z) - gap)
                    painter.fillRect(self._edge(z), 3, width, self.height() - 6, COLOURS.get(state, grey))
        painter.end()
        return cells

    def _edge(self, z: int) -> int:
        return round(z * float(self.width()) / len(self._states))

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
