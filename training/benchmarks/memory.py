"""Memory of a training on more than fits: ``python -m training.benchmarks.memory --data FOLDER --times 10 --limit 4``.

The cases of a dataset in the layout of the public LGG data are repeated under other names, as links in a temporary
folder. A child process trains ``default`` on them for a few steps, and validates on a tenth of the patients; half of
the limit is what it may hold of the cases, the rest is for everything else. Printed is the most that it and its
children have held at any moment; exit status 1 above the limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts.kaggle import NAME, KaggleScan
from napari_unet_seg.errors import InputError
from training.benchmarks.this_machine import this_machine
from training.command_line import command, command_parser, report_file
from training.json_file import save_json
from training.memory_limit import GIB

_EVERY = 0.02
"""Seconds between two looks at the child."""


def repeat_cases(data: Path, folder: Path, *, times: int) -> Path:
    """A dataset of the same files under other names, as symbolic links; a folder a patient.

    Parameters
    ----------
    data : Path
        A folder with a folder a patient, a TIFF a slice.
    folder : Path
        Where the patients' folders are made.
    times : int
        How often each case is in it.

    Raises
    ------
    InputError
        If the data lies in another way.
    """
    dataset = open_dataset(data)
    if dataset.layout != NAME:
        raise InputError("needs a folder a patient with a TIFF a slice, as kaggle_3m has it", path=data)
    for case in dataset.cases:
        assert isinstance(case.scan, KaggleScan)
        for copy in range(times):
            # Not the public name, by which copies would be known for one patient.
            patient = f"copy{copy}_{case.case_id.replace('TCGA_', '')}"
            (folder / patient).mkdir(parents=True)
            for one in case.scan.slices:
                (folder / patient / f"{patient}_{one.number}.tif").symlink_to(one.image.resolve())
                if one.mask_name is not None:
                    (folder / patient / f"{patient}_{one.number}_mask.tif").symlink_to(one.mask.resolve())
    return folder


def train_briefly(data: Path, output: Path, *, steps: int, memory: int) -> None:
    """Some steps of ``default``, one epoch, validated on a tenth of the patients."""
    import torch

    from training.launch import default_threads
    from training.recipe import SplitConfig
    from training.recipes import RECIPES
    from training.train import train

    torch.set_num_threads(default_threads())
    recipe = RECIPES["default"]()
    recipe = dataclasses.replace(
        recipe,
        fit=dataclasses.replace(recipe.fit, steps=steps, steps_per_epoch=steps),
        split=SplitConfig(kind="patients", train=0.9, validation=0.1, test=0.0),
    )
    train(recipe, data=data, output=output, memory=memory)


def peak_memory(command: Sequence[str]) -> int:
    """The most that a process and its children hold at any moment, in bytes; its own peak is the system's count.

    What it reaches after the last look, a fiftieth of a second before its end on a quiet machine, is not seen.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    peak = 0
    with subprocess.Popen(command) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None:
            peak = max(peak, _held(process))
            time.sleep(_EVERY)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(command))
    return peak


def _held(process: psutil.Process) -> int:
    try:
        everyone = [process, *process.children(recursive=True)]
        together = sum(one.memory_info().rss for one in everyone)
    except psutil.Error:
        return 0
    return max(together, _high_water(process.pid))


def _high_water(pid: int) -> int:
    """What Linux counts as the most memory that a process has held: no peak before a look is missed."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) * 1024 for row in rows if row.startswith("VmHWM:")), 0)


def measure(data: Path, *, times: int, steps: int, memory: int) -> dict[str, float]:
    """Train on a dataset repeated, and say what it took.

    Parameters
    ----------
    data : Path
        See `repeat_cases`.
    times : int
        How often each case is in it.
    steps : int
        Of the training.
    memory : int
        Bytes of cases that it may hold.

    Returns
    -------
    dict
        ``slices``, ``data_gib`` as the cases would lie in memory, ``peak_gib`` and ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="memory-") as temporary:
        folder = repeat_cases(data, Path(temporary) / "data", times=times)
        shapes = [case.read_shape() for case in open_dataset(folder).cases]
        slices = sum(shape[0] for shape in shapes)
        height, width = (max(shape[axis] for shape in shapes) for axis in (1, 2))
        begun = time.monotonic()
        peak = peak_memory(
            [
                *(sys.executable, "-m", "training.benchmarks.memory", "--data", str(folder)),
                *("--child", str(Path(temporary) / "run"), "--steps", str(steps), "--memory", str(memory)),
            ]
        )
        seconds = time.monotonic() - begun
    # Three sequences and a mask, a byte each.
    return {
        "slices": slices,
        "data_gib": slices * height * width * 4 / GIB,
        "peak_gib": peak / GIB,
        "seconds": seconds,
    }


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.memory", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="a dataset as kaggle_3m is laid out")
    parser.add_argument("--times", type=int, default=10, help="how often each case is in it (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=4.0, help="GiB that may be held (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="steps of the training (default: %(default)s)")
    parser.add_argument("--json", type=report_file, help="write the figures there as well")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.times < 1 or given.steps < 1 or given.limit <= 0:
        parser.error("--times, --steps and --limit must be positive")
    try:
        if given.child is not None:
            train_briefly(given.data, given.child, steps=given.steps, memory=given.memory)
            return 0
        memory = int(given.limit * GIB / 2)
        found = measure(given.data, times=given.times, steps=given.steps, memory=memory)
    except subprocess.CalledProcessError as error:
        # It has said why.
        return error.returncode
    print(
        f"{found['slices']} slices, {found['data_gib']:.2f} GiB; held at most {found['peak_gib']:.2f} GiB "
        f"of {given.limit:g} allowed; {found['seconds']:.0f} s"
    )
    save_json(given.json, {"machine": this_machine(), "limit_gib": given.limit, **found})
    return int(found["peak_gib"] > given.limit)


if __name__ == "__main__":
    sys.exit(main())
