"""An entry in napari's activity dock for as long as some work runs."""

from __future__ import annotations

from collections.abc import Callable

from napari.utils import progress


class Activity:
    """Shows how far one piece of work is; opened and closed again and again.

    Parameters
    ----------
    description : str
        What the dock calls it.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._progress: progress | None = None

    def open(self, *, wanted: Callable[[], bool]) -> None:
        """Show the entry, unless it is no longer `wanted` when it is made: making it may have run the event loop."""
        made = progress(total=0, desc=self._description)
        if wanted() and self._progress is None:
            self._progress = made
        else:
            made.close()

    def show(self, done: int, total: int) -> None:
        """Show how far the work is; a total of 0 means that nobody knows yet."""
        shown = self._progress
        if shown is not None:
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
