"""An entry in napari's activity dock for as long as some work runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from napari.utils import progress
from qtpy.QtGui import QMovie
from qtpy.QtWidgets import QApplication, QLabel


class Activity:
    """Shows how far one piece of work is; opened and closed again and again.

    napari turns a wheel beside its activity button meanwhile. Each of its frames has the whole window composed anew,
    which takes a processor core to itself where OpenGL is drawn by software, and that core is wanted for the work. So
    the wheel turns with the work instead of by itself: by a frame whenever something is shown.

    Parameters
    ----------
    description : str
        What the dock calls it.
    """

    _shown: ClassVar[set[Activity]] = set()
    """All that are open, in every window."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._progress: progress | None = None

    def open(self, *, wanted: Callable[[], bool]) -> None:
        """Show the entry, unless it is no longer `wanted` when it is made: making it may have run the event loop."""
        made = progress(total=0, desc=self._description)
        if wanted() and self._progress is None:
            self._progress = made
            self._shown.add(self)
            for wheel in _wheels(QMovie.MovieState.Running):
                wheel.setPaused(True)
        else:
            made.close()

    def show(self, done: int, total: int) -> None:
        """Show how far the work is; a total of 0 means that nobody knows yet."""
        shown = self._progress
        if shown is not None:
            for wheel in _wheels(QMovie.MovieState.Paused):
                wheel.jumpToNextFrame()
            if shown.total != total:
                shown.total = total
            # Setting it runs the event loop.
            if done != shown.n:
                shown.update(done - shown.n)

    def close(self) -> None:
        """Take the entry away."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None
            self._shown.discard(self)
            # It goes on by itself for other plugins' work; napari stops it where nobody works.
            if not self._shown:
                for wheel in _wheels(QMovie.MovieState.Paused):
                    wheel.setPaused(False)


def _wheels(state: QMovie.MovieState) -> Iterator[QMovie]:
    """Those wheels of all windows that are in a state; looked for anew, as windows come and go."""
    for window in QApplication.topLevelWidgets():
        for label in window.findChildren(QLabel):
            movie = label.movie()
            if movie is not None and movie.state() == state:
                yield movie
