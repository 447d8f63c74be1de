"""What a recipe is."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet_seg.engine.config import FitConfig, UNetConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network and how it is trained."""

    name: str
    network: UNetConfig
    fit: FitConfig
    channel_names: tuple[str, ...] = ("pre", "flair", "post")
    min_fraction: float = 0.0
    """Connected pieces smaller than this fraction of the largest one are left out of a mask."""

    largest_component: bool = False
    """Keep only the largest connected piece of a predicted mask."""

    flip: bool = False
    """Predict the mean over a slice and its mirror image."""

    licence: str = ""
    """Licence of the data, which the weights carry on."""
