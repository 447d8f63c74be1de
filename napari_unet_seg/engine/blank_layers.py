"""Layers whose weights come from given random numbers: what operators are tried and timed on."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

_Layer = TypeVar("_Layer", nn.Conv2d, nn.ConvTranspose2d)


class BlankConvolution(nn.Conv2d):
    """One whose weights nobody has drawn: PyTorch would take them from the numbers that all threads share."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class BlankTransposed(nn.ConvTranspose2d):
    """As `BlankConvolution`."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


def drawn(layer: _Layer, numbers: torch.Generator) -> _Layer:
    """A blank layer with weights from these numbers."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.1, generator=numbers)
    return layer
