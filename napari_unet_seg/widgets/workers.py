"""Work off the window's thread: one task after another on a lane, reported on the window's thread."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

_log = logging.getLogger(__name__)
_NICENESS = 7
_REPORT_MS = 200
"""Least time between two reports of a task: each has the whole window composed anew."""

Work = Callable[["Task"], Any]


class Task(QObject):
    """One piece of work on a `Lane`; its signals come on the thread that made it.

    The work gets the task itself, reports with `report` and asks `should_stop`; it touches no widget. It may raise
    anything, a ``RuntimeError`` too: superqt's generator workers, behind napari's ``thread_worker``, lose that one.
    """

    progressed = Signal(int, int)
    """Steps done, steps in all."""
    returned = Signal(object)
    failed = Signal(object)
    """The exception."""
    stopped = Signal()
    """It was asked to stop, and has."""
    finished = Signal()
    """After any of the three above."""

    _message = Signal(str, object)

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work
        self._stop = threading.Event()
        self.done = False
        """Whether its last message has been delivered."""
        self._outcome: tuple[str, Any] | None = None
        self._progress = (0, 0)
        self._progress_sent = False
        self._message.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def report(self, done: int, total: int) -> None:
        """Tell how far the work is (called by the work); the window gets the newest report, a few times a second."""
        self._progress = (done, total)
        # One message at a time: napari's progress bar runs the event loop when it is set, and a queue of messages
        # would be delivered inside one another until the stack ends.
        if not self._progress_sent:
            self._progress_sent = True
            self._message.emit("progressed", None)

    def should_stop(self) -> bool:
        """Whether the work should end (asked by the work)."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to end; `stopped` tells when it has."""
        self._stop.set()

    def run(self) -> None:
        """Do the work (called by the lane, on its thread)."""
        try:
            if self._stop.is_set():
                message: tuple[str, Any] = ("stopped", None)
            else:
                message = ("returned", self._work(self))
        except Exception as error:
            if self._stop.is_set():
                message = ("stopped", None)
            else:
                _log.debug("a background task failed", exc_info=True)
                message = ("failed", error)
        self._outcome = message
        self._message.emit(*message)

    def deliver(self) -> None:
        """Tell now how the work has ended, if it has: no event loop need run."""
        if self._outcome is not None:
            self._deliver(*self._outcome)

    def _deliver(self, kind: str, value: Any) -> None:
        if self.done:
            # Told already, by `deliver`.
            return
        if kind == "progressed":
            told = self._progress
            self.progressed.emit(*told)
            QTimer.singleShot(_REPORT_MS, lambda: self._report_since(told))
            return
        self.done = True
        if kind == "returned" and not self._stop.is_set():
            self.returned.emit(value)
        elif kind == "failed":
            self.failed.emit(value)
        else:
            self.stopped.emit()
        self.finished.emit()

    def _report_since(self, told: tuple[int, int]) -> None:
        """Let reports through again, and pass on what was held back."""
        self._progress_sent = False
        if self._progress != told and not self.done:
            self.report(*self._progress)


class Lane:
    """One background thread that works off tasks in order; a plain object, so Qt cannot delete it under the thread.

    Parameters
    ----------
    name : str
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_lower_priority)
        self._tasks: list[Task] = []
        self._closed = False

    def submit(
        self,
        work: Work,
        *,
        returned: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None],
        finished: Callable[[], None] | None = None,
    ) -> Task:
        """Queue some work.

        Parameters
        ----------
        work : callable
            Gets the task; runs on the lane's thread.
        returned, failed, finished : callable
            Continue on the window's thread.
        """
        task = Task(work)
        if returned is not None:
            task.returned.connect(returned)
        task.failed.connect(failed)
        if finished is not None:
            task.finished.connect(finished)
        if not self._closed:
            # A list, so that the task outlives its last message.
            self._tasks = [other for other in self._tasks if not other.done]
            self._tasks.append(task)
            self._executor.submit(task.run)
        return task

    def busy(self) -> bool:
        """Whether anything runs or waits, or has not been reported yet."""
        return any(not task.done for task in self._tasks)

    def wait(self) -> None:
        """Return when everything submitted so far has run; what it reports comes later."""
        if not self._closed:
            self._executor.submit(_nothing).result()

    def finish(self) -> None:
        """Return when everything submitted so far has run and been reported."""
        self.wait()
        for task in list(self._tasks):
            task.deliver()

    def close(self) -> None:
        """Stop what runs, drop what waits, and return when the thread has ended; nothing is reported any more."""
        self._closed = True
        for task in self._tasks:
            task.blockSignals(True)
            task.stop()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._tasks.clear()


def _nothing() -> None:
    pass


def _lower_priority() -> None:
    """Let the window's thread go first; threads that torch starts from here inherit it."""
    if hasattr(os, "setpriority"):
        # On Linux a thread is addressed like a process; elsewhere this would slow the whole window.
        with contextlib.suppress(OSError):
            if os.uname().sysname == "Linux":
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
