"""Has a round of retraining run in a process of its own, and tells of it on the window's thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import cast

from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.engine.events import RoundEvent, RoundFinished
from napari_unet_seg.engine.round_process import RoundRequest
from napari_unet_seg.engine.round_process import run_round as run_in_child
from napari_unet_seg.engine.round_report import RoundReport
from napari_unet_seg.widgets.activity import Activity
from napari_unet_seg.widgets.round_history import RoundHistory
from napari_unet_seg.widgets.workers import Lane, Task

RunRound = Callable[..., Iterator[RoundEvent]]


class _WindowClosedError(Exception):
    """Raised out of the question whether to stop: the round is given up, and nobody waits for what it kept."""


class RoundRunner(QObject):
    """Watches one round at a time.

    Parameters
    ----------
    lane : Lane
        Where the round's process is watched from.
    run_round : callable, optional
        ``(request, should_stop=...) -> iterator of RoundEvent``; by default `engine.round_process.run_round`.
    """

    progressed = Signal(object, float)
    """The `RoundHistory`, and the seconds since the round began to train; before that, less those it was waited for."""
    returned = Signal(object)
    """The `RoundReport`; None where it was stopped before there was any."""
    failed = Signal(object)
    idle = Signal()
    """After either of the two above."""

    _LOOK_MS = 1000
    """As often as the seconds that are left change: each look has the whole window composed anew."""

    def __init__(self, *, lane: Lane, run_round: RunRound | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._lane = lane
        self._run_round = run_round or run_in_child
        self._task: Task | None = None
        self._stop = threading.Event()
        self._events: deque[RoundEvent] = deque()
        self._history = RoundHistory(budget=1.0)
        self._asked = 0.0
        self._began: float | None = None
        self._activity = Activity("U-Net retraining")
        # Looked at by the clock, not told by each event: a fast model makes hundreds of steps a second.
        self._timer = QTimer(self)
        self._timer.setInterval(self._LOOK_MS)
        self._timer.timeout.connect(self._look)

    def disconnect_all(self) -> None:
        """Show nothing new; the lane ends what runs."""
        self._timer.stop()
        self._activity.close()

    def busy(self) -> bool:
        """Whether a round runs."""
        return self._task is not None

    def start(self, request: RoundRequest) -> None:
        """Run a round, unless one runs."""
        if self._task is not None:
            return
        run_round = self._run_round
        # Of the round's own: what an earlier one has left is not counted.
        stop, events = threading.Event(), deque[RoundEvent]()
        self._stop, self._events = stop, events
        self._history, self._began = RoundHistory(budget=request.seconds), None
        self._asked = time.monotonic()

        def work(task: Task) -> RoundReport | None:
            def should_stop() -> bool:
                # A round that is stopped hands over the best so far, which takes a while; closing waits for nothing.
                if task.should_stop():
                    raise _WindowClosedError
                return stop.is_set()

            report = None
            rounds = cast(Generator[RoundEvent, None, None], run_round(request, should_stop=should_stop))
            with contextlib.closing(rounds):
                for event in rounds:
                    events.append(event)
                    if isinstance(event, RoundFinished):
                        report = event.report
                    if task.should_stop():
                        break
            return report

        self._task = self._lane.submit(work, returned=self._take_report, failed=self._fail, finished=self._finish)
        self._timer.start()
        self._look()
        self._activity.open(wanted=self.busy)

    def stop(self) -> None:
        """Ask the round to end; what it has reached is looked at, and kept if it is better."""
        self._stop.set()
        if self._task is not None:
            self._tell()

    def stopping(self) -> bool:
        """Whether it was asked to end."""
        return self._stop.is_set()

    def _look(self) -> None:
        """Tell what has come since the last look."""
        seconds = self._tell()
        # Runs the event loop, so it comes last.
        budget = self._history.budget
        self._activity.show(int(min(max(seconds, 0), budget)), int(budget) if seconds >= 0 else 0)

    def _tell(self) -> float:
        history, events = self._history, self._events
        while events:
            history.take(events.popleft())
        if history.started is not None and self._began is None:
            self._began = time.monotonic() - history.elapsed
        # Never zero while it is waited for: that is where training begins.
        now = time.monotonic()
        seconds = min(self._asked - now, -1e-9) if self._began is None else now - self._began
        self.progressed.emit(history, seconds)
        return seconds

    def _take_report(self, report: RoundReport | None) -> None:
        self._end()
        self.returned.emit(report)

    def _fail(self, error: Exception) -> None:
        self._end()
        self.failed.emit(error)

    def _end(self) -> None:
        self._timer.stop()
        # What came after the last look is part of the round: told before that is over.
        self._tell()
        self._task = None

    def _finish(self) -> None:
        self._task = None
        self._activity.close()
        self.idle.emit()
