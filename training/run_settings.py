"""What a run was told, and found: enough to repeat it, and what its checkpoints say of it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import napari_unet_seg
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.fit import uses_bfloat16
from training.json_file import finite
from training.recipe import Recipe
from training.starting_point import StartingPoint
from training.training_data import TrainingData

_TOLD = (
    *("cases", "cases_before", "held_out", "data_fingerprint", "split_fingerprint", "patients_assumed"),
    *("versions", "device", "processes"),
)
"""Settings that a checkpoint says of its training."""


def run_settings(
    recipe: Recipe,
    slices: TrainingData,
    start: StartingPoint,
    *,
    given: Mapping[str, Path | str | int | None],
    device: torch.device,
    processes: int,
) -> dict[str, Any]:
    """The content of ``config.json``.

    Parameters
    ----------
    recipe : Recipe
        With the steps that its epochs come to.
    slices : TrainingData
    start : StartingPoint
    given : mapping
        What else the caller chose: where the data lie, for example.
    device : torch.device
    processes : int
        How many train together.
    """
    return {
        "recipe": dataclasses.asdict(recipe),
        "seed": recipe.fit.seed,
        **{name: str(value) if isinstance(value, Path) else value for name, value in given.items()},
        "parent": start.parent,
        "licence": start.licence,
        "cases": slices.cases,
        "cases_before": start.cases_before,
        "held_out": slices.held_out,
        "data_fingerprint": slices.fingerprint,
        "split_fingerprint": slices.split_fingerprint,
        "patients_assumed": slices.patients_assumed,
        "versions": {
            "napari_unet_seg": napari_unet_seg.__version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
        "device": str(device),
        "precision": "bfloat16" if uses_bfloat16(recipe.fit, device=device) else "float32",
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def run_description(
    recipe: Recipe, settings: Mapping[str, Any], *, step: int, seconds: float, scores: Mapping[str, float] | None
) -> Description:
    """The header of a checkpoint.

    Parameters
    ----------
    recipe : Recipe
    settings : mapping
        From `run_settings`.
    step : int
        Steps done.
    seconds : float
        What they took.
    scores : mapping, optional
        Of the validation.
    """
    return Description(
        name=recipe.name,
        network=recipe.network,
        channel_names=recipe.channel_names,
        min_fraction=recipe.min_fraction,
        largest_component=recipe.largest_component,
        flip=recipe.flip,
        normalisation=recipe.normalisation,
        resize=recipe.resize,
        input_size=recipe.fit.patch,
        training={
            "recipe": recipe.name,
            "epochs": recipe.epochs,
            "fit": dataclasses.asdict(recipe.fit),
            "split": dataclasses.asdict(recipe.split),
            **{key: settings[key] for key in _TOLD},
            "steps_done": step,
            "seconds": round(seconds, 1),
            **({"validation": finite(scores)} if scores is not None else {}),
        },
        parent=settings["parent"],
        licence=settings["licence"],
    )
