"""The figures of the published Keras projects, as they compute them: soft, smoothed, averaged over batches.

The pixels of a whole batch are counted together, background and empty slices among them, and the smoothing adds
agreement where there is none: predicting nothing at all scores high. They are here to be compared with what was
reported; `napari_unet_seg.engine.evaluate` has the figures to trust.
"""

from __future__ import annotations

from torch import Tensor


def soft_dice(y: Tensor, p: Tensor, smooth: float) -> Tensor:
    """``(2 Σyp + smooth) / (Σy + Σp + smooth)`` over a whole batch.

    Parameters
    ----------
    y : Tensor
        The truth, 0 or 1, any shape.
    p : Tensor
        Probabilities in the same shape, not thresholded.
    smooth : float
        Pixels of agreement that are added.

    Returns
    -------
    Tensor
        A single number; NaN where both sums and `smooth` are 0.
    """
    y, p = _flat(y, p)
    return (2 * (y * p).sum() + smooth) / (y.sum() + p.sum() + smooth)


def soft_iou(y: Tensor, p: Tensor, smooth: float) -> Tensor:
    """``(Σyp + smooth) / (Σy + Σp - Σyp + smooth)`` over a whole batch; see `soft_dice`."""
    y, p = _flat(y, p)
    overlap = (y * p).sum()
    return (overlap + smooth) / (y.sum() + p.sum() - overlap + smooth)


def accuracy(y: Tensor, p: Tensor) -> Tensor:
    """Share of the pixels of a batch that are right at 0.5, as Keras' ``binary_accuracy``; see `soft_dice`."""
    y, p = _flat(y, p)
    return ((p > 0.5) == (y > 0.5)).float().mean()


class SeedMetrics:
    """Means over batches of `soft_dice`, `soft_iou` and `accuracy`; a smaller last batch counts as much as any.

    Parameters
    ----------
    smooth : float
        See `soft_dice`.
    """

    def __init__(self, smooth: float) -> None:
        self.smooth = smooth
        self._batches: list[tuple[float, float, float]] = []

    def update(self, y: Tensor, p: Tensor) -> None:
        """Add a batch: truth and probabilities in one shape."""
        scores = soft_dice(y, p, self.smooth), soft_iou(y, p, self.smooth), accuracy(y, p)
        dice, iou, right = (float(score) for score in scores)
        self._batches.append((dice, iou, right))

    def result(self) -> dict[str, float]:
        """``dice``, ``iou`` and ``accuracy``.

        Raises
        ------
        ValueError
            If there was no batch.
        """
        if not self._batches:
            raise ValueError("there was no batch to measure on")
        means = [sum(column) / len(column) for column in zip(*self._batches, strict=True)]
        return dict(zip(("dice", "iou", "accuracy"), means, strict=True))


def _flat(y: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    if y.shape != p.shape:
        raise ValueError(f"truth and probabilities of different shapes: {tuple(y.shape)} and {tuple(p.shape)}")
    # Sums over millions of pixels: float32 alone.
    return y.float().flatten(), p.float().flatten()
