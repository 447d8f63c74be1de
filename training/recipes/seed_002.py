"""Seed 002: ten epochs with Dice loss, on nine tenths of the slices."""

from __future__ import annotations

from dataclasses import replace

from training.recipe import Recipe, SplitConfig
from training.recipes.keras_base import keras_base
from training.recipes.seed_001 import AUGMENT, AUGMENTED_MASKS, CLASSIC_UNET

NOTES = (
    "width of the network not named: the classic one, as in seed 001",
    "ranges of the augmentation not named, its kinds are: the ranges of seed 001",
    "smoothing of Dice and IoU not named: 100, as in seed 001; the loss smooths by 1",
    AUGMENTED_MASKS,
)


def recipe() -> Recipe:
    """Adam at 1e-4, batches of 32, 10 epochs; rotation, shift, zoom, shear and flip."""
    base = keras_base("seed_002", notes=NOTES)
    return replace(
        base,
        network=CLASSIC_UNET,
        fit=replace(base.fit, batch_size=32, learning_rate=1e-4, loss="dice", augment=AUGMENT),
        epochs=10,
        split=SplitConfig(kind="slices", train=0.9, validation=0.05, test=0.05),
        metric_smooth=100.0,
    )
