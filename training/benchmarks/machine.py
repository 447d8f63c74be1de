"""What the benchmarks of speed share: timing by turns, and what the machine can do at best."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch

from napari_unet_seg.errors import InputError

Precision = Literal["float32", "bfloat16"]
"""Of a network's arithmetic."""


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(function: Callable[[], object], *, device: torch.device) -> float:
    """Wall-clock seconds of one call, its work on the device included."""
    synchronise(device)
    started = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - started


def rate(step: Callable[[], None], *, count: int, at_least: float, device: torch.device) -> float:
    """How many a second, of steps that do so many each.

    Parameters
    ----------
    step : callable
        Called until the time is over, once at least.
    count : int
        What one step does.
    at_least : float
        Seconds.
    device : torch.device
        Waited for at the beginning and at the end.
    """
    synchronise(device)
    started, done = time.perf_counter(), 0
    while not done or time.perf_counter() - started < at_least:
        step()
        done += count
    synchronise(device)
    return done / (time.perf_counter() - started)


def matrix_rate(precision: Precision, *, device: torch.device) -> float:
    """GFLOP/s of a large matrix product: the limit of what a convolution can reach.

    On CUDA, float32 means TensorFloat-32 where convolutions use that.
    """
    size, repeats = (8192, 10) if device.type == "cuda" else (2048, 1)
    matrix = torch.randn(size, size, device=device).to(getattr(torch, precision))

    def multiply() -> None:
        for _ in range(repeats):
            torch.matmul(matrix, matrix)

    with _as_convolutions(device):
        multiply()
        return 2 * repeats * size**3 / 1e9 / min(seconds(multiply, device=device) for _ in range(5))


@contextmanager
def _as_convolutions(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    # Matrix products keep to float32 by default, convolutions do not.
    former = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = former


def by_turns(
    contenders: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    told: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, list[float]]:
    """What each contender measured in every round; a slow spell of the machine hits all of them.

    Parameters
    ----------
    contenders : mapping of str to callable
        Each measures a rate. All are run once beforehand, which does not count.
    rounds : int
        How often each is run, in the mapping's order.
    told : callable
        Given a line for a contender that the machine's memory, or its own process, does not carry; it is left out.
    """
    able = {}
    for name, run in contenders.items():
        try:
            run()
        except (torch.OutOfMemoryError, InputError) as error:
            told(f"{name}: left out ({str(error).splitlines()[0]})")
        else:
            able[name] = run
    rates: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(rounds):
        for name, run in able.items():
            rates[name].append(run())
    return rates


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of some rounds."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
