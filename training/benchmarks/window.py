"""What the window benchmarks share: a viewer with a scan, and its event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import napari
import numpy as np
from napari.viewer import Viewer
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_unet_seg.data.phantom import make_phantom


def wait_until(done: Callable[[], bool], *, seconds: float = 120.0) -> None:
    """Run the event loop until something holds.

    Raises
    ------
    TimeoutError
        If it does not within the given time.
    """
    end = time.perf_counter() + seconds
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError("the window did not get there")
        QApplication.processEvents()
        time.sleep(0.0005)


def wait(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.perf_counter() + seconds
    wait_until(lambda: time.perf_counter() >= end, seconds=seconds + 60)


def idle(seconds: float) -> None:
    """Let the event loop run by itself for a while: no polling, so it uses processor time for events alone."""
    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def idle_until(signal: Any) -> None:
    """Let the event loop run by itself until a Qt signal comes, as it does for a user: polling it would take time."""
    loop = QEventLoop()
    signal.connect(loop.quit)
    loop.exec()


@contextmanager
def open_viewer() -> Iterator[Viewer]:
    """A real napari window; it is closed at the end."""
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    wait(1.0)
    try:
        yield viewer
    finally:
        viewer.close()
        wait(0.2)


def add_scan(viewer: Viewer, *, slices: int, size: int) -> None:
    """A phantom's three sequences as image layers."""
    volume, _ = make_phantom(slices=slices, size=size)
    for name, pixels in zip(volume.channel_names, volume.data, strict=True):
        viewer.add_image(pixels, name=name, scale=volume.spacing, contrast_limits=(0, 200), visible=name == "flair")


class LoopDelay:
    """How late a timer of some ms comes: what a user feels as a hitch."""

    def __init__(self, *, interval_ms: int = 5, scroll: Callable[[], None] | None = None) -> None:
        self.milliseconds: list[float] = []
        self._interval_ms = interval_ms
        self._scroll = scroll
        self._last = time.perf_counter()
        self._ticks = 0
        self._timer = QTimer()
        self._timer.setInterval(interval_ms)
        self._timer.timeout.connect(self._tick)

    def __enter__(self) -> LoopDelay:
        self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()

    def percentile(self, q: float) -> float:
        """A percentile of the delays in ms."""
        return float(np.percentile(self.milliseconds, q))

    def _tick(self) -> None:
        now = time.perf_counter()
        self.milliseconds.append(max(0.0, (now - self._last) * 1000 - self._interval_ms))
        self._ticks += 1
        if self._scroll is not None and self._ticks % 6 == 0:
            self._scroll()
        self._last = now
