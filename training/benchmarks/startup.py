"""From nothing to the first mask: ``python -m training.benchmarks.startup [--json FILE]``, with a screen or under Xvfb.

What a user waits for, in fresh processes: importing the package; the dock after the viewer (its modules, its widgets);
the first click on a 36-slice scan at the moment the dock is there (torch, the model, the prediction, the mask drawn),
and later clicks. Beside the clicks, for how long the event loop was blocked at most. Python's bytecode is there, as it
is where a package is installed: a run before those that count makes it.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from napari_unet_seg.errors import SegmentationError
from training.benchmarks.this_machine import machine_line, this_machine
from training.command_line import command, command_parser, positive_int, report_file
from training.json_file import save_json

_IMPORT = "import time; s = time.perf_counter(); import napari_unet_seg; print(time.perf_counter() - s)"

_ROWS = {
    "import_seconds": "importing the package",
    "dock_seconds": "dock after the viewer",
    "dock_import_seconds": "— its modules",
    "dock_show_seconds": "— its widgets, docked and shown",
    "first_click_seconds": "first click, 36 slices",
    "first_click_torch_seconds": "— importing torch",
    "first_click_model_seconds": "— loading the model",
    "first_click_predict_seconds": "— reading the layers, predicting, making the mask",
    "first_click_draw_seconds": "— drawing, and handing over between threads",
    "warm_click_seconds": "a later click",
}


def window() -> dict[str, float]:
    """Open viewer and dock in this process and click; seconds of each step."""
    from training.benchmarks.window import LoopDelay, add_scan, idle_until, open_viewer, wait, wait_until

    with open_viewer() as viewer:
        add_scan(viewer, slices=36, size=256)
        # Drawn before anything is timed: that is napari's own.
        wait(1.0)
        began = time.perf_counter()
        from napari_unet_seg.session import Session
        from napari_unet_seg.widgets.demo import add_dock

        importlib.import_module("napari_unet_seg.widgets.dock")
        imported = time.perf_counter()
        loading: dict[str, float] = {}
        dock = add_dock(viewer, session=Session(load_model=lambda name: _load(name, loading)))
        wait_until(dock.isVisible)
        shown = time.perf_counter()
        clicks, predictions, blocked = [], [], []
        predict = dock.session.models.predict

        def timed(*arguments: Any, **options: Any) -> Any:
            since, loaded = time.perf_counter(), sum(loading.values())
            try:
                return predict(*arguments, **options)
            finally:
                # A click that comes before the model is there loads it on its way.
                predictions.append(time.perf_counter() - since - (sum(loading.values()) - loaded))

        dock.session.models.predict = timed  # type: ignore[method-assign]
        for _ in range(5):
            with LoopDelay() as delay:
                began_click = time.perf_counter()
                dock.runner.segment()
                idle_until(dock.runner.segmented)
                clicks.append(time.perf_counter() - began_click)
            blocked.append(max(delay.milliseconds, default=0.0))
        dock.shutdown()
    return {
        "dock_seconds": shown - began,
        "dock_import_seconds": imported - began,
        "dock_show_seconds": shown - imported,
        "first_click_seconds": clicks[0],
        "first_click_torch_seconds": loading["torch"],
        "first_click_model_seconds": loading["model"],
        "first_click_predict_seconds": predictions[0],
        "first_click_draw_seconds": clicks[0] - loading["torch"] - loading["model"] - predictions[0],
        "first_click_longest_block_ms": blocked[0],
        "warm_click_seconds": statistics.median(clicks[1:]),
        "warm_click_longest_block_ms": statistics.median(blocked[1:]),
    }


def _load(name: str, seconds: dict[str, float]) -> Any:
    """What the session does by itself, with a watch in hand."""
    began = time.perf_counter()
    from napari_unet_seg.engine.segmenter import load_model

    imported = time.perf_counter()
    model = load_model(name)
    seconds |= {"torch": imported - began, "model": time.perf_counter() - imported}
    return model


def markdown(result: dict[str, float]) -> str:
    """The medians as a table."""
    lines = ["| what is waited for | seconds |", "| --- | --- |"]
    lines += [f"| {title} | {result[key]:.2f} |" for key, title in _ROWS.items()]
    longest = result["first_click_longest_block_ms"], result["warm_click_longest_block_ms"]
    lines.append(
        "\nThe event loop was blocked for {:.0f} ms at most in the first click, {:.0f} ms later.".format(*longest)
    )
    return "\n".join(lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.startup", __doc__)
    parser.add_argument("--rounds", type=positive_int, default=3, help="starts of napari, each in a process of its own")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    parser.add_argument("--once", action="store_true", help="measure the window in this process (used by itself)")
    given = parser.parse_args(arguments)
    if given.once:
        print(json.dumps(window()))
        return 0
    with tempfile.TemporaryDirectory(prefix="startup-") as bytecode:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode

        def fresh(*command: str) -> str:
            done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment)
            if done.returncode:
                # Qt ends a process that finds no screen.
                raise SegmentationError("a start did not come to its end; without a screen, begin it with xvfb-run -a")
            return done.stdout.strip().splitlines()[-1]

        once = "-m", "training.benchmarks.startup", "--once"
        fresh(*once)
        imports = [float(fresh("-c", _IMPORT)) for _ in range(2 * given.rounds)]
        windows = [json.loads(fresh(*once)) for _ in range(given.rounds)]
    result = {"import_seconds": statistics.median(imports)}
    result |= {key: statistics.median(item[key] for item in windows) for key in windows[0]}
    machine = this_machine()
    print(f"{machine_line(machine)}; medians of {given.rounds} starts\n\n{markdown(result)}")
    save_json(given.json, {"machine": machine, "rounds": given.rounds, **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
