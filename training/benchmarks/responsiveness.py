"""How the window feels: ``python -m training.benchmarks.responsiveness [--json FILE]``, with a screen or under Xvfb.

By default all of `PARTS`, or those named by ``--parts``:

- ``loop``: the delay of the event loop while a 40-slice volume is segmented and slices scroll, against scrolling alone;
- ``stroke``: what a brush stroke on a 512x512x200 mask (``--size``, ``--slices``) costs with the dock's live scores,
  against the same strokes in a window without the dock, by turns;
- ``slider``: what a movement of the threshold slider costs at that size;
- ``switching``: another case of a dataset;
- ``opening``: datasets of 110 and of 2,000 patients.

With ``--round`` another measurement in their place: the delay of the event loop while slices scroll and strokes are
painted by real events, with and without a round of retraining in the background.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtWidgets import QWidget
from scipy import stats

from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
from training.benchmarks.gestures import KnownMask, opening, slider_cost, switching
from training.benchmarks.round_delay import round_delay
from training.benchmarks.this_machine import machine_line, this_machine
from training.benchmarks.window import LoopDelay, add_scan, idle, open_viewer, wait, wait_until
from training.command_line import command, command_parser, report_file
from training.json_file import save_json

PARTS = ("loop", "stroke", "slider", "switching", "opening")
_MOVEMENTS = 12
"""Of the brush, in a stroke."""

_SMALLEST = 160
"""Height and width that strokes lie in, away from the border."""


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


def stroke(viewer: Viewer, layer: Labels, *, z: int, y: int, x: int, value: int) -> tuple[float, float]:
    """Milliseconds that one brush stroke of 12 points keeps the window's thread busy, drawing and scores included.

    Processor time of that thread, so that what other programs do meanwhile does not count: from the first point to
    the last, and in the half second after it, for what a stroke puts off.
    """
    # Every movement of the brush changes pixels: a stroke that changes none costs nothing.
    layer.data[z, y - 10 : y + 40, x - 10 : x + 40] = 1 - value
    viewer.dims.set_current_step(0, z)
    # The brush comes down when the eye has found its place, not while the slices still fly by.
    idle(0.6)
    began = time.thread_time()
    with layer.block_history():
        for k in range(_MOVEMENTS):
            layer.paint((z, y + 2 * k, x + k), value)
            idle(0.016)
    ended = time.thread_time()
    idle(0.5)
    return (ended - began) * 1000, (time.thread_time() - ended) * 1000


def stroke_cost(*, slices: int = 200, size: int = 512, count: int = 60) -> dict[str, object]:
    """Milliseconds of the same strokes, by turns in a window with the dock and in one with an empty widget there."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (slices, size, size), dtype=np.uint8)
    truth, mask = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    truth[60:120, 150:300, 200:350] = 1
    mask[62:118, 160:310, 190:340] = 1
    with open_viewer() as viewer, open_viewer() as bare:
        for window in (viewer, bare):
            window.add_image(image, name="flair", contrast_limits=(0, 200))
            window.add_labels(truth.copy(), name="Ground truth", visible=False)
        dock = add_dock(viewer, session=Session(load_model=lambda _: KnownMask(mask.astype(np.float32))))
        wait_until(lambda: dock.session.segmenter is not None and not dock.busy())
        dock.scores_panel.setValue("Ground truth")
        dock.runner.segment()
        wait_until(lambda: dock.segmentation.layer is not None and not dock.busy())
        placeholder = QWidget()
        placeholder.setFixedWidth(dock.width())
        bare.window.add_dock_widget(placeholder, area="right")
        layers = dock.segmentation.layer, bare.add_labels(mask.copy(), name="Segmentation", opacity=0.4)
        wait(1.0)
        times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for number in range(count + 4):
            z, y, x = int(rng.integers(slices)), *(int(corner) for corner in rng.integers(60, size - 80, 2))
            for window, layer, found in zip((viewer, bare), layers, times, strict=True):
                layer.brush_size = 15
                found.append(stroke(window, layer, z=z, y=y, x=x, value=number // 2 % 2))
        dock.shutdown()
    scored, alone = (np.array(found[4:]) for found in times)
    report: dict[str, object] = {"strokes": count, "slices": slices, "size": size, "movements": _MOVEMENTS}
    for column, part in enumerate(("during", "after")):
        added = scored[:, column] - alone[:, column]
        report[part] = {
            "without_dock_ms": float(np.median(alone[:, column])),
            "with_dock_ms": float(np.median(scored[:, column])),
            "added_ms": float(np.median(added)),
            "added_ms_ci95": interval_of_median(added),
        }
        if part == "during":
            report["movement_ms"] = {
                "without_dock": float(np.median(alone[:, column])) / _MOVEMENTS,
                "with_dock": float(np.median(scored[:, column])) / _MOVEMENTS,
            }
    return report


def interval_of_median(values: NDArray[np.float64]) -> tuple[float, float]:
    """95% bootstrap interval of the median (percentiles)."""
    found = stats.bootstrap((values,), np.median, method="percentile", n_resamples=2000, rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return float(low), float(high)


def markdown(result: dict[str, Any]) -> str:
    """Every figure in a row of its own, under the name of its part."""
    lines = ["| part | figure | |", "| --- | --- | --- |"]
    for part, figures in result.items():
        lines += [f"| {part} | {name} | {value} |" for name, value in _flat(figures)]
    return "\n".join(lines)


def _flat(figures: Any, *, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from _flat(value, name=f"{name} {key}".strip().replace("_", " "))
    elif isinstance(figures, list | tuple):
        yield name, ", ".join(text for value in figures for _, text in _flat(value))
    else:
        yield name, f"{figures:.3g}" if isinstance(figures, float) else str(figures)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.responsiveness", __doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--size", type=int, default=512, help="height and width, of strokes and slider")
    parser.add_argument("--slices", type=int, default=200, help="of strokes and slider")
    parser.add_argument("--strokes", type=int, default=60, help="strokes that are painted and timed")
    parser.add_argument("--round", action="store_true", help="with and without a round of retraining")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement with --round")
    parser.add_argument("--repeats", type=int, default=1, help="turns with --round")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    if min(given.slices, given.repeats) < 1 or not 0 < given.seconds < math.inf:
        parser.error("--slices, --seconds and --repeats must be positive")
    # An interval takes two.
    if given.size < _SMALLEST or given.strokes < 2:
        parser.error(f"--size must be at least {_SMALLEST}, --strokes at least 2")
    measurements: dict[str, Callable[[], Any]] = {
        "loop": loop_delay,
        "stroke": lambda: stroke_cost(slices=given.slices, size=given.size, count=given.strokes),
        "slider": lambda: slider_cost(slices=given.slices, size=given.size),
        "switching": switching,
        "opening": lambda: {str(patients): opening(patients=patients) for patients in (110, 2000)},
    }
    if given.round:
        result = {"round": round_delay(seconds=given.seconds, repeats=given.repeats)}
    else:
        result = {part: measurements[part]() for part in given.parts}
    machine = this_machine()
    print(f"{machine_line(machine)}\n\n{markdown(result)}")
    save_json(given.json, {"machine": machine, **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
