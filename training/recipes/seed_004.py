"""Seed 004: pictures with COCO outlines, split as their folders say."""

from __future__ import annotations

from dataclasses import replace

from training.recipe import Recipe, SplitConfig
from training.recipes.keras_base import keras_base

NOTES = (
    "number of epochs not named: 30",
    "loss named as cross-entropy or Dice, Dice also as a plan: cross-entropy",
    "rate of Adam not named: Keras' default, 0.001",
    "width of the network not named: that of seed 000",
    "smoothing of the Dice not named: 1",
    "a grey picture is taken for all three channels",
)


def recipe() -> Recipe:
    """Cross-entropy, batches of 10, no augmentation."""
    base = keras_base("seed_004", notes=NOTES)
    return replace(
        base,
        fit=replace(base.fit, batch_size=10, loss="bce"),
        epochs=30,
        split=SplitConfig(kind="given"),
        metric_smooth=1.0,
        licence="that of the pictures; the project names none",
        licensed_prefix="",
    )
