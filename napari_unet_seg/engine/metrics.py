"""Overlap and distance between two masks: counts first, scores second. No torch is loaded for the counts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Voxels in which two binary masks agree and differ."""

    tp: int = 0
    """Foreground in both."""

    fp: int = 0
    """Foreground in the prediction alone."""

    fn: int = 0
    """Foreground in the truth alone."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(tp=self.tp + other.tp, fp=self.fp + other.fp, fn=self.fn + other.fn)

    @property
    def dice(self) -> float:
        """``2 tp / (2 tp + fp + fn)`` (Dice 1945); 1 where both masks are empty."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else 1.0

    @property
    def iou(self) -> float:
        """``tp / (tp + fp + fn)`` (Jaccard 1901); 1 where both masks are empty."""
        total = self.tp + self.fp + self.fn
        return self.tp / total if total else 1.0

    @property
    def precision(self) -> float:
        """``tp / (tp + fp)``; with nothing predicted 1 where the truth is empty too, else 0."""
        predicted = self.tp + self.fp
        return self.tp / predicted if predicted else float(self.fn == 0)

    @property
    def recall(self) -> float:
        """``tp / (tp + fn)``; with an empty truth 1 where nothing is predicted, else 0."""
        true = self.tp + self.fn
        return self.tp / true if true else float(self.fp == 0)


def count(y_pred: NDArray[Any], y: NDArray[Any]) -> Counts:
    """Counts over two masks of one shape, any axes; every label above 0 is foreground.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if y_pred.shape != y.shape:
        raise ValueError(f"masks of different shapes: {y_pred.shape} and {y.shape}")
    predicted, true = y_pred != 0, y != 0
    tp = int(np.count_nonzero(predicted & true))
    return Counts(tp=tp, fp=int(np.count_nonzero(predicted)) - tp, fn=int(np.count_nonzero(true)) - tp)


def hd95_mm(y_pred: NDArray[Any], y: NDArray[Any], *, spacing: tuple[float, float, float]) -> float | None:
    """95th percentile of the distances between the two surfaces, the larger of both directions, by MONAI.

    Parameters
    ----------
    y_pred, y : ndarray
        ``(Z, Y, X)``, foreground above 0.
    spacing : (float, float, float)
        Voxel size along ``(z, y, x)`` in mm.

    Returns
    -------
    float or None
        Millimetres; 0 where both are empty, None where only one is: then there is no distance.
    """
    predicted, true = y_pred != 0, y != 0
    if not predicted.any() and not true.any():
        return 0.0
    if not predicted.any() or not true.any():
        return None
    # Imported here: it takes seconds, and the window must never load it.
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    with warnings.catch_warnings():
        # MONAI calls a function of its own in a way that it has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            torch.from_numpy(predicted[None, None]),
            torch.from_numpy(true[None, None]),
            include_background=True,
            percentile=95,
            spacing=list(spacing),
        )
    return float(distance)
