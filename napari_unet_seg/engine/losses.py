"""Losses on logits, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from napari_unet_seg.engine.config import LossName

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(name: LossName, *, smooth: float = 1.0) -> Loss:
    """A loss of ``(logits, target)``, both ``(B, K, Y, X)``; it returns a scalar.

    Parameters
    ----------
    name : {"bce", "dice", "bce+dice"}
        Binary cross-entropy, soft Dice (Milletari et al. 2016; every pixel of the batch in one sum, so that
        slices without tumour count), or their sum.
    smooth : float
        Added to numerator and denominator of the Dice.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    # Imported here: it takes seconds, and the window must never load it.
    from monai.losses.dice import DiceLoss

    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=smooth, smooth_dr=smooth)
    losses: dict[str, Loss] = {
        "bce": functional.binary_cross_entropy_with_logits,
        "dice": dice,
        "bce+dice": lambda logits, y: functional.binary_cross_entropy_with_logits(logits, y) + dice(logits, y),
    }
    if name not in losses:
        raise ValueError(f"no loss {name!r}; there are {', '.join(losses)}")
    return losses[name]
