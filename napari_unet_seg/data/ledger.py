"""The logs of a dataset, and what they add up to."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from heapq import merge
from operator import attrgetter
from pathlib import Path

from napari_unet_seg.data.correction_log import Correction, CorrectionLog
from napari_unet_seg.data.hidden_changes import find_hidden
from napari_unet_seg.data.history import History
from napari_unet_seg.data.line_matcher import LineMatcher
from napari_unet_seg.data.lost_originals import find_lost_originals
from napari_unet_seg.data.overlay import Places

LOG = "corrections.jsonl"


class Ledger:
    """The log of a dataset, among those of the same masks, over all that where there is an overlay folder.

    Parameters
    ----------
    places : Places
    matcher : LineMatcher
        Knows how the lines of each log read in this dataset.
    """

    def __init__(self, places: Places, matcher: LineMatcher) -> None:
        self._logs = [CorrectionLog(state / LOG) for state in places.states]
        self._bases = [places.base(state) for state in places.states]
        self._places = places
        self._matcher = matcher
        self._hidden: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._history, self._own = History(), History()
        self._taken: list[tuple[int, int]] = []

    @property
    def log(self) -> CorrectionLog:
        """The log that is written to."""
        return self._logs[-1]

    @property
    def own(self) -> History:
        """What may be taken back, as of the last call of `history`: all, or what an overlay's log adds up to."""
        return self._own

    @property
    def hidden(self) -> frozenset[str]:
        """Files that the dataset has newer corrections of than the copy in the overlay folder, which hides them.

        As of the last call of `history`.
        """
        return self._hidden

    def history(self) -> History:
        """The corrections up to now, whoever made them."""
        with self._lock:
            lines = [log.lines() for log in self._logs]
            counts = [(log.generation, len(found)) for log, found in zip(self._logs, lines, strict=True)]
            if counts == self._taken:
                return self._history
            *rest, (generation, count) = counts
            # A line of the overlay may have taken away the copy that hid something.
            unhidden = not self._hidden
            if self._taken and unhidden and self._taken[:-1] == rest and self._taken[-1][0] == generation:
                fresh = self._matcher.match(lines[-1][self._taken[-1][1] : count], self._bases[-1])
                for history in {id(each): each for each in (self._history, self._own)}.values():
                    history.add(fresh)
            else:
                self._add_up(lines)
            self._taken = counts
            self._find_originals(lines)
            return self._history

    def _add_up(self, lines: Sequence[Sequence[Correction]]) -> None:
        """Take in all lines: those of logs that lie side by side in the order in which they were written."""
        *below, own = [self._matcher.match(found, base) for found, base in zip(lines, self._bases, strict=True)]
        history = History()
        if self._places.overlay is not None:
            lower = list(merge(*below, key=attrgetter("time")))
            hidden = find_hidden(lower, own, has_copy=self._places.has_copy)
            for place, line in enumerate(lower):
                left = self._matcher.without(line, hidden[place]) if place in hidden else line
                history.add([] if left is None else [left])
            history.add(own)
            self._own = History()
            self._own.add(own)
            self._hidden = frozenset[str]().union(*hidden.values())
        else:
            history.add(merge(*below, own, key=attrgetter("time")))
            self._own = history
        self._history = history

    def damage(self) -> list[tuple[Path, str]]:
        """The logs with lines that cannot be read, and which these are; InputError if a log cannot be read at all."""
        for log in self._logs:
            log.lines()
        return [(log.path, said) for log in self._logs if (said := log.damage()) is not None]

    def _find_originals(self, lines: Sequence[Sequence[Correction]]) -> None:
        """Have files begin where the damaged lines of the logs began."""
        damaged = [text for log in self._logs for text in log.unreadable.values()]
        if damaged:
            readable = [line for found in lines for line in found]
            folders = [log.path.parent / "originals" for log in self._logs]
            for history in {id(each): each for each in (self._history, self._own)}.values():
                find_lost_originals(history, lines=readable, damaged=damaged, folders=folders)
