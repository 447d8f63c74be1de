"""A round of retraining as it runs: how far it is, its newest scores, and its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_unet_seg.widgets.round_history import RoundHistory
from napari_unet_seg.widgets.text_line import TextLine
from napari_unet_seg.wording import counted

if TYPE_CHECKING:
    from napari_unet_seg.widgets.curve_plot import CurvePlot
    from napari_unet_seg.widgets.plot_colours import PlotColours

_LONG = 20.0
"""Seconds that reading takes on a slow machine; of longer ones the user is told how many."""


class RoundView(QWidget):
    """Shows one round, and its curves after its end as well."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colours: PlotColours | None = None
        self._plot: CurvePlot | None = None
        self._progress = QProgressBar()
        self._scores = TextLine()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._progress)
        layout.addWidget(self._scores)

    def setValue(self, history: RoundHistory, *, elapsed: float, stopping: bool = False) -> None:
        """Show how far a round is, `elapsed` seconds after it began to train; negative: it was waited for so long."""
        # Never the bar that runs to and fro: with each of its frames the whole window is composed anew.
        self._progress.setRange(0, round(history.budget * 10))
        self._progress.setValue(round(min(max(elapsed, 0), history.budget) * 10))
        self._progress.setFormat(_stage(history, elapsed=elapsed, stopping=stopping))
        scores = f"Dice {history.dice[-1][1]:.3f}, before {history.before:.3f}" if history.dice else ""
        if elapsed < -_LONG:
            # It gives way to all else that runs.
            scores = "Other programs may keep the processor busy."
        self._scores.setValue(scores, counted(history.steps, "step") if history.steps else "")
        self.prepare()
        if self._plot is not None:
            self._plot.setValue(history)

    def stage(self) -> str:
        """What the bar says."""
        return str(self._progress.format())

    def scores(self) -> tuple[str, str]:
        """What the line below the bar says, left and right."""
        return self._scores.value()

    def set_running(self, running: bool) -> None:
        """Leave the curves alone of a round that has ended."""
        self._progress.setVisible(running)
        self._scores.setVisible(running)

    def prepare(self) -> None:
        """Make the plot, if it is not there yet: the first one takes a tenth of a second or two."""
        layout = self.layout()
        if self._plot is None and self._colours is not None and layout is not None:
            from napari_unet_seg.widgets.curve_plot import CurvePlot

            self._plot = CurvePlot(colours=self._colours)
            layout.addWidget(self._plot)

    def set_colours(self, colours: PlotColours) -> None:
        """Draw the curves in these colours."""
        self._colours = colours
        if self._plot is not None:
            self._plot.set_colours(colours)

    @property
    def plot(self) -> CurvePlot | None:
        """The curves; None before the first round."""
        return self._plot


def _stage(history: RoundHistory, *, elapsed: float, stopping: bool) -> str:
    """What is being done, in words."""
    if stopping:
        return "Stopping; looking at what was reached …" if elapsed >= 0 else "Stopping …"
    if elapsed < 0:
        return "Reading the corrections …" if elapsed >= -_LONG else f"Reading the corrections, {_duration(-elapsed)} …"
    if elapsed < history.budget:
        return f"{_duration(history.budget - elapsed)} left"
    return "Comparing before and after …"


def _duration(seconds: float) -> str:
    whole = int(seconds + 0.999)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"
