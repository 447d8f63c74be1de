"""What a recipe's network costs, and everything that decides a training."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

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
        slices = torch.zeros(1, recipe.network.input_channels, *(recipe.resize or _UNRESIZED))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(slices)
    return {
        "parameters": count_parameters(network),
        "gflop_per_slice": round(counter.get_total_flops() / 1e9, 3),
        **dataclasses.asdict(recipe),
    }
