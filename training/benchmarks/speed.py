"""Slices a second, and seconds from a scan to its mask, side by side in one run.

``python -m training.benchmarks.speed [--peer-python PYTHON] [--json FILE]``

Each contender is timed in turn, several rounds of all of them, so that a slow spell of the machine hits everyone; the
median and the spread of the rounds are printed. With a Python that has TensorFlow, Keras predicts with the seeds'
network as well, on the same batches of eight 256x256 slices.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import SEED_UNET
from napari_unet_seg.engine.device import NAMES, choose_device
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.errors import InputError
from training.benchmarks.machine import Precision, by_turns, matrix_rate, seconds, spread
from training.benchmarks.peer import keras_peer
from training.benchmarks.trainings import phantom_slices
from training.describe import network_gflop

BATCH = 8
SCAN_SLICES = 36
ROUND_SECONDS = 3.0
"""How long a peer predicts in a round."""


def measure(*, rounds: int, peer_python: Path | None, device: str = "cpu") -> dict[str, Any]:
    """Run all contenders, ``rounds`` times each.

    Raises
    ------
    InputError
        If the device is not there, or the peer cannot be started.
    """
    torch.manual_seed(0)
    choice = choose_device(device)
    precision: Precision = "bfloat16" if choice.precision == torch.bfloat16 else "float32"
    seed_network = UNet(SEED_UNET).eval()
    ours = Segmenter(seed_network, Description(name="seed", network=SEED_UNET), device=device)
    plain = copy.deepcopy(seed_network).to(choice.device)
    batch = torch.rand(BATCH, 3, 256, 256).to(choice.device)
    channels_last = batch.to(choice.precision).contiguous(memory_format=torch.channels_last)
    # The whole frame is head, so that nothing is gained by cutting the air off.
    scan = make_phantom(slices=SCAN_SLICES, size=256)[0]
    default = load_model("default", device=device)

    @torch.inference_mode()
    def forward(network: Network, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network(x)
        return logits

    def click() -> np.ndarray:
        # A new volume each time: nothing of an earlier one is reused.
        fresh = Volume(data=scan.data, channel_names=scan.channel_names, spacing=scan.spacing)
        return default.mask(default.predict(fresh))

    def rate(count: int, function: Callable[[], object]) -> Callable[[], float]:
        return lambda: count / seconds(function, device=choice.device)

    contenders = {
        "seeds' network, ours": rate(BATCH, lambda: forward(ours._network, channels_last)),
        "seeds' network, plain PyTorch": rate(BATCH, lambda: forward(plain, batch)),
        f"default model, scan of {SCAN_SLICES} slices to mask": rate(SCAN_SLICES, click),
    }
    with ExitStack() as stack:
        if peer_python is not None:
            peer = keras_peer(
                peer_python,
                phantom_slices(BATCH, size=256),
                task="predict",
                network=SEED_UNET,
                batch=BATCH,
                precision="float32",
                threads=torch.get_num_threads(),
                stack=stack,
            )
            contenders["seeds' network, Keras on TensorFlow"] = lambda: peer.rate(ROUND_SECONDS)
        rates = by_turns(contenders, rounds=rounds)
    return {
        "device": choice.note,
        "cpu_threads": torch.get_num_threads(),
        "precision": precision,
        "matrix_gflops": round(matrix_rate(precision, device=choice.device), 1),
        "seed_gflop_per_slice": round(network_gflop(seed_network, size=(256, 256)), 2),
        "default_gflop_per_slice": round(network_gflop(default._plain, size=(256, 256)), 2),
        "slices_per_second": {name: spread(values) for name, values in rates.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help=f"{', '.join(NAMES)} or cuda:N (default: cpu)")
    parser.add_argument("--peer-python", type=Path, help="a Python with tensorflow, to predict with Keras' network")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    try:
        result = measure(rounds=given.rounds, peer_python=given.peer_python, device=given.device)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{result['device']}; {result['cpu_threads']} threads, {result['precision']}, "
        f"large matrix product {result['matrix_gflops']} GFLOP/s"
    )
    for name, rate in result["slices_per_second"].items():
        print(f"  {name}: {rate['median']:.2f} slices/s ({rate['min']:.2f} to {rate['max']:.2f})")
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
