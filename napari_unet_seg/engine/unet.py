"""The U-Net, built from a description that fits in a checkpoint's header."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.config import Order, UNetConfig
from napari_unet_seg.engine.network import Network

_Network = TypeVar("_Network", bound=nn.Module)


def conv_block(in_channels: int, out_channels: int, *, convolutions: int, order: Order) -> nn.Sequential:
    """3x3 convolutions, each with its ReLU and batch normalisation in the given order."""
    layers: list[nn.Module] = []
    for index in range(convolutions):
        source = in_channels if index == 0 else out_channels
        # No bias: batch normalisation has one of its own; and where it comes after the ReLU, the published network of
        # that order, of 7,700,161 parameters, has none either.
        layers.append(nn.Conv2d(source, out_channels, kernel_size=3, padding=1, bias=False))
        norm, activation = nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        layers += [norm, activation] if order == "conv-norm-act" else [activation, norm]
    return nn.Sequential(*layers)


class UNet(Network):
    """U-Net of Ronneberger et al. 2015 with padded convolutions, for slices of any height and width.

    Parameters
    ----------
    config : UNetConfig
        Levels, features, order of normalisation and activation, channels and classes.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        features, convolutions = config.features, config.convolutions
        self.encoder = nn.ModuleList()
        channels = config.input_channels
        for width, count in zip(features, convolutions, strict=True):
            self.encoder.append(conv_block(channels, width, convolutions=count, order=config.order))
            channels = width
        self.pool: nn.Module = nn.MaxPool2d(2)
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for width, count in zip(features[-2::-1], convolutions[-2::-1], strict=True):
            self.up.append(nn.ConvTranspose2d(channels, width, kernel_size=2, stride=2))
            self.decoder.append(conv_block(2 * width, width, convolutions=count, order=config.order))
            channels = width
        self.dropout = nn.Dropout2d(config.dropout)
        self.head = nn.Conv2d(channels, config.classes, kernel_size=1)
        self.join: Callable[[Tensor, Tensor], Any] = _concatenated
        """Makes what a block of the decoder takes, of the upsampled features and those beside them."""

    def set_prior(self, prior: float) -> None:
        """Have an untrained network call each pixel foreground with this probability, not with one half.

        Where foreground is rare, the first hundreds of steps go into learning just that otherwise. Prior and bias as in
        Lin et al. 2017 (Focal loss for dense object detection, sections 3.3 and 4.1).

        Parameters
        ----------
        prior : float
            Between 0 and 1.
        """
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, math.log(prior / (1 - prior)))

    def logits(self, x: Tensor) -> Tensor:
        """See `Network.logits`."""
        skips: list[Tensor] = []
        deepest = len(self.encoder) - 1
        for level, block in enumerate(self.encoder):
            if level:
                x = self.pool(x)
            x = block(x)
            if level >= deepest - 1:
                x = self.dropout(x)
            if level < deepest:
                skips.append(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(self.join(up(x), skips.pop()))
        logits: Tensor = self.head(x)
        return logits


def _concatenated(upsampled: Tensor, skip: Tensor) -> Tensor:
    return torch.cat([upsampled, skip], dim=1)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def to_channels_last(network: _Network) -> _Network:
    """Lay the weights out channels last, in place: what convolutions on CPUs and tensor cores want."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
