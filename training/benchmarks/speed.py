"""Slices a second, and seconds from a scan to its mask, side by side in one run.

``python -m training.benchmarks.speed [--peer "python keras_unet.py"] [--json FILE]``

Each contender is timed in turn, several rounds of all of them, so that a slow spell of the machine hits everyone; the
median and the spread of the rounds are printed. A peer is any command that prints a line with ``predict`` and
``N slices/s`` for the seeds' network on batches of eight 256x256 slices.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import SEED_UNET
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.engine.unet import UNet

BATCH = 8
SCAN_SLICES = 36


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def peer_rate(command: str) -> float:
    """Slices a second that a peer's command prints."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    found = re.search(r"predict\D*([0-9.]+) slices/s", done.stdout)
    if found is None:
        raise SystemExit(f"the peer printed no rate: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
    return float(found[1])


def matrix_rate(precision: torch.dtype) -> float:
    """GFLOP/s of a large matrix product on the CPU: the limit of what a convolution can reach."""
    matrix = torch.randn(2048, 2048).to(precision)
    matrix @ matrix
    return float(2 * 2048**3 / 1e9 / min(seconds(lambda: matrix @ matrix) for _ in range(5)))


def network_gflop(network: UNet) -> float:
    """GFLOP of a forward pass of one 256x256 slice."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, network.config.input_channels, 256, 256))
    return float(counter.get_total_flops() / 1e9)


def measure(*, rounds: int, peer: str | None) -> dict[str, Any]:
    """Run all contenders, ``rounds`` times each."""
    torch.manual_seed(0)
    choice = choose_device("cpu")
    seed_network = UNet(SEED_UNET).eval()
    ours = Segmenter(seed_network, Description(name="seed", network=SEED_UNET), device="cpu")
    batch = torch.rand(BATCH, 3, 256, 256)
    channels_last = batch.to(choice.precision).contiguous(memory_format=torch.channels_last)
    # The whole frame is head, so that nothing is gained by cutting the air off.
    scan = make_phantom(slices=SCAN_SLICES, size=256)[0]
    default = load_model("default", device="cpu")

    @torch.inference_mode()
    def forward(network: UNet, x: torch.Tensor) -> torch.Tensor:
        return network(x)

    def click() -> np.ndarray:
        # A new volume each time: nothing of an earlier one is reused.
        fresh = Volume(data=scan.data, channel_names=scan.channel_names, spacing=scan.spacing)
        return default.mask(default.predict(fresh))

    contenders: dict[str, Callable[[], float]] = {
        "seeds' network, ours": lambda: BATCH / seconds(lambda: forward(ours._network, channels_last)),
        "seeds' network, plain PyTorch": lambda: BATCH / seconds(lambda: forward(seed_network, batch)),
        f"default model, scan of {SCAN_SLICES} slices to mask": lambda: SCAN_SLICES / seconds(click),
    }
    if peer is not None:
        contenders["seeds' network, peer"] = lambda: peer_rate(peer)
    for run in contenders.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            rates[name].append(run())
    return {
        "cpu_threads": torch.get_num_threads(),
        "precision": str(choice.precision).removeprefix("torch."),
        "matrix_gflops": round(matrix_rate(choice.precision), 1),
        "seed_gflop_per_slice": round(network_gflop(seed_network), 2),
        "default_gflop_per_slice": round(network_gflop(default._plain), 2),
        "slices_per_second": {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for name, values in rates.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", help="a command that times the seeds' network in another framework")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    result = measure(rounds=given.rounds, peer=given.peer)
    print(
        f"{result['cpu_threads']} threads, {result['precision']}, "
        f"large matrix product {result['matrix_gflops']} GFLOP/s"
    )
    for name, rate in result["slices_per_second"].items():
        print(f"  {name}: {rate['median']:.2f} slices/s ({rate['min']:.2f} to {rate['max']:.2f})")
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
