"""The delay of the window's event loop with and without a round of retraining behind it."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_unet_seg.engine.round_report import RoundReport
from napari_unet_seg.widgets.demo import add_dock, segment_first_case
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.retrain_board import RetrainSettings
from napari_unet_seg.wording import counted
from training.benchmarks.corrected_scan import own_models, write_corrected_scan
from training.benchmarks.window import LoopDelay, idle, open_viewer, wait_until

_ACTION_MS = 40
"""A wheel turned briskly."""

_SCROLLS, _MOVES = 24, 20
"""Events of a run through the slices, and of a stroke."""


class Hand:
    """Scrolls with the wheel and paints with the mouse, by events that Qt delivers as it does those of a user.

    Parameters
    ----------
    viewer : Viewer
        Shows an image with spacing 1 along y and x.
    layer : Labels
        Is painted on, in mode "paint".
    """

    def __init__(self, viewer: Viewer, layer: Labels) -> None:
        self.strokes = 0
        self.scrolled = 0
        self.painted = 0
        """Strokes that have changed pixels."""

        self._viewer = viewer
        self._layer = layer
        self._canvas = viewer.window._qt_viewer.canvas
        self._actions = self._run()
        self._timer = QTimer()
        self._timer.setInterval(_ACTION_MS)
        self._timer.timeout.connect(self._act)
        viewer.dims.events.current_step.connect(self._count)
        layer.events.paint.connect(self._count_stroke)

    def __enter__(self) -> Hand:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.stop()
        self._viewer.dims.events.current_step.disconnect(self._count)
        self._layer.events.paint.disconnect(self._count_stroke)

    def _act(self) -> None:
        next(self._actions)

    def _count(self) -> None:
        self.scrolled += 1

    def _count_stroke(self) -> None:
        self.painted += 1

    def _run(self) -> Iterator[None]:
        rng = np.random.default_rng(0)
        depth, height, width = self._layer.data.shape
        direction = 1
        while True:
            for _ in range(_SCROLLS):
                if self._viewer.dims.current_step[0] in (0, depth - 1):
                    direction = 1 if self._viewer.dims.current_step[0] == 0 else -1
                self._wheel(direction)
                yield
            y, x = rng.uniform(0.35, 0.6, 2) * (height, width)
            # Every other stroke rubs out, so that strokes go on changing pixels.
            self._layer.selected_label = self.strokes % 2
            self._mouse(QEvent.Type.MouseButtonPress, y, x)
            for step in range(_MOVES):
                yield
                self._mouse(QEvent.Type.MouseMove, y + step, x + 2 * step)
            yield
            self._mouse(QEvent.Type.MouseButtonRelease, y + _MOVES, x + 2 * _MOVES)
            self.strokes += 1
            yield

    def _on_canvas(self, y: float, x: float) -> QPointF:
        """Where a point of the image lies on the canvas."""
        camera, (height, width) = self._viewer.scene.camera, self._canvas.size
        row = height / 2 + (y - camera.center[1]) * camera.zoom
        column = width / 2 + (x - camera.center[2]) * camera.zoom
        return QPointF(column, row)

    def _mouse(self, kind: QEvent.Type, y: float, x: float) -> None:
        native, place = self._canvas.native, self._on_canvas(y, x)
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        cause = none if kind == QEvent.Type.MouseMove else left
        held = none if kind == QEvent.Type.MouseButtonRelease else left
        event = QMouseEvent(kind, place, native.mapToGlobal(place), cause, held, Qt.KeyboardModifier.NoModifier)
        QApplication.postEvent(native, event)

    def _wheel(self, direction: int) -> None:
        native, place = self._canvas.native, QPointF(self._canvas.native.rect().center())
        event = QWheelEvent(
            place,
            native.mapToGlobal(place),
            QPoint(),
            # Towards the user is on through the slices.
            QPoint(0, -120 * direction),
            Qt.MouseButton.NoButton,
            # napari scrolls through slices while Control is held.
            Qt.KeyboardModifier.ControlModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.postEvent(native, event)


def round_delay(*, seconds: float = 60.0, repeats: int = 1, slices: int = 40, size: int = 256) -> dict[str, Any]:
    """Scroll and paint, by turns with nothing behind it and with a round that is started at the same moment.

    Parameters
    ----------
    seconds : float
        Of each measurement; the round is given more, and stopped afterwards.
    repeats : int
        Turns.
    slices, size : int
        Of the scan.

    Returns
    -------
    dict
        ``without`` and ``with_round``: percentiles and worst of all turns' delays of a 10 ms timer, and what the hand
        did; ``difference_ms``: with a round minus without; ``rounds``: what came of each, in words.

    Raises
    ------
    TimeoutError
        If the round does not come to an end.
    RuntimeError
        If the events did not reach the window, or the round failed.
    """
    parts: dict[str, list[dict[str, Any]]] = {"without": [], "with_round": []}
    outcomes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="round-delay-") as name, own_models(Path(name) / "home"):
        dataset = write_corrected_scan(Path(name) / "data", slices=slices, size=size)
        with open_viewer() as viewer:
            dock = add_dock(viewer)
            segment_first_case(viewer, dock, dataset.root)
            rounds = dock.retrain.runner
            rounds.returned.connect(lambda report: outcomes.append(_told(report)))
            rounds.failed.connect(lambda error: outcomes.append(str(error)))
            dock.retrain_panel.setValue(RetrainSettings(scope="scan", seconds=seconds + 30))
            _measure(viewer, dock, seconds=min(10.0, seconds))
            for _ in range(repeats):
                parts["without"].append(_measure(viewer, dock, seconds=seconds))
                dock.retrain.start()
                parts["with_round"].append(_measure(viewer, dock, seconds=seconds))
                if not rounds.busy():
                    raise RuntimeError(f"the round ended before its time: {outcomes}")
                rounds.stop()
                wait_until(lambda: not dock.busy())
            dock.shutdown()
    report: dict[str, Any] = {
        kind: {
            "p50_ms": _percentile(found, 50),
            "p99_ms": _percentile(found, 99),
            "worst_ms": _percentile(found, 100),
            "strokes": sum(part["strokes"] for part in found),
            "slices_scrolled": sum(part["scrolled"] for part in found),
        }
        for kind, found in parts.items()
    }
    report["difference_ms"] = {
        key: report["with_round"][f"{key}_ms"] - report["without"][f"{key}_ms"] for key in ("p50", "p99", "worst")
    }
    return report | {"rounds": outcomes}


def _measure(viewer: Viewer, dock: UNetDock, *, seconds: float) -> dict[str, Any]:
    layer = dock.segmentation.layer
    assert isinstance(layer, Labels)
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    layer.brush_size = 12
    # Python goes through a heap of napari's size in a fifth of a second, now and then, round or no round: before, not
    # by chance in one of the two measurements.
    gc.collect()
    gc.freeze()
    with Hand(viewer, layer) as hand, LoopDelay(interval_ms=10) as delay:
        idle(seconds)
    # Not by what the mask is in the end: strokes paint and rub out, and it may be what it was.
    if hand.scrolled == 0 or hand.painted == 0:
        raise RuntimeError(f"the events did not reach the window: {hand.scrolled} slices, {hand.painted} strokes")
    return {"delays": delay.milliseconds, "strokes": hand.strokes, "scrolled": hand.scrolled}


def _told(report: RoundReport | None) -> str:
    return (
        "stopped before it trained" if report is None else f"{counted(report.steps, 'step')} in {report.seconds:.0f} s"
    )


def _percentile(parts: list[dict[str, Any]], q: float) -> float:
    return float(np.percentile(np.concatenate([part["delays"] for part in parts]), q))
