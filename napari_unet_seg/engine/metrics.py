"""Overlap and distance between two masks: counts first, scores second. No torch is loaded for the counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.postprocess import foreground_box


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


def hd95_mm(
    y_pred: NDArray[Any],
    y: NDArray[Any],
    *,
    spacing: tuple[float, float, float],
    labelled: NDArray[np.bool_] | None = None,
) -> float | None:
    """95th percentile of the distances between the two surfaces, the larger of both directions, by MONAI.

    Parameters
    ----------
    y_pred, y : ndarray
        ``(Z, Y, X)``, foreground above 0.
    spacing : (float, float, float)
        Voxel size along ``(z, y, x)`` in mm.
    labelled : ndarray, optional
        ``(Z,)``: slices that are compared; the others count as empty in both. By default all.

    Returns
    -------
    float or None
        Millimetres; 0 where both are empty, None where only one is: then there is no distance.
    """
    labelled = np.ones(len(y), dtype=np.bool_) if labelled is None else labelled
    compared = labelled[:, None, None]
    predicted, true = (y_pred != 0) & compared, (y != 0) & compared
    if not predicted.any() and not true.any():
        return 0.0
    if not predicted.any() or not true.any():
        return None
    box = foreground_box(predicted | true)
    assert box is not None
    beside = np.pad(labelled, 1)
    lone = (labelled & ~beside[:-2] & ~beside[2:])[box[0]]
    # Imported here: it takes seconds, and the window must never load it.
    from monai.metrics.utils import get_surface_distance

    outlines = [_outline(mask[box], lone) for mask in (predicted, true)]
    distances = [get_surface_distance(*both, spacing=spacing) for both in (outlines, outlines[::-1])]
    return max(float(np.percentile(each, 95)) for each in distances)


def _outline(mask: NDArray[np.bool_], lone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of a mask ``(Z, Y, X)`` that have a face to the background.

    Of a lone slice, whose neighbours are not there or not known, only its outline in the plane: in space all of it
    would be surface.
    """
    # Imported here: the window has no need of it.
    from scipy import ndimage

    inside = ndimage.binary_erosion(mask)
    inside[lone] = ndimage.binary_erosion(mask[lone], ndimage.generate_binary_structure(2, 1)[None])
    return np.asarray(mask & ~inside)
