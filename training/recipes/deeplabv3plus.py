"""The DeepLabV3+ that one of the published projects names as its next step."""

from __future__ import annotations

from dataclasses import replace

from napari_unet_seg.engine.config import UNetConfig
from training.recipe import Recipe
from training.recipes import default


def recipe() -> Recipe:
    """A ResNet-34 without pretraining as its encoder, trained as the shipped model."""
    network = UNetConfig(architecture="deeplabv3plus", context=1)
    return replace(default.recipe(), name="deeplabv3plus", prior=None, network=network)
