"""The network that a training begins with, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.checkpoint import file_hash, load_checkpoint
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.errors import InputError
from training.recipe import Recipe
from training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """What a training begins with."""

    network: Network
    parent: str | None
    """Hash of the checkpoint that it was loaded from; None for a new network."""

    licence: str
    """Of the data that will have taught it."""

    cases_before: list[str]
    """What it has learned from already."""


def starting_point(recipe: Recipe, slices: TrainingData, *, initial: Path | None) -> StartingPoint:
    """A new network of a recipe, or one that goes on from a checkpoint.

    Parameters
    ----------
    recipe : Recipe
    slices : TrainingData
        What it will learn from.
    initial : Path, optional
        A checkpoint to start from.

    Raises
    ------
    InputError
        If the checkpoint cannot be read, has another network, or has seen patients that are held out.
    """
    torch.manual_seed(recipe.fit.seed)
    licence = recipe.licence if any(name.startswith(recipe.licensed_prefix) for name in slices.cases) else ""
    if initial is None:
        network = build_network(recipe.network)
        if recipe.prior is not None:
            assert isinstance(network, UNet)
            network.set_prior(recipe.prior)
        return StartingPoint(network=network, parent=None, licence=licence, cases_before=[])
    loaded, description = load_checkpoint(initial)
    if description.network != recipe.network:
        raise InputError(f"its network is another one than that of the recipe {recipe.name}", path=initial)
    seen = description.trained_patients
    if overlap := [case_id for case_id in slices.held_out if patient_of(case_id) in seen]:
        raise InputError(f"it was trained on {len(overlap)} of the cases held out, or their patients", path=initial)
    loaded.train()
    licences = dict.fromkeys(one for one in (licence, description.licence) if one)
    return StartingPoint(
        network=loaded,
        parent=file_hash(initial),
        licence="; ".join(licences),
        cases_before=description.learned_cases,
    )
