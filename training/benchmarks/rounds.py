"""Many rounds of retraining in a row: ``python -m training.benchmarks.rounds [--rounds 50] [--seconds 3]``.

Each round runs in a child process, as in the window; with ``--in-process`` in this one, as on the command line. After
each, what this process holds is noted: memory, threads, open files and children. The last rounds are compared with the
first ones after a warm-up; exit status 1 if anything has grown.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.engine.events import RoundEvent, RoundFinished
from training.benchmarks.corrected_scan import own_models, write_corrected_scan
from training.benchmarks.this_machine import this_machine
from training.command_line import command, command_parser, report_file
from training.json_file import save_json

_LEAST = 5
"""Rounds, for the last ones to be compared with the first."""

MEMORY_MB = {False: 5.0, True: 60.0}
"""What memory may grow by, round in a child or in this process: the allocator keeps some of what torch has used."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What this process holds after a round."""

    memory_mb: float
    threads: int
    files: int
    """Open files and pipes; on Windows handles."""

    children: int
    """Zombies too."""


def held() -> Held:
    """What this process holds now."""
    gc.collect()
    process = psutil.Process()
    with process.oneshot():
        return Held(
            memory_mb=process.memory_info().rss / 2**20,
            threads=process.num_threads(),
            files=process.num_fds() if hasattr(process, "num_fds") else process.num_handles(),
            children=len(process.children(recursive=True)),
        )


def growth(holdings: Sequence[Held]) -> dict[str, float]:
    """By how much the last fifth of the rounds holds more than the second fifth, in the median; needs five rounds."""
    part = len(holdings) // 5
    early, late = holdings[part : 2 * part], holdings[-part:]
    return {
        name: statistics.median(getattr(each, name) for each in late)
        - statistics.median(getattr(each, name) for each in early)
        for name in ("memory_mb", "threads", "files", "children")
    }


def in_child(dataset: Dataset, *, seconds: float) -> Iterator[RoundEvent]:
    """A round as the window runs it."""
    from napari_unet_seg.engine.round_process import RoundRequest, run_round

    request = RoundRequest(
        dataset=dataset.root, name="benchmark", scope="scan", case=dataset.cases[0].case_id, seconds=seconds
    )
    return run_round(request, should_stop=lambda: False)


def in_process(dataset: Dataset, *, seconds: float) -> Iterator[RoundEvent]:
    """A round as the command line runs it."""
    from napari_unet_seg.engine.finetune import finetune_events

    return finetune_events(dataset, name="benchmark", scope="scan", case=dataset.cases[0].case_id, seconds=seconds)


def run(
    count: int,
    folder: Path,
    *,
    start: Callable[[Dataset], Iterator[RoundEvent]],
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run rounds on a phantom, one after the other.

    Parameters
    ----------
    count : int
        How many, at least five.
    folder : Path
        Where dataset and models are made.
    start : callable
        Begins a round.
    told : callable
        Given a line after each round.

    Returns
    -------
    dict
        ``rounds``: what was held after each, and its seconds; ``growth``, see `growth`.

    Raises
    ------
    ValueError
        If there are too few rounds to compare.
    """
    if count < _LEAST:
        raise ValueError(f"{_LEAST} rounds or more can be compared, got {count}")
    dataset = write_corrected_scan(folder / "data", slices=12, size=64)
    holdings, rounds = [], []
    with own_models(folder / "home"):
        for number in range(1, count + 1):
            began = time.perf_counter()
            with closing(start(dataset)) as events:
                finished = [event for event in events if isinstance(event, RoundFinished)]
            seconds = time.perf_counter() - began
            holdings.append(held())
            steps = finished[-1].report.steps
            rounds.append({"seconds": seconds, "steps": steps, **asdict(holdings[-1])})
            now = holdings[-1]
            told(
                f"{number}/{count}  {seconds:.1f} s, {steps} steps  {now.memory_mb:.1f} MB, {now.threads} threads, "
                f"{now.files} files, {now.children} children"
            )
    return {"rounds": rounds, "growth": growth(holdings)}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.rounds", __doc__)
    parser.add_argument("--rounds", type=int, default=50, help="rounds of retraining")
    parser.add_argument("--seconds", type=float, default=3.0, help="time budget of a round")
    parser.add_argument("--in-process", action="store_true", help="train in this process")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    if given.rounds < _LEAST:
        parser.error(f"--rounds must be at least {_LEAST}: the last ones are compared with the first")
    begin = in_process if given.in_process else in_child
    with tempfile.TemporaryDirectory(prefix="rounds-") as folder:
        result = run(
            given.rounds,
            Path(folder),
            start=lambda dataset: begin(dataset, seconds=given.seconds),
            told=lambda line: print(line, flush=True),
        )
    grown = result["growth"]
    print("grown by " + ", ".join(f"{value:.1f} {name}" for name, value in grown.items()))
    save_json(given.json, {"machine": this_machine(), **result})
    leaks = grown["memory_mb"] > MEMORY_MB[given.in_process] or any(
        grown[name] > 0 for name in ("threads", "files", "children")
    )
    return int(leaks)


if __name__ == "__main__":
    sys.exit(main())
