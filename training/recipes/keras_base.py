"""What the published Keras projects have in common."""

from __future__ import annotations

from napari_unet_seg.engine.config import SEED_UNET, FitConfig
from training.recipe import Recipe, SplitConfig
from training.recipes.lgg import LICENCE, PREFIX

SHARED_NOTES = (
    "PyTorch's initial weights and batch normalisation (momentum 0.1, epsilon 1e-5) in place of Keras' "
    "(Glorot; 0.01 in PyTorch's terms, 1e-3)",
    "the epoch with the lowest validation loss is scored, whether or not the project names such a callback",
)


def keras_base(name: str, *, size: int = 256, notes: tuple[str, ...] = ()) -> Recipe:
    """A U-Net on whole square slices with intensities in 0..1, trained by Adam in shuffled passes over all slices.

    Everything that a recipe does not edit is as Keras has it by default: a constant rate of 0.001, full precision, no
    cut of long gradients, the weights of the step itself and no average of them.

    Parameters
    ----------
    name : str
        Of the recipe.
    size : int
        Height and width in pixels that every slice is resized to.
    notes : tuple of str
        What this project leaves open, beside what all do.
    """
    return Recipe(
        name=name,
        network=SEED_UNET,
        fit=FitConfig(
            batch_size=32,
            optimiser="adam",
            learning_rate=1e-3,
            schedule="constant",
            clip_norm=None,
            sampling="epochs",
            precision="float32",
            ema_decay=0.0,
            patch=(size, size),
            augment=None,
        ),
        normalisation="unit",
        resize=(size, size),
        split=SplitConfig(kind="slices", train=0.8, validation=0.1, test=0.1),
        licence=LICENCE,
        licensed_prefix=PREFIX,
        notes=(*notes, *SHARED_NOTES),
    )
