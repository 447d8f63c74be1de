"""A line of text whose changes cost a redraw of itself, and no new layout of the dock."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget


class TextLine(QWidget):
    """Two texts, one at each end; a long first one is cut short and whole in the tooltip.

    A QLabel has the whole dock laid out anew whenever its text changes.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left, self._right = "", ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """As high as a line."""
        return QSize(100, self.fontMetrics().height() + 4)

    def value(self) -> tuple[str, str]:
        """Both texts."""
        return self._left, self._right

    def setValue(self, left: str, right: str = "") -> None:
        """Show these."""
        if (left, right) != (self._left, self._right):
            self._left, self._right = left, right
            whole = " · ".join(text for text in (left, right) if text)
            self.setToolTip(whole)
            self.setAccessibleName(whole)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the texts."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        taken = metrics.horizontalAdvance(self._right) + 8 if self._right else 0
        left = metrics.elidedText(self._left, Qt.TextElideMode.ElideRight, max(0, self.width() - taken))
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(self.rect(), middle | Qt.AlignmentFlag.AlignLeft, left)
        painter.drawText(self.rect(), middle | Qt.AlignmentFlag.AlignRight, self._right)
        painter.end()
