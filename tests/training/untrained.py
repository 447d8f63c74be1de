"""Checkpoints with random weights that say what they were trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from tests.engine.models import save_small
from training.recipe import Recipe
from training.split import make_split, split_fingerprint
from training.training_data import data_fingerprint


def untrained(path: Path, recipe: Recipe, *, data: Path) -> Path:
    """What `training.train` would write of a recipe, with weights that have learned nothing."""
    dataset = open_dataset(data)
    split = make_split(recipe.split, dataset)
    used = {*split.by_case("train"), *split.by_case("validation")}
    training = {
        "recipe": recipe.name,
        "epochs": recipe.epochs,
        "fit": dataclasses.asdict(recipe.fit),
        "cases": sorted(used),
        "held_out": sorted(set(split.by_case("test")) - used),
        "data_fingerprint": data_fingerprint((case for case in dataset if case.case_id in used), recipe),
        "split_fingerprint": split_fingerprint(split),
    }
    network, description = load_checkpoint(save_small(path, seed=len(recipe.name)))
    described = dataclasses.replace(description, channel_names=recipe.channel_names, training=training)
    save_checkpoint(path, network, described)
    return path
