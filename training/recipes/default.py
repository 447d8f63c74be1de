"""The shipped model."""

from __future__ import annotations

from napari_unet_seg.engine.config import DEFAULT_UNET, FitConfig
from training.recipe import Recipe


def recipe() -> Recipe:
    """A light U-Net that sees a slice and its two neighbours.

    Most steps run at half resolution, four times as fast; the last ones bring the borders to full resolution.
    """
    return Recipe(
        name="default",
        network=DEFAULT_UNET,
        fit=FitConfig(steps=2400, coarse_fraction=0.75, learning_rate=3e-3),
        min_fraction=0.25,
        licence=(
            "CC BY-NC-SA 4.0, as the training data: non-commercial research use. Images: TCGA-LGG, The Cancer Imaging "
            "Archive (Pedano et al. 2016, doi:10.7937/K9/TCIA.2016.L4LTD3TK); masks: Buda, Saha, Mazurowski 2019, "
            "doi:10.1016/j.compbiomed.2019.05.002"
        ),
    )
