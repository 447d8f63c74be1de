"""How the window feels: ``python -m training.benchmarks.responsiveness [--json FILE]``, with a screen or under Xvfb.

Two measurements, each beside its own baseline in the same run: the delay of the event loop while a 40-slice volume is
segmented and the user scrolls, against scrolling alone; and the cost of a brush stroke on a 512x512x200 mask with the
dock's live scores, against such strokes in the same window after the dock has been disconnected.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
from training.benchmarks.window import LoopDelay, add_scan, idle, open_viewer, wait, wait_until


def scrolling(viewer: Viewer, *, slices: int, step: list[int]) -> None:
    """Show the next slice."""
    step[0] += 1
    viewer.dims.set_current_step(0, step[0] % slices)


def loop_delay(*, slices: int = 40, size: int = 256, rounds: int = 3) -> dict[str, object]:
    """99th percentile of the event loop's delay in ms, idle and while segmenting, round by round."""
    idle, busy, runs = [], [], []
    with open_viewer() as viewer:
        add_scan(viewer, slices=slices, size=size)
        dock = add_dock(viewer)
        wait_until(lambda: dock.session.segmenter is not None and not dock.busy())
        dock.runner.segment()
        wait_until(lambda: not dock.busy())
        step = [0]
        for _ in range(rounds):
            with LoopDelay(scroll=lambda: scrolling(viewer, slices=slices, step=step)) as delay:
                wait(4)
            idle.append(delay.percentile(99))
            with LoopDelay(scroll=lambda: scrolling(viewer, slices=slices, step=step)) as delay:
                started = time.perf_counter()
                dock.runner.segment()
                wait_until(lambda: not dock.busy())
                runs.append(time.perf_counter() - started)
            busy.append(delay.percentile(99))
        dock.shutdown()
    return {
        "idle_p99_ms": idle,
        "segmenting_p99_ms": busy,
        "difference_of_medians_ms": statistics.median(busy) - statistics.median(idle),
        "segmenting_seconds": runs,
    }


def strokes(viewer: Viewer, layer: Labels, *, count: int, seed: int) -> list[float]:
    """Milliseconds that each brush stroke of 12 points keeps the window's thread busy, drawing and scores included.

    Processor time of that thread, from the first point until half a second after the last: whatever a stroke sets off
    and puts off counts, and what other programs do meanwhile does not.
    """
    rng = np.random.default_rng(seed)
    times = []
    for number in range(count):
        z = int(rng.integers(layer.data.shape[0]))
        y, x = (int(corner) for corner in rng.integers(60, 440, 2))
        value = number % 2
        # Every movement of the brush changes pixels: a stroke that changes none costs nothing.
        layer.data[z, y - 10 : y + 40, x - 10 : x + 40] = 1 - value
        viewer.dims.set_current_step(0, z)
        # The brush comes down when the eye has found its place, not while the slices still fly by.
        idle(0.6)
        began = time.thread_time()
        with layer.block_history():
            for k in range(12):
                layer.paint((z, y + 2 * k, x + k), value)
                idle(0.016)
        idle(0.5)
        times.append((time.thread_time() - began) * 1000)
    return times


class KnownMask:
    """Stands in for a model where only what comes after the prediction is timed."""

    description = Description(name="known", network=UNetConfig(features=(2, 4), convolutions=(1, 1)))
    device_note = "no device"

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        self.mask = mask

    def predict(self, volume: Volume, **_: object) -> NDArray[np.float32]:
        """The mask, as probabilities."""
        return self.mask.astype(np.float32)


def stroke_cost(*, slices: int = 200, size: int = 512, count: int = 40, rounds: int = 3) -> dict[str, object]:
    """Median milliseconds of a stroke with the dock listening and without, in one window."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (slices, size, size), dtype=np.uint8)
    truth, mask = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    truth[60:120, 150:300, 200:350] = 1
    mask[62:118, 160:310, 190:340] = 1
    bare: list[float] = []
    scored: list[float] = []
    for number in range(rounds):
        with open_viewer() as viewer:
            viewer.add_image(image, name="flair", contrast_limits=(0, 200))
            viewer.add_labels(truth.copy(), name="Ground truth", visible=False)
            dock = add_dock(viewer, session=Session(load_model=lambda _: KnownMask(mask)))
            wait_until(lambda dock=dock: dock.session.segmenter is not None and not dock.busy())
            dock.scores_panel.setValue("Ground truth")
            dock.runner.segment()
            wait_until(lambda dock=dock: dock.segmentation.layer is not None and not dock.busy())
            layer = dock.segmentation.layer
            wait(1.0)
            layer.brush_size = 15
            strokes(viewer, layer, count=5, seed=99)
            scored += strokes(viewer, layer, count=count, seed=number)
            # The same window, layer and canvas; only the dock no longer listens. Other strokes, since the same
            # ones again would change nothing.
            dock.shutdown()
            strokes(viewer, layer, count=5, seed=99)
            bare += strokes(viewer, layer, count=count, seed=1000 + number)
    return {
        "without_dock_ms": statistics.median(bare),
        "with_dock_ms": statistics.median(scored),
        "added_ms": statistics.median(scored) - statistics.median(bare),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.responsiveness", description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    result = {"event_loop": loop_delay(), "stroke": stroke_cost()}
    print(json.dumps(result, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
