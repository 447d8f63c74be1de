"""How the volume's Dice has come along, as a small curve."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_HEIGHT = 34
_MARGIN = 5
_LEAST_SPAN = 0.02
"""Difference in Dice that fills the height at least: smaller ones look small."""


class ScoreHistory(QWidget):
    """A line from the first score to the latest, both in figures beside it; hidden while there is but one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scores: tuple[float, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setVisible(False)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, _HEIGHT)

    def value(self) -> tuple[float, ...]:
        """The scores, the oldest first."""
        return self._scores

    def setValue(self, scores: Sequence[float]) -> None:
        """Show these, the oldest first."""
        if tuple(scores) == self._scores:
            return
        self._scores = tuple(scores)
        listed = ", ".join(f"{score:.3f}" for score in self._scores)
        self.setToolTip(f"Dice of the volume after each segmentation and each save: {listed}")
        self.setVisible(len(self._scores) > 1)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the curve between its first and its last figure."""
        if len(self._scores) < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        first, last = f"Dice so far  {self._scores[0]:.3f}", f"{self._scores[-1]:.3f}"
        metrics = painter.fontMetrics()
        left, right = (metrics.horizontalAdvance(text) + 8 for text in (first, last))
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(0, 0, left, self.height()), middle | Qt.AlignmentFlag.AlignLeft, first)
        painter.drawText(
            QRectF(self.width() - right, 0, right, self.height()), middle | Qt.AlignmentFlag.AlignRight, last
        )
        points = self._points(QRectF(left, _MARGIN, self.width() - left - right, self.height() - 2 * _MARGIN))
        painter.setPen(QPen(self.palette().windowText().color(), 1.5))
        painter.drawPolyline(QPolygonF(points))
        painter.setBrush(self.palette().windowText())
        for point in points:
            painter.drawEllipse(point, 2, 2)

    def _points(self, area: QRectF) -> list[QPointF]:
        low, high = min(self._scores), max(self._scores)
        span = max(high - low, _LEAST_SPAN)
        low = (low + high - span) / 2
        step = area.width() / (len(self._scores) - 1)
        return [
            QPointF(area.left() + index * step, area.bottom() - (score - low) / span * area.height())
            for index, score in enumerate(self._scores)
        ]
