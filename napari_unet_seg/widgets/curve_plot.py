"""The live curves of a round: Dice on what is held back, and the loss below it."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QFontMetrics, QWheelEvent
from qtpy.QtWidgets import QApplication, QSizePolicy, QWidget

from napari_unet_seg.widgets.plot_colours import PlotColours
from napari_unet_seg.widgets.round_history import Point, RoundHistory

_HEIGHT = 200
_AXIS_WIDTH = 52
_LINES, _AXIS_LINES = 13, 3.4
"""The same in lines of text, for larger letters: numbers would lie on one another."""

_GAP = 12


class CurvePlot(pg.GraphicsLayoutWidget):
    """Two plots over the same seconds: Dice with the parent's as a dashed line, and the loss."""

    def __init__(self, *, colours: PlotColours, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history: RoundHistory | None = None
        self._drawn: tuple[object, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.ci.layout.setSpacing(0)
        # The lowest number of the one is not to lie on the highest of the other.
        self.ci.layout.setVerticalSpacing(_GAP)
        self.ci.layout.setContentsMargins(0, 4, 8, 0)
        self._dice_plot = self._add_plot(0, "Dice")
        self._loss_plot = self._add_plot(1, "Loss")
        self._loss_plot.setXLink(self._dice_plot)
        self._dice_plot.getAxis("bottom").setStyle(showValues=False)
        self._loss_plot.setLabel("bottom", "seconds")
        # Their share of the height: what matters is the Dice.
        self.ci.layout.setRowStretchFactor(0, 5)
        self.ci.layout.setRowStretchFactor(1, 6)
        self._dice = self._dice_plot.plot(symbol="o", symbolSize=5, antialias=True)
        self._loss = self._loss_plot.plot(symbolSize=5, antialias=True)
        self._before = pg.InfiniteLine(angle=0)
        self._before.setVisible(False)
        self.setToolTip("Dice on slices held back from the round (dashed: before it), and the loss")
        self._dice_plot.addItem(self._before, ignoreBounds=True)
        self.set_colours(colours)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, max(_HEIGHT, round(_LINES * _line_height())))

    def minimumSizeHint(self) -> QSize:
        """As high as `sizeHint`."""
        return QSize(100, self.sizeHint().height())

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Let the dock scroll."""
        event.ignore()

    def value(self) -> tuple[list[Point], list[Point]]:
        """The points of the Dice curve and of the loss curve."""
        return _points(self._dice), _points(self._loss)

    def setValue(self, history: RoundHistory) -> None:
        """Draw a round as far as it has come, if that is further than what is drawn."""
        state = len(history.dice), len(history.losses), history.before, max(history.budget, history.elapsed)
        if history is self._history and state == self._drawn:
            return
        self._history, self._drawn = history, state
        _draw(self._dice, history.dice)
        losses = history.loss_curve()
        _draw(self._loss, losses)
        # One point makes no line.
        self._loss.setSymbol("o" if len(losses) == 1 else None)
        self._before.setVisible(history.before is not None)
        if history.before is not None:
            self._before.setValue(history.before)
        values = [dice for _, dice in history.dice] + ([] if history.before is None else [history.before])
        self._dice_plot.setYRange(*_with_margin(values, least=0.05), padding=0)
        self._loss_plot.setYRange(*_with_margin([loss for _, loss in losses], least=0.05), padding=0)
        self._dice_plot.setXRange(0, max(history.budget, history.elapsed), padding=0.01)

    def set_colours(self, colours: PlotColours) -> None:
        """Draw in these colours from now on."""
        self.setBackground(QColor(*colours.background))
        for plot, colour in ((self._dice_plot, colours.dice), (self._loss_plot, colours.loss)):
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(pg.mkPen(QColor(*colours.axis)))
                axis.setTextPen(pg.mkPen(QColor(*(colour if side == "left" else colours.text))))
        for curve, colour in ((self._dice, colours.dice), (self._loss, colours.loss)):
            curve.setPen(pg.mkPen(QColor(*colour), width=2))
            curve.setSymbolBrush(QColor(*colour))
            curve.setSymbolPen(None)
        self._before.setPen(pg.mkPen(QColor(*colours.text), style=Qt.PenStyle.DashLine))

    def _add_plot(self, row: int, name: str) -> pg.PlotItem:
        plot = self.addPlot(row=row, col=0)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(x=False, y=False)
        plot.disableAutoRange()
        plot.setLabel("left", name)
        left = plot.getAxis("left")
        # The same for both, so that their seconds lie below one another.
        left.setWidth(max(_AXIS_WIDTH, round(_AXIS_LINES * _line_height())))
        left.enableAutoSIPrefix(False)
        plot.getAxis("bottom").enableAutoSIPrefix(False)
        return plot


def _line_height() -> int:
    """Of the letters that pyqtgraph writes with."""
    return int(QFontMetrics(QApplication.font()).height())


def _draw(curve: pg.PlotDataItem, points: Sequence[Point]) -> None:
    curve.setData([point[0] for point in points], [point[1] for point in points])


def _points(curve: pg.PlotDataItem) -> list[Point]:
    x, y = curve.getData()
    return [] if x is None else [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _with_margin(values: Sequence[float], *, least: float) -> tuple[float, float]:
    """A range that holds the values with a little room; at least `least` high, so that noise looks like noise."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, (least - (high - low)) / 2)
    return low - room, high + room
