"""What a prediction costs as the scan and the network grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.segmenter import Segmenter
from training.benchmarks.machine import by_turns, seconds, spread
from training.benchmarks.predictors import scan_to_mask
from training.describe import network_gflop


@dataclass(frozen=True, kw_only=True)
class Point:
    """One scan, and one width of the network."""

    grows: str
    slices: int
    size: int
    """Pixels a side."""

    width: float
    """Of every level of the network, against the model's."""


def points(*, slices: int, size: int) -> list[Point]:
    """Slices, pixels and features, each halved and doubled while the others stay."""
    factors = (0.5, 1, 2)
    return [
        *(Point(grows="slices", slices=int(slices * factor), size=size, width=1) for factor in factors),
        *(Point(grows="pixels", slices=slices, size=int(size * factor), width=1) for factor in factors),
        *(Point(grows="features", slices=slices, size=size, width=factor) for factor in factors),
    ]


def measure(network: UNetConfig, wanted: Sequence[Point], *, rounds: int, device: str) -> list[dict[str, Any]]:
    """Scan to mask at each point, by turns.

    Parameters
    ----------
    network : UNetConfig
        Of the model; the weights are fresh ones.
    wanted : sequence of Point
        Their scans fill the frame, so that no air is cut off.
    rounds : int
        How often each is timed.
    device : str
        As `Segmenter` takes it.

    Returns
    -------
    list of dict
        For each point its fields, ``seconds``, and ``gflop`` of all its slices.
    """
    runs: dict[str, Callable[[], float]] = {}
    gflop = []
    for number, point in enumerate(wanted):
        config = replace(network, features=tuple(max(1, round(width * point.width)) for width in network.features))
        # Resized to its own size: the whole slice is looked at.
        description = Description(name="cost", network=config, resize=(point.size, point.size))
        segmenter = Segmenter(build_network(config).eval(), description, device=device)
        run = scan_to_mask(segmenter, make_phantom(slices=point.slices, size=point.size)[0])
        runs[str(number)] = partial(seconds, run, device=segmenter.device)
        each = network_gflop(build_network(config).to("meta").eval(), size=(point.size, point.size))
        gflop.append(point.slices * each)
    times = by_turns(runs, rounds=rounds)
    return [
        {
            "grows": point.grows,
            "slices": point.slices,
            "size": point.size,
            "width": point.width,
            "gflop": gflop[number],
            "seconds": spread(times[str(number)]),
        }
        for number, point in enumerate(wanted)
        if str(number) in times
    ]


def markdown(curve: Sequence[dict[str, Any]], *, limit: float) -> str:
    """What `measure` found, as a table; `limit` is the matrix product's GFLOP/s."""
    lines = [
        "| grows | slices | pixels | features | scan to mask, s | least to most | GFLOP/s | of the matrix product |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for each in curve:
        time = each["seconds"]
        rate = each["gflop"] / time["median"]
        lines.append(
            f"| {each['grows']} | {each['slices']} | {each['size']} x {each['size']} | x {each['width']:g} "
            f"| {time['median']:.3g} | {time['min']:.3g} to {time['max']:.3g} | {rate:.0f} | {rate / limit:.0%} |"
        )
    return "\n".join(lines)
