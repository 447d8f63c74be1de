"""Memory and time of large scans: ``python -m training.benchmarks.large_scan [--slices 75 150 300] [--limit 2]``.

For each number of slices, a child process makes a scan of three sequences, loads the model, and predicts one slice;
what it holds then counts as idle. It goes on to the mask of the whole scan. Printed are the most that it has held above
that, and the seconds, with what a slice takes of a core; exit status 1 where a scan took more than the limit in GiB.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
import psutil

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.segmenter import load_model
from training.benchmarks.memory import peak_memory
from training.benchmarks.this_machine import this_machine
from training.command_line import command, command_parser, report_file
from training.json_file import save_json
from training.memory_limit import GIB

_HEAD = 8
"""Slices of the head that is repeated: making a large one takes more memory than segmenting it."""


def large_scan(*, slices: int, size: int, dtype: str) -> Volume:
    """A head again and again, its pixels as large as the model's own: nothing is resized."""
    head = make_phantom(slices=_HEAD, size=size)[0]
    data = np.empty((3, slices, size, size), dtype)
    for z in range(slices):
        data[:, z] = head.data[:, z % _HEAD]
    return Volume(data=data, channel_names=head.channel_names, spacing=head.spacing)


def segment_once(output: Path, *, slices: int, size: int, dtype: str, model: str) -> None:
    """In the child: predict and take the mask; what is idle, and how long it took, go into a file."""
    volume = large_scan(slices=slices, size=size, dtype=dtype)
    segmenter = load_model(model, device="cpu")
    segmenter.predict(volume, slices=[0])
    idle = psutil.Process().memory_info().rss
    # As an object that was not seen before: looking it over counts.
    again = replace(volume)
    begun, busy = time.perf_counter(), time.process_time()
    segmenter.mask(segmenter.predict(again))
    told = {"idle": idle, "seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - busy}
    output.write_text(json.dumps(told))


def measure(*, slices: int, size: int, dtype: str = "uint8", model: str = "default") -> dict[str, Any]:
    """Segment one scan in a child process.

    Parameters
    ----------
    slices, size : int
        The scan is ``(3, slices, size, size)``.
    dtype : str
        Of its pixels.
    model : str
        A name, or a checkpoint.

    Returns
    -------
    dict
        ``slices``, ``size``, ``dtype``, ``scan_gib``, ``idle_gib`` (the scan included), ``over_idle_gib``, ``seconds``,
        ``cpu_seconds`` of all threads together.

    Raises
    ------
    subprocess.CalledProcessError
        If the child fails.
    """
    with tempfile.TemporaryDirectory(prefix="large-scan-") as temporary:
        output = Path(temporary) / "child.json"
        peak = peak_memory(
            [
                *(sys.executable, "-m", "training.benchmarks.large_scan", "--child", str(output)),
                *("--slices", str(slices), "--size", str(size), "--dtype", dtype, "--model", model),
            ]
        )
        told = json.loads(output.read_text())
    return {
        "slices": slices,
        "size": size,
        "dtype": dtype,
        "scan_gib": 3 * slices * size**2 * np.dtype(dtype).itemsize / GIB,
        "idle_gib": told["idle"] / GIB,
        "over_idle_gib": (peak - told["idle"]) / GIB,
        "seconds": told["seconds"],
        "cpu_seconds": told["cpu_seconds"],
    }


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.large_scan", __doc__)
    parser.add_argument("--slices", type=int, nargs="+", default=[75, 150, 300], help="of each scan")
    parser.add_argument("--size", type=int, default=512, help="pixels a side of a slice (default: %(default)s)")
    parser.add_argument(
        "--dtype",
        default="uint8",
        choices=["uint8", "int16", "uint16", "float32", "float64"],
        help="of the intensities",
    )
    parser.add_argument("--limit", type=float, default=2.0, help="GiB over idle (default: %(default)s)")
    parser.add_argument("--model", default="default", help="a model's name, or a .safetensors file")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if min(given.slices) < 1 or given.size < 16 or given.limit <= 0:
        parser.error("--slices and --limit must be positive, --size at least 16")
    found = []
    try:
        for slices in given.slices:
            options = {"size": given.size, "dtype": given.dtype, "model": given.model}
            if given.child is not None:
                segment_once(given.child, slices=slices, **options)
                continue
            each = measure(slices=slices, **options)
            print(
                f"{slices} slices of {given.size} x {given.size} ({each['scan_gib']:.2f} GiB): "
                f"{each['over_idle_gib']:.2f} GiB over {each['idle_gib']:.2f} idle; {each['seconds']:.1f} s, "
                f"{1000 * each['cpu_seconds'] / slices:.0f} ms of a core a slice",
                flush=True,
            )
            found.append(each)
    except CalledProcessError as error:
        # It has said why.
        return error.returncode
    save_json(given.json, {"machine": this_machine(), "limit_gib": given.limit, "scans": found})
    return int(any(each["over_idle_gib"] > given.limit for each in found))


if __name__ == "__main__":
    sys.exit(main())
