"""The shipped model."""

from __future__ import annotations

from napari_unet_seg.engine.config import DEFAULT_UNET, FitConfig
from training.recipe import Recipe, SplitConfig
from training.recipes.lgg import LICENCE, PREFIX


def recipe() -> Recipe:
    """A light U-Net that sees a slice and its two neighbours.

    Most steps run at half resolution, four times as fast; the last ones bring the borders to full resolution.
    """
    return Recipe(
        name="default",
        network=DEFAULT_UNET,
        fit=FitConfig(steps=2400, coarse_fraction=0.75, learning_rate=3e-3),
        min_fraction=0.25,
        # About what patches have of tumour.
        prior=0.018,
        split=SplitConfig(kind="patients", train=1.0, validation=0.0, test=0.0),
        licence=LICENCE,
        licensed_prefix=PREFIX,
    )
