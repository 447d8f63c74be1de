"""The attention U-Net that two of the published projects name as their next step."""

from __future__ import annotations

from dataclasses import replace

from napari_unet_seg.engine.config import UNetConfig
from training.recipe import Recipe
from training.recipes import default


def recipe() -> Recipe:
    """MONAI's network with half the width of the published projects', trained as the shipped model."""
    return replace(
        default.recipe(),
        name="attention_unet",
        prior=None,
        network=UNetConfig(
            architecture="attention-unet",
            context=1,
            features=(32, 64, 128, 256),
            convolutions=(2, 2, 2, 2),
            dropout=0.1,
        ),
    )
