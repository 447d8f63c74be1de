"""Small models for the tests."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_unet_seg.engine.checkpoint import Description, save_checkpoint
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.unet import UNet

SMALL = UNetConfig(context=1, features=(4, 8), convolutions=(1, 1))


def small_network(config: UNetConfig = SMALL, *, seed: int = 0) -> UNet:
    """A network with random weights, and batch statistics unlike those it is born with."""
    torch.manual_seed(seed)
    network = UNet(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def save_small(path: Path, *, seed: int = 0, config: UNetConfig = SMALL) -> Path:
    """A checkpoint file of `small_network`."""
    classes = ("tumour",) if config.classes == 1 else tuple(f"class {k}" for k in range(config.classes))
    names = ("pre", "flair", "post") if config.in_channels == 3 else tuple(f"c{k}" for k in range(config.in_channels))
    description = Description(name=path.stem, network=config, class_names=classes, channel_names=names)
    save_checkpoint(path, small_network(config, seed=seed), description)
    return path
