"""The logs of a dataset, and what they add up to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from napari_unet_seg.data.correction_log import Correction, CorrectionLog
from napari_unet_seg.data.history import History
from napari_unet_seg.data.overlay import Places

LOG = "corrections.jsonl"


class Ledger:
    """The log of a dataset, over that of the dataset below it where there is an overlay folder.

    Parameters
    ----------
    places : Places
    concerns : callable
        Whether a line is of this dataset.
    """

    def __init__(self, places: Places, concerns: Callable[[Correction], bool]) -> None:
        self._logs = [CorrectionLog(state / LOG) for state in places.states]
        self._concerns = concerns
        self._lock = threading.Lock()
        self._history, self._own = History(), History()
        self._taken: list[tuple[int, int]] = []

    @property
    def log(self) -> CorrectionLog:
        """The log that is written to."""
        return self._logs[-1]

    @property
    def own(self) -> History:
        """What the log that is written to adds up to by itself, as of the last call of `history`."""
        return self._own

    def history(self) -> History:
        """The corrections up to now, whoever made them."""
        with self._lock:
            lines = [log.lines() for log in self._logs]
            counts = [(log.generation, len(found)) for log, found in zip(self._logs, lines, strict=True)]
            if counts == self._taken:
                return self._history
            known = self._taken
            if [generation for generation, _ in known] != [generation for generation, _ in counts]:
                self._history, self._own = History(), History()
                known = [(0, 0)] * len(counts)
            for found, (_, start), log in zip(lines, known, self._logs, strict=True):
                fresh = [line for line in found[start:] if self._concerns(line)]
                self._history.add(fresh)
                if log is self.log:
                    self._own.add(fresh)
            self._taken = counts
            return self._history
