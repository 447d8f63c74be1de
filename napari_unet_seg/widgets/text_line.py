"""A line of text, or a few, whose changes cost a redraw of itself, and no new layout of the dock."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

_CUT = Qt.TextElideMode.ElideRight


class TextLine(QWidget):
    """Two texts, one at each end; a long first one is cut short and whole in the tooltip.

    A QLabel has the whole dock laid out anew whenever its text changes.

    Parameters
    ----------
    lines : int
        How many the first text may take; there is room for as many, whatever it says.
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None, *, lines: int = 1) -> None:
        super().__init__(parent)
        self._lines = lines
        self._left, self._right = "", ""
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """As high as its lines."""
        metrics = self.fontMetrics()
        return QSize(100, metrics.height() + (self._lines - 1) * metrics.lineSpacing() + 4)

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
        place = self.rect().adjusted(0, 2, 0, -2)
        for line in self.shown(self.width() - taken):
            painter.drawText(place, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, line)
            place.translate(0, metrics.lineSpacing())
        painter.drawText(
            self.rect().adjusted(0, 2, 0, -2), Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignRight, self._right
        )
        painter.end()

    def shown(self, width: int) -> list[str]:
        """The first text as it is drawn in so many pixels: broken between words, the last line cut short."""
        metrics, words = self.fontMetrics(), self._left.split(" ")
        lines: list[str] = []
        while words and len(lines) < self._lines - 1:
            fits = 1
            while fits < len(words) and metrics.horizontalAdvance(" ".join(words[: fits + 1])) <= width:
                fits += 1
            lines.append(" ".join(words[:fits]))
            words = words[fits:]
        lines.append(" ".join(words))
        # Qt would cut what fits exactly, too.
        return [
            line if metrics.horizontalAdvance(line) <= width else metrics.elidedText(line, _CUT, max(0, width))
            for line in lines
            if line
        ]
