"""Ctrl-C that ends long work in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_at_first_interrupt() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C ask for the end instead of raising KeyboardInterrupt; the second raises it as ever.

    Yields a callable that says whether the end was asked for.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread hears of Ctrl-C.
        yield asked.is_set
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    former = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, former or signal.default_int_handler)
