"""What a recipe is."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_unet_seg.engine.config import FitConfig, UNetConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network and how it is trained."""

    name: str
    network: UNetConfig
    fit: FitConfig
    channel_names: tuple[str, ...] = ("pre", "flair", "post")
    min_voxels: int = 0
    """Connected components smaller than this are left out of a predicted mask."""

    largest_component: bool = False
    """Keep only the largest connected piece of a predicted mask."""

    flip: bool = False
    """Predict the mean over a slice and its mirror image."""

    licence: str = ""
    """Licence of the data, which the weights carry on."""

    citations: tuple[str, ...] = field(default=())
