"""What a recipe's network costs, and everything that decides a training."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.unet import count_parameters
from training.recipe import Recipe

_UNRESIZED = (256, 256)
"""Height and width of a slice of the LGG dataset."""


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, cost of a slice, and the whole configuration, fit for JSON.

    Parameters
    ----------
    recipe : Recipe
        What is to be described.

    Returns
    -------
    dict
        ``parameters`` (trainable), ``gflop_per_slice`` (forward, at the size that slices are resized to or else at
        256 x 256; a multiplication with its addition counts 2), and every field of the recipe.

    Raises
    ------
    InputError
        If the network cannot be built here, see `build_network`.
    """
    # On no device: shapes alone are counted.
    with torch.device("meta"):
        network = build_network(recipe.network).eval()
    # Some libraries put a weight on the CPU all the same.
    gflop = network_gflop(network.to("meta"), size=recipe.resize or _UNRESIZED)
    return {
        "parameters": count_parameters(network),
        "gflop_per_slice": round(gflop, 3),
        **dataclasses.asdict(recipe),
    }


def network_gflop(network: nn.Module, *, size: tuple[int, int], channels: int | None = None) -> float:
    """GFLOP of a forward pass of one slice; a multiplication with its addition counts 2.

    Parameters
    ----------
    network : nn.Module
        On whatever device, the one without memory ("meta") too.
    size : (int, int)
        Height and width of the slice.
    channels : int, optional
        Of the slice; a `Network` knows its own.
    """
    if channels is None:
        assert isinstance(network, Network)
        channels = network.config.input_channels
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, channels, *size, device=device))
    return float(counter.get_total_flops() / 1e9)
