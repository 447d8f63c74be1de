"""Slices a second that a training goes through: ``python -m training.benchmarks.throughput [--json FILE]``.

The whole loop is timed: batches out of slices held as bytes, augmentation, forward, loss (cross-entropy plus Dice),
backward, Adam. Seed 000's network, with the augmentation of seed 001, is trained by our own `fit`, by PyTorch as one
writes it and, with ``--peer-python``, by Keras on TensorFlow with its `ImageDataGenerator`, in a process of its own;
the shipped model's network by `fit`, with its own augmentation. All take turns, round by round. The last column is the
share of what a large matrix product reaches in that precision in the same rounds; a training step counts as three
forward passes.

Where the device computes in bfloat16, `fit` and Keras do so too. On a graphics card the slices lie on it, and batches
are of 8, 32 and 128. All but Keras share a process that keeps what it freed; see ``--default-allocator``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.engine.allocator import keep_freed_memory
from napari_unet_seg.engine.device import NAMES, choose_device
from napari_unet_seg.engine.fit import uses_bfloat16
from training.benchmarks.contenders import Contender, keras, ours, plain
from training.benchmarks.machine import Precision, by_turns, matrix_rate, spread
from training.benchmarks.this_machine import processor, this_machine
from training.benchmarks.trainings import phantom_slices
from training.command_line import command, command_parser, positive_int, report_file
from training.json_file import save_json
from training.recipe import Recipe
from training.recipes import RECIPES

FORWARD_AND_BACKWARD = 3
"""What a training step costs, in forward passes: the gradients of what goes in, and of the weights, cost one each."""

SLICES = 64
"""Trained on, or as many as the batch has."""


def measure(
    *,
    device: torch.device,
    batches: Sequence[int],
    rounds: int,
    seconds: float,
    peer_python: Path | None = None,
    published: Recipe | None = None,
    shipped: Recipe | None = None,
) -> dict[str, Any]:
    """Time all contenders.

    Parameters
    ----------
    device : torch.device
        Where all train but the peer, which chooses for itself.
    batches : sequence of int
        Slices of a step; the contenders with one batch take turns.
    rounds : int
        How often each is timed.
    seconds : float
        How long a round lasts; a step that has begun is waited for.
    peer_python : Path, optional
        A Python with TensorFlow and SciPy.
    published, shipped : Recipe, optional
        By default ``seed_000`` and ``default``.

    Returns
    -------
    dict
        ``machine``, ``rounds``, ``matrix_gflops`` by precision, and ``trainings``: the fields of each `Contender`,
        ``slices_per_second``, ``gflops`` and the ``share`` of the matrix product's.

    Raises
    ------
    InputError
        If the peer cannot be started.
    """
    published, shipped = published or RECIPES["seed_000"](), shipped or RECIPES["default"]()
    automatic = dataclasses.replace(shipped.fit, precision="auto")
    precisions: list[Precision] = ["float32"]
    if uses_bfloat16(automatic, device=device):
        precisions.append("bfloat16")
    products: dict[str, list[float]] = {precision: [] for precision in precisions}
    trainings: list[tuple[Contender, list[float]]] = []
    for batch in batches:
        slices = phantom_slices(max(batch, SLICES // batch * batch), size=published.fit.patch[0])
        with ExitStack() as stack:
            contenders = [plain(published, slices, batch=batch, device=device)]
            for precision in precisions:
                for recipe in (published, shipped):
                    contenders += ours(recipe, slices, batch=batch, precision=precision, device=device)
                if peer_python is not None:
                    contenders.append(
                        keras(
                            published,
                            slices,
                            batch=batch,
                            precision=precision,
                            python=peer_python,
                            threads=torch.get_num_threads(),
                            stack=stack,
                        )
                    )
            runs: dict[str, Callable[[], float]] = {
                precision: partial(matrix_rate, precision, device=device) for precision in precisions
            }
            runs |= {each.name: partial(each.run, seconds) for each in contenders}
            rates = by_turns(runs, rounds=rounds)
        for precision in precisions:
            products[precision] += rates[precision]
        trainings += [(each, rates[each.name]) for each in contenders if each.name in rates]
    limits = {precision: spread(values) for precision, values in products.items()}
    return {
        "machine": _machine(device),
        "rounds": rounds,
        "matrix_gflops": limits,
        "trainings": [_result(each, values, limit=limits[each.precision]["median"]) for each, values in trainings],
    }


def _result(contender: Contender, rates: Sequence[float], *, limit: float) -> dict[str, Any]:
    fields = {item.name: getattr(contender, item.name) for item in dataclasses.fields(contender) if item.name != "run"}
    slices_per_second = spread(rates)
    gflops = FORWARD_AND_BACKWARD * contender.gflop * slices_per_second["median"]
    return {**fields, "slices_per_second": slices_per_second, "gflops": gflops, "share": gflops / limit}


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"device": f"{device.type} ({name})", "cpu_threads": torch.get_num_threads(), **this_machine()}


def markdown(result: dict[str, Any]) -> str:
    """What `measure` found, as a table."""
    told = result["machine"]
    products = ", ".join(f"{rate['median']:.0f} GFLOP/s in {name}" for name, rate in result["matrix_gflops"].items())
    lines = [
        f"{told['device']}, {told['cpu_threads']} CPU threads, PyTorch {told['torch']}; {result['rounds']} rounds; "
        f"large matrix product: {products}",
        "",
        "| network | trained by | precision | batch | slices/s | least to most | GFLOP/s | of the matrix product |",
        "| --- | --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for each in result["trainings"]:
        rate = each["slices_per_second"]
        lines.append(
            f"| {each['recipe']}, {each['size'][0]} x {each['size'][1]} | {each['by']} | {each['precision']} "
            f"| {each['batch']} | {rate['median']:.2f} | {rate['min']:.2f} to {rate['max']:.2f} "
            f"| {each['gflops']:.0f} | {each['share']:.0%} |"
        )
    return "\n".join(lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.throughput", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns in which all are timed one after the other")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is timed in a round, at least")
    parser.add_argument("--batches", type=int, nargs="+", help="slices of a step (default: 8; CUDA: 8 32 128)")
    parser.add_argument("--device", default="auto", help=f"{', '.join(NAMES)} or cuda:N")
    parser.add_argument("--threads", type=positive_int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--peer-python", type=Path, help="a Python with tensorflow and scipy, to train Keras' network")
    parser.add_argument(
        "--default-allocator", action="store_true", help="leave the C library as it is, which `training.run` does not"
    )
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    if min(given.rounds, *(given.batches or [1])) < 1:
        parser.error("--rounds and --batches must be positive")
    if given.threads:
        torch.set_num_threads(given.threads)
    if not given.default_allocator:
        keep_freed_memory()
    device = choose_device(given.device).device
    result = measure(
        device=device,
        batches=given.batches or ([8, 32, 128] if device.type == "cuda" else [8]),
        rounds=given.rounds,
        seconds=given.seconds,
        peer_python=given.peer_python,
    )
    print(markdown(result))
    save_json(given.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
