"""Prediction, side by side: ``python -m training.benchmarks.speed [--peer-python PYTHON] [--json FILE] [--curve]``.

The seeds' network on batches of eight 256x256 slices, and a scan of 36 slices to its mask by the shipped model. All
contenders take turns, several rounds, so that a slow spell of the machine hits everyone; the median and the spread of
the rounds are printed, and the share of what a large matrix product in that number format reached in the same rounds.
"Ours" is `Segmenter` as everyone calls it, from pixels to probabilities or to the mask; the others' seeds' networks are
given batches that are normalised already. What is not installed is left out, and named: ONNX Runtime, OpenVINO, MONAI;
and, without ``--peer-python``, Keras. ``--curve`` times the shipped model as slices, pixels and features grow, too.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.config import SEED_UNET, UNetConfig
from napari_unet_seg.engine.device import NAMES, choose_device
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from training.benchmarks import cost_curve
from training.benchmarks.machine import Precision, by_turns, matrix_rate, spread
from training.benchmarks.peer import keras_peer
from training.benchmarks.predictors import (
    BRAIN_SEGMENTATION_PYTORCH,
    Predictor,
    basic_unet,
    batch_alone,
    forward,
    onnx_runtime,
    openvino,
    scan_to_mask,
    slices_as_written,
)
from training.benchmarks.this_machine import this_machine
from training.benchmarks.trainings import phantom_slices
from training.command_line import command, command_parser, positive_int, report_file
from training.describe import network_gflop
from training.json_file import save_json

BATCH = 8
SCAN_SLICES = 36
SIZE = 256
ROUND_SECONDS = 3.0
_MATRIX = "large matrix product"
_SEED_TASK = "seeds' network"
IN_FLOAT32 = "ours, in float32"


def seed_predictors(
    network: UNetConfig, *, batch: int, size: int, device: str, compile_too: bool = False
) -> list[Predictor]:
    """The published projects' network on batches of slices.

    Raises
    ------
    InputError
        If the device is not there.
    """
    torch.manual_seed(0)
    built = build_network(network).eval()
    slices = phantom_slices(batch, size=size).volume
    # Resized to its own size: whole slices, as the others have them.
    described = Description(name="seed", network=network, normalisation="unit", resize=(size, size))
    ours = Segmenter(built, described, device=device)
    fastest = precision_of(device)
    inputs = torch.from_numpy(slices.data.swapaxes(0, 1) / 255).float()
    threads = torch.get_num_threads()
    ways: dict[str, Callable[[], Callable[[], object]]] = {
        "ours": lambda: scan_to_mask(ours, slices),
        "ours, the network alone on the whole batch": lambda: batch_alone(ours, inputs),
    }
    if fastest != "float32":
        plain = Segmenter(built, described, device=device, precision=torch.float32)
        ways[IN_FLOAT32] = lambda: scan_to_mask(plain, slices)
    as_written = "PyTorch as one writes it"
    ways[as_written] = lambda: forward(copy.deepcopy(built).to(ours.device), inputs.to(ours.device))
    if compile_too:
        ways["torch.compile, channels last"] = lambda: batch_alone(ours, inputs, compile_it=True)
    in_float32 = {IN_FLOAT32, as_written}
    if ours.device.type == "cpu":
        in_float32 |= {"ONNX Runtime", "OpenVINO"}
        ways["ONNX Runtime"] = lambda: onnx_runtime(copy.deepcopy(built), inputs, threads=threads)
        ways["OpenVINO"] = lambda: openvino(copy.deepcopy(built), inputs, threads=threads)

    def gflop() -> float:
        return network_gflop(copy.deepcopy(built).to("meta"), size=(size, size))

    return [
        Predictor(
            task=_SEED_TASK,
            by=by,
            slices=batch,
            gflop=gflop,
            precision="float32" if by in in_float32 else fastest,
            begin=begin,
        )
        for by, begin in ways.items()
    ]


def precision_of(device: str) -> Precision:
    """What `Segmenter` takes on a device.

    Raises
    ------
    InputError
        If the device is not there.
    """
    return "bfloat16" if choose_device(device).precision == torch.bfloat16 else "float32"


def scan_predictors(model: str, *, slices: int, size: int, device: str) -> list[Predictor]:
    """A scan to its mask: a model of ours, and networks as their makers give them, with random weights.

    Raises
    ------
    InputError
        If the device or the model is not there.
    """
    scan = make_phantom(slices=slices, size=size)[0]
    ours = load_model(model, device=device)
    config = ours.description.network
    task = f"scan of {slices} slices to mask"

    def as_written(name: str, build: Callable[[], torch.nn.Module]) -> Predictor:
        return Predictor(
            task=task,
            by=f"{name}, as written",
            slices=slices,
            gflop=lambda: network_gflop(build().to("meta").eval(), channels=3, size=(size, size)),
            begin=lambda: slices_as_written(build(), scan, batch=BATCH, device=ours.device),
        )

    def shipped(by: str, segmenter: Segmenter, precision: Precision) -> Predictor:
        return Predictor(
            task=task,
            by=by,
            slices=slices,
            gflop=lambda: network_gflop(build_network(config).to("meta").eval(), size=(size, size)),
            precision=precision,
            begin=lambda: scan_to_mask(segmenter, scan),
        )

    fastest = precision_of(device)
    all_ours = [shipped("ours, the shipped model", ours, fastest)]
    if fastest != "float32":
        in_float32 = Segmenter(*load_checkpoint(Registry().path(model)), device=device, precision=torch.float32)
        all_ours.append(shipped("ours, the shipped model, in float32", in_float32, "float32"))
    return [
        *all_ours,
        as_written("MONAI BasicUNet", basic_unet),
        as_written("brain-segmentation-pytorch's network", lambda: build_network(BRAIN_SEGMENTATION_PYTORCH)),
    ]


def measure(
    *,
    rounds: int,
    at_least: float = ROUND_SECONDS,
    device: str = "cpu",
    peer_python: Path | None = None,
    curve: bool = False,
    compile_too: bool = False,
    network: UNetConfig = SEED_UNET,
    model: str = "default",
    size: int = SIZE,
) -> dict[str, Any]:
    """Time all contenders.

    Parameters
    ----------
    rounds : int
        How often each is timed.
    at_least : float
        Seconds that a round lasts; a call that has begun is waited for.
    device : str
        As `choose_device` takes it.
    peer_python : Path, optional
        A Python with TensorFlow, to predict with Keras.
    curve : bool
        Time the model of ours as scans and network grow, too.
    compile_too : bool
        Have `torch.compile` take part.
    network : UNetConfig
        The seeds' one.
    model : str
        Ours, for scans.
    size : int
        Pixels a side of a slice.

    Returns
    -------
    dict
        ``machine``, ``precision``, ``rounds``, ``matrix_gflops``; ``predictions``: for each contender ``task``, ``by``,
        ``slices_per_second``, ``gflop`` of a slice, ``gflops`` and ``share`` of the matrix product's; and ``curve``.

    Raises
    ------
    InputError
        If the device is not there, or the peer cannot be started.
    """
    choice = choose_device(device)
    precisions: set[Precision] = {"float32", precision_of(device)}
    contenders = seed_predictors(network, batch=BATCH, size=size, device=device, compile_too=compile_too)
    contenders += scan_predictors(model, slices=SCAN_SLICES, size=size, device=device)
    runs: dict[str, Callable[[], float]] = {
        f"{_MATRIX} in {precision}": partial(matrix_rate, precision, device=choice.device) for precision in precisions
    }
    runs |= {each.name: each.timed(at_least=at_least, device=choice.device) for each in contenders}
    with ExitStack() as stack:
        if peer_python is not None:
            peer = keras_peer(
                peer_python,
                phantom_slices(BATCH, size=size),
                task="predict",
                network=network,
                batch=BATCH,
                precision="float32",
                threads=torch.get_num_threads(),
                stack=stack,
            )
            keras = Predictor(
                task=_SEED_TASK, by="Keras on TensorFlow", slices=BATCH, gflop=contenders[0].gflop, begin=lambda: peer
            )
            contenders.append(keras)
            runs[keras.name] = lambda: peer.rate(at_least)
        rates = by_turns(runs, rounds=rounds)
    limits = {precision: spread(rates[f"{_MATRIX} in {precision}"]) for precision in precisions}
    return {
        "machine": {"device": choice.note, "cpu_threads": torch.get_num_threads(), **this_machine()},
        "precision": precision_of(device),
        "rounds": rounds,
        "matrix_gflops": limits,
        "predictions": [
            _result(each, rates[each.name], limit=limits[each.precision]["median"])
            for each in contenders
            if each.name in rates
        ],
        "curve": cost_curve.measure(
            load_model(model, device="cpu").description.network,
            cost_curve.points(slices=SCAN_SLICES, size=size),
            rounds=rounds,
            device=device,
        )
        if curve
        else [],
    }


def _result(predictor: Predictor, rates: Sequence[float], *, limit: float) -> dict[str, Any]:
    slices_per_second, gflop = spread(rates), predictor.gflop()
    gflops = gflop * slices_per_second["median"]
    return {
        "task": predictor.task,
        "by": predictor.by,
        "slices": predictor.slices,
        "slices_per_second": slices_per_second,
        "precision": predictor.precision,
        "gflop": gflop,
        "gflops": gflops,
        "share": gflops / limit,
    }


def markdown(result: dict[str, Any]) -> str:
    """What `measure` found, as tables."""
    told, limits = result["machine"], result["matrix_gflops"]
    products = ", ".join(
        f"{limit['median']:.0f} GFLOP/s ({limit['min']:.0f} to {limit['max']:.0f}) in {precision}"
        for precision, limit in sorted(limits.items())
    )
    lines = [
        f"{told['device']}; {told['processor']}, {told['cpu_threads']} CPU threads, PyTorch {told['torch']}; "
        f"{result['rounds']} rounds; large matrix product: {products}",
        "",
        "| task | by | precision | slices/s | least to most | seconds | GFLOP a slice | of the matrix product |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for each in result["predictions"]:
        rate = each["slices_per_second"]
        lines.append(
            f"| {each['task']} | {each['by']} | {each['precision']} | {rate['median']:.2f} "
            f"| {rate['min']:.2f} to {rate['max']:.2f} | {each['slices'] / rate['median']:.2f} "
            f"| {each['gflop']:.1f} | {each['share']:.0%} |"
        )
    if result["curve"]:
        lines += ["", cost_curve.markdown(result["curve"], limit=limits[result["precision"]]["median"])]
    return "\n".join(lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.benchmarks.speed", __doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns in which all are timed one after the other")
    parser.add_argument("--seconds", type=float, default=ROUND_SECONDS, help="how long a round lasts, at least")
    parser.add_argument("--device", default="cpu", help=f"{', '.join(NAMES)} or cuda:N (default: cpu)")
    parser.add_argument("--threads", type=positive_int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--peer-python", type=Path, help="a Python with tensorflow, to predict with Keras' network")
    parser.add_argument("--curve", action="store_true", help="time growing scans and networks, too")
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be positive")
    if given.threads:
        torch.set_num_threads(given.threads)
    result = measure(
        rounds=given.rounds,
        at_least=given.seconds,
        device=given.device,
        peer_python=given.peer_python,
        curve=given.curve,
        compile_too=given.compile,
    )
    print(markdown(result))
    save_json(given.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
