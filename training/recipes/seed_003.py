"""Seed 003: 128 x 128, with elastic deformation."""

from __future__ import annotations

from dataclasses import replace

from napari_unet_seg.engine.config import KerasAugmentConfig
from training.recipe import Recipe
from training.recipes.keras_base import keras_base

NOTES = (
    "slices are classed by their tumour pixels; what for is not named: equal numbers of both in an epoch",
    "number of epochs not named: 30",
    "rate of Adam not named: Keras' default, 0.001",
    "width of the network not named: that of seed 000",
    "ranges of the augmentation not named: rotation by 15 degrees, displacements of 4 pixels, a flip half of the time",
    "split not named beyond training, validation and test: slices, 80, 10 and 10%",
    "smoothing of the Dice not named: 1",
)


def recipe() -> Recipe:
    """Cross-entropy plus Dice, batches of 32, as many slices with tumour as without; rotation, flip, elastic."""
    base = keras_base("seed_003", size=128, notes=NOTES)
    return replace(
        base,
        fit=replace(
            base.fit,
            batch_size=32,
            loss="bce+dice",
            sampling="balanced epochs",
            augment=KerasAugmentConfig(rotation=15.0, flip=0.5, elastic=4.0),
        ),
        epochs=30,
        metric_smooth=1.0,
    )
