"""From nothing to the first mask: ``python -m training.benchmarks.startup [--json FILE]``, with a screen or under Xvfb.

In fresh processes: seconds to import the package, seconds from the viewer to the dock, seconds of the first click on a
36-slice scan right after the dock is there (importing torch and loading the model included) and of later clicks, and
how long the event loop was blocked at most meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_IMPORT = "import time; s = time.perf_counter(); import napari_unet_seg; print(time.perf_counter() - s)"


def window() -> dict[str, Any]:
    """Open viewer and dock in this process and click; seconds of each step."""
    from napari_unet_seg.widgets.demo import add_dock
    from training.benchmarks.window import LoopDelay, add_scan, open_viewer, wait_until

    with open_viewer() as viewer:
        add_scan(viewer, slices=36, size=256)
        began = time.perf_counter()
        dock = add_dock(viewer)
        wait_until(dock.isVisible)
        opened = time.perf_counter() - began
        seen: list[object] = []
        dock.runner.segmented.connect(seen.append)
        clicks = []
        worst = 0.0
        for number in range(5):
            with LoopDelay() as delay:
                began = time.perf_counter()
                dock.runner.segment()
                wait_until(lambda number=number: len(seen) > number)
                clicks.append(time.perf_counter() - began)
            if number == 0:
                worst = max(delay.milliseconds, default=0.0)
        dock.shutdown()
    return {
        "dock_seconds": opened,
        "first_click_seconds": clicks[0],
        "first_click_longest_block_ms": worst,
        "warm_click_seconds": statistics.median(clicks[1:]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help="measure the window in this process (used by itself)")
    given = parser.parse_args(arguments)
    if given.once:
        print(json.dumps(window()))
        return 0

    def fresh(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]

    imports = [float(fresh("-c", _IMPORT)) for _ in range(given.rounds)]
    windows = [json.loads(fresh("-m", "training.benchmarks.startup", "--once")) for _ in range(given.rounds)]
    result = {"import_seconds": statistics.median(imports)}
    result |= {key: statistics.median(item[key] for item in windows) for key in windows[0]}
    print(json.dumps(result, indent=2))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
