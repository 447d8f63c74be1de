"""Every network by its configuration: ours, and those of other libraries, which are loaded when asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.errors import InputError


class ForeignNetwork(Network):
    """Another library's network, for slices of any size.

    Parameters
    ----------
    config : UNetConfig
        What it was built from.
    body : nn.Module
        ``(B, input_channels, Y, X)`` to logits ``(B, classes, Y, X)``, where Y and X are multiples of
        ``config.multiple``.
    """

    def __init__(self, config: UNetConfig, body: nn.Module) -> None:
        super().__init__(config)
        self.body = body

    def logits(self, x: Tensor) -> Tensor:
        """See `Network.logits`."""
        logits: Tensor = self.body(x)
        return logits


def build_network(config: UNetConfig) -> Network:
    """A network with fresh weights, in training mode.

    Parameters
    ----------
    config : UNetConfig
        What decides its shape.

    Raises
    ------
    InputError
        If the network's library is not installed, or must not be loaded in this process: beside napari's window that
        ends the process on some machines.
    """
    if config.architecture == "unet":
        return UNet(config)
    if has_window():
        raise InputError(
            f"its network ({config.architecture}) does not run beside napari's window; use the command line: "
            "napari-unet-seg predict DATA --output FOLDER --model MODEL"
        )
    build = {"attention-unet": _attention_unet, "deeplabv3plus": _deeplabv3plus}[config.architecture]
    return ForeignNetwork(config, build(config))


def has_window() -> bool:
    """Whether napari's window is, or can be, in this process: ``import napari`` alone does not load its Qt code."""
    return "napari._qt" in sys.modules


def _attention_unet(config: UNetConfig) -> nn.Module:
    from monai.networks.nets.attentionunet import AttentionUnet

    network: nn.Module = AttentionUnet(
        spatial_dims=2,
        in_channels=config.input_channels,
        out_channels=config.classes,
        channels=config.features,
        strides=(2,) * (len(config.features) - 1),
        dropout=config.dropout,
    )
    return network


def _deeplabv3plus(config: UNetConfig) -> nn.Module:
    network: nn.Module = _deeplabv3plus_class()(
        encoder_name="resnet34", encoder_weights=None, in_channels=config.input_channels, classes=config.classes
    )
    return network


def _deeplabv3plus_class() -> Callable[..., Any]:
    """The class, from a library that is not among the requirements."""
    try:
        library = _segmentation_models()
    except ModuleNotFoundError as error:
        raise InputError(
            f"DeepLabV3+ needs segmentation-models-pytorch ({error.name} is not installed): "
            'pip install "napari-unet-seg[deeplab]"'
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        raise InputError(
            "DeepLabV3+ needs the torchvision that belongs to the installed torch; install both in one step, as "
            f"pytorch.org/get-started/locally says ({str(error).splitlines()[0]})"
        ) from error
    deeplab: Callable[..., Any] = library.DeepLabV3Plus
    return deeplab


def _segmentation_models() -> Any:
    # By name: it is not there where types are checked.
    name = "segmentation_models_pytorch"
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    # PyPI's torchvision is made for CUDA; beside a torch without, its operators cannot be loaded. No network here uses
    # one, but it cannot be imported before these are known.
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module(name)
