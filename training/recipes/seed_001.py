"""Seed 001: the classic U-Net with Dice loss and augmentation; the highest figures of the five."""

from __future__ import annotations

from dataclasses import replace

from napari_unet_seg.engine.config import SEED_UNET, KerasAugmentConfig, UNetConfig
from training.recipe import Recipe
from training.recipes.keras_base import keras_base

CLASSIC_UNET: UNetConfig = replace(SEED_UNET, features=(64, 128, 256, 512, 1024), convolutions=(2, 2, 2, 2, 2))
"""The five levels of Ronneberger et al. 2015, with the batch normalisation of the other projects."""

AUGMENT = KerasAugmentConfig(rotation=0.2, shift=0.05, shear=0.05, zoom=0.05, flip=0.5)

AUGMENTED_MASKS = "an augmented mask takes the nearest pixel; Keras interpolates, and the project cuts at one half"

NOTES = (
    "width of the network not named: that of Ronneberger et al. 2015, 64 to 1024, with batch normalisation",
    "patience of the early stop not named: 15 epochs, three times that of the rate",
    "the loss smooths by 1, not by 100 as the metric",
    "any lower validation loss counts as better for the rate; Keras asks for 0.0001",
    AUGMENTED_MASKS,
)


def recipe() -> Recipe:
    """Adam at 1e-4, batches of 32, 100 epochs; the rate halves after 5 flat epochs."""
    base = keras_base("seed_001", notes=NOTES)
    return replace(
        base,
        network=CLASSIC_UNET,
        fit=replace(
            base.fit,
            batch_size=32,
            learning_rate=1e-4,
            loss="dice",
            augment=AUGMENT,
            schedule="plateau",
            plateau_factor=0.5,
            plateau_patience=5,
            early_stopping=15,
        ),
        epochs=100,
        metric_smooth=100.0,
        reported={
            "train": {"dice": 0.9197, "iou": 0.8524, "accuracy": 0.9985},
            "validation": {"dice": 0.8915, "iou": 0.8059, "accuracy": 0.9979},
            "test": {"dice": 0.9225, "iou": 0.8570, "accuracy": 0.9980},
        },
    )
