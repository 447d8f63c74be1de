"""Who takes part in `training.benchmarks.speed`, and what each is given."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import InputError
from training import export_onnx
from training.benchmarks.machine import Precision, rate

BRAIN_SEGMENTATION_PYTORCH = UNetConfig(features=(32, 64, 128, 256, 512), convolutions=(2,) * 5)
"""The shape of the network of the project of that name: 32 features at first, 7.8 million parameters."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """One way to predict one thing."""

    task: str
    by: str
    """What predicts."""

    slices: int
    """In a call."""

    gflop: Callable[[], float]
    """Forward pass of one whole slice; asked once it has run."""

    precision: Precision = "float32"
    """Of the network's arithmetic."""

    begin: Callable[[], Callable[[], object]]
    """Gets it ready, and gives the call that is timed; `InputError` where what it needs is missing."""

    @property
    def name(self) -> str:
        """For people, and unlike any other's."""
        return f"{self.task}: {self.by}"

    def timed(self, *, at_least: float, device: torch.device) -> Callable[[], float]:
        """A round that lasts so many seconds at least, to slices a second; it is got ready in the first."""
        ready: list[Callable[[], object]] = []

        def run() -> float:
            if not ready:
                ready.append(self.begin())
            return rate(ready[0], count=self.slices, at_least=at_least, device=device)

        return run


def scan_to_mask(segmenter: Segmenter, volume: Volume) -> Callable[[], object]:
    """`Segmenter` from a scan to its mask, all of it: each call sees an object that nobody has seen before."""
    return lambda: segmenter.mask(segmenter.predict(replace(volume)))


def batch_alone(segmenter: Segmenter, batch: Tensor, *, compile_it: bool = False) -> Callable[[], object]:
    """`Segmenter`'s network on a batch that lies where and as it wants it; `torch.compile` works on the first call."""
    there = batch.to(segmenter.device, segmenter._precision).contiguous(memory_format=torch.channels_last)
    network = segmenter._network
    return forward(torch.compile(network, dynamic=False) if compile_it else network, there)


def forward(network: nn.Module, batch: Tensor) -> Callable[[], object]:
    """A network on a batch."""

    @torch.inference_mode()
    def run() -> Tensor:
        logits: Tensor = network(batch)
        return logits

    return run


def slices_as_written(network: nn.Module, volume: Volume, *, batch: int, device: torch.device) -> Callable[[], object]:
    """A scan to its mask as one writes it: each sequence to mean 0 and deviation 1, batch by batch, a threshold."""
    network = network.to(device).eval()

    @torch.inference_mode()
    def run() -> np.ndarray:
        pixels = volume.data.astype(np.float32)
        mean, deviation = pixels.mean(axis=(1, 2, 3), keepdims=True), pixels.std(axis=(1, 2, 3), keepdims=True)
        slices = torch.from_numpy(((pixels - mean) / deviation).swapaxes(0, 1).copy())
        found = [network(part.to(device)).sigmoid().cpu() for part in slices.split(batch)]
        return (torch.cat(found).numpy() > 0.5).astype(np.uint8)

    return run


def basic_unet() -> nn.Module:
    """MONAI's BasicUNet for three sequences and one class, with its own defaults for all else.

    Raises
    ------
    InputError
        If MONAI is missing.
    """
    network: nn.Module = _need("monai.networks.nets.basic_unet", "monai").BasicUNet(
        spatial_dims=2, in_channels=3, out_channels=1
    )
    return network.eval()


def onnx_runtime(network: Network, batch: Tensor, *, threads: int) -> Callable[[], object]:
    """ONNX Runtime on the CPU.

    Raises
    ------
    InputError
        If it is missing, or what writes ONNX is.
    """
    onnxruntime = _need("onnxruntime")
    with ExitStack() as stack:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(_exported(network, stack), options, providers=["CPUExecutionProvider"])
    slices = batch.numpy()
    return lambda: session.run(None, {export_onnx.SLICES: slices})


def openvino(network: Network, batch: Tensor, *, threads: int) -> Callable[[], object]:
    """OpenVINO on the CPU in float32, tuned for throughput: slices side by side.

    Raises
    ------
    InputError
        If it is missing, or what writes ONNX is.
    """
    library = _need("openvino")
    model = openvino_model(network, batch.shape, threads=threads)
    slices = batch.numpy()

    def run() -> None:
        # What it says is left where it is: a callback that took it would be waited for by whoever lets the model go.
        queue = library.AsyncInferQueue(model)
        for one in slices:
            queue.start_async({0: one[None]})
        queue.wait_all()

    return run


def openvino_model(network: Network, shape: Sequence[int], *, threads: int) -> Any:
    """A network compiled by OpenVINO for the slices of a batch of that shape, one at a time.

    Raises
    ------
    InputError
        If it is missing, or what writes ONNX is.
    """
    library = _need("openvino")
    with ExitStack() as stack:
        model = library.Core().read_model(str(_exported(network, stack)))
        model.reshape([1, *shape[1:]])
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        return library.compile_model(model, "CPU", {**settings, "INFERENCE_NUM_THREADS": threads})


def _exported(network: Network, stack: ExitStack) -> Path:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speed-"))) / "network.onnx"
    export_onnx.export(network, Description(name="benchmark", network=network.config), path)
    return path


def _need(module: str, package: str | None = None) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{package or module} is not installed") from error
