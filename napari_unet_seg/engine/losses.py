"""Losses on logits, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet_seg.engine.config import LossName


class Loss(Protocol):
    """What `make_loss` gives."""

    def __call__(self, logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """A scalar, of ``(B, K, Y, X)`` twice and ``(B,)``."""


def weighted_bce_dice(logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy plus soft Dice, in which samples count more or less and targets may be probabilities.

    Parameters
    ----------
    logits, y : Tensor
        ``(B, 1, Y, X)``; targets in 0..1.
    weight : Tensor, optional
        ``(B,)``, not all 0; by default 1.

    Returns
    -------
    Tensor
        Scalar.
    """
    weight = torch.ones(len(y), device=y.device) if weight is None else weight
    each = weight[:, None, None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, y, reduction="none") * each
    probability = logits.sigmoid()
    overlap = 2 * (probability * y * each).sum()
    total = ((probability + y) * each).sum()
    # 1 added to both sides of the fraction, as in the other losses.
    return entropy.mean() / weight.mean() + 1 - (overlap + 1) / (total + 1)


def make_loss(name: LossName, *, smooth: float = 1.0) -> Loss:
    """A loss of ``(logits, target, weight)``, ``(B, K, Y, X)`` twice and ``(B,)``; it returns a scalar.

    Parameters
    ----------
    name : {"bce", "dice", "bce+dice", "weighted bce+dice"}
        Binary cross-entropy, soft Dice (Milletari et al. 2016; every pixel of the batch in one sum, so that
        slices without tumour count), or their sum. The last one alone heeds the weights of the samples.
    smooth : float
        Added to numerator and denominator of the Dice.

    Raises
    ------
    ValueError
        If there is no such loss.
    """
    if name == "weighted bce+dice":
        return weighted_bce_dice
    # Imported here: it takes seconds, which a round of retraining does not have, and the window must never load it.
    from monai.losses.dice import DiceLoss

    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=smooth, smooth_dr=smooth)
    entropy = functional.binary_cross_entropy_with_logits
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "bce": entropy,
        "dice": dice,
        "bce+dice": lambda logits, y: entropy(logits, y) + dice(logits, y),
    }
    if name not in losses:
        raise ValueError(f"no loss {name!r}; there are {', '.join(losses)}, weighted bce+dice")
    plain = losses[name]
    return lambda logits, y, weight=None: plain(logits, y)
