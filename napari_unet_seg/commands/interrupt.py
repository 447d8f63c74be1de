"""Ctrl-C, or what else asks a process to end, that ends long work in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers


@contextmanager
def stop_at_first_interrupt(*, terminate: bool = False) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for the end instead of raising KeyboardInterrupt; the second raises it as ever.

    Yields a callable that says whether the end was asked for.

    Parameters
    ----------
    terminate : bool
        Heed SIGTERM too, which cluster schedulers send some time before they kill.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread hears of Ctrl-C.
        yield asked.is_set
        return

    usual: dict[signal.Signals, _Handler] = {signal.SIGINT: signal.default_int_handler}
    if terminate:
        usual[signal.SIGTERM] = signal.SIG_DFL

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        for number, handler in usual.items():
            signal.signal(number, handler)

    former = {number: signal.signal(number, ask) for number in usual}
    try:
        yield asked.is_set
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or usual[number])
