"""Seed 000: a U-Net of four levels with dropout, at 256 x 256."""

from __future__ import annotations

from dataclasses import replace

from napari_unet_seg.engine.config import SEED_UNET
from training.recipe import Recipe, SplitConfig
from training.recipes.keras_base import keras_base

NOTES = (
    "rate of Adam not named: Keras' default, 0.001",
    "rate and kind of the dropout not named: 0.1 of the channels, whole, in the two deepest levels",
    "shares of training and validation not named: 80 and 20%; there is no test",
    "smoothing of Dice and IoU not named: 1",
    "every scan of the dataset, tumour or not",
)


def recipe(*, name: str = "seed_000", size: int = 256) -> Recipe:
    """7,700,161 parameters, cross-entropy plus Dice, batches of 8, 20 epochs."""
    base = keras_base(name, size=size, notes=NOTES)
    return replace(
        base,
        network=replace(SEED_UNET, dropout=0.1),
        fit=replace(base.fit, batch_size=8, loss="bce+dice"),
        epochs=20,
        split=SplitConfig(kind="slices", train=0.8, validation=0.2, test=0.0),
        metric_smooth=1.0,
        reported={"validation": {"dice": 0.7409, "iou": 0.7097}},
    )
