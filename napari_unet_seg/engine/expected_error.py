"""How many pixels of each slice are probably wrong, from what the model said, the mask and FLAIR. NumPy and SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet_seg.data.volume import Array, Mask
from napari_unet_seg.engine.postprocess import foreground_box

PER_UNSURE = 2.0
PER_UNSURE_EMPTY = 0.5
PER_BORDER = 0.5
PER_ALONE = 0.5
PER_BRIGHT = 0.5
"""Wrong pixels that one pixel of each sign stands for.

Rounded from a non-negative least-squares fit on scans that the model had not seen (18 patients of the LGG dataset); the
signs of slices without a mask, which are mostly false alarms where the scan has one elsewhere (`PER_UNSURE_EMPTY`,
`PER_BRIGHT`), so that the first slices hold most wrong pixels, see training/README.md. FLAIR around a mask that is
there is left out: it made the order of the slices worse on patients left out of the fit.
"""

_FLOOR = 0.02
"""Probabilities below this, summed over all the pixels of a slice, would drown those that mean something."""

_RING = 8
"""Pixels around the mask that count as its surroundings."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceSigns:
    """Signs of error, an array ``(Z,)`` each, in pixels unless said otherwise."""

    area: NDArray[np.float64]
    """Mask."""

    unsure: NDArray[np.float64]
    """Error by the model's own word: the sum of ``min(p / t, (1 - p) / (1 - t)) / 2`` over the pixels whose
    probability p is 0.02 or more; t is the threshold, and with t = 0.5 the summand is ``min(p, 1 - p)``."""

    border: NDArray[np.float64]
    """Mask pixels with a neighbour outside: even where a model is sure, a border is drawn half a pixel off."""

    unsure_border: NDArray[np.float64]
    """Share (0..1) of the border that is blurred: over half of the 5x5 pixels around are neither below a fifth of the
    threshold nor above the point four fifths of the way from it to 1 (0.1 and 0.9 for a threshold of 0.5)."""

    alone: NDArray[np.float64]
    """Pixels of a slice with a mask that are unlike those of both neighbouring slices; at an end of the scan, of the
    only one."""

    bright: NDArray[np.float64]
    """In a slice without a mask: pixels under or above a neighbour's mask where FLAIR is as bright as tumour."""

    jump: NDArray[np.float64]
    """Dice of each slice's mask with the next one's, ``(Z - 1,)``; NaN unless both have one."""

    touches: NDArray[np.bool_]
    """Whether the mask overlaps that of a neighbouring slice."""

    def expected(self) -> NDArray[np.float64]:
        """Wrong pixels of each slice."""
        return self.doubted() + PER_BORDER * self.border + PER_ALONE * self.alone + PER_BRIGHT * self.bright

    def doubted(self) -> NDArray[np.float64]:
        """Those of them that the model's own word stands for."""
        empty = (self.area == 0) & self.area.any()
        return np.where(empty, PER_UNSURE_EMPTY, PER_UNSURE) * self.unsure


def find_signs(
    probability: NDArray[np.float32], mask: Mask, flair: Array | None, *, threshold: float = 0.5
) -> SliceSigns:
    """Look at every slice once.

    Parameters
    ----------
    probability : ndarray
        ``(Z, Y, X)`` in 0..1.
    mask : ndarray
        ``(Z, Y, X)``, foreground above 0.
    flair : ndarray or None
        ``(Z, Y, X)``, any real type; without it `SliceSigns.bright` is 0.
    threshold : float
        Probability at which the model is least sure.
    """
    depth = len(mask)
    nothing = np.zeros(depth)
    box = foreground_box((probability >= _FLOOR) | (mask > 0))
    if box is None:
        return SliceSigns(
            area=nothing,
            unsure=nothing,
            border=nothing,
            unsure_border=nothing,
            alone=nothing,
            bright=nothing,
            jump=np.full(max(depth - 1, 0), np.nan),
            touches=np.zeros(depth, bool),
        )
    # All slices stay, so that neighbours and numbers are as they are; what is cut away is empty.
    rows, columns = (slice(max(0, side.start - _RING), side.stop + _RING) for side in box[1:])
    inside: Array = mask[:, rows, columns] > 0
    doubt = _doubt(probability[:, rows, columns], threshold)
    has: NDArray[np.bool_] = np.asarray(inside.any(axis=(1, 2)))
    border = inside & ~ndimage.binary_erosion(inside, np.ones((1, 3, 3), bool))
    blurred = ndimage.uniform_filter((doubt > 0.1).astype(np.float32), (0, 5, 5)) > 0.5
    before, after = _neighbours(inside)
    alone = (inside != before) & (inside != after)
    # At an end, the only neighbour decides.
    alone[:1], alone[-1:] = (inside != after)[:1], (inside != before)[-1:]
    length = _count(border)
    overlap, area = _count(inside & after)[:-1], _count(inside)
    both = has[1:] & has[:-1]
    with np.errstate(invalid="ignore"):
        jump = np.where(both, 2 * overlap / (area[1:] + area[:-1]), np.nan)
    return SliceSigns(
        area=area,
        unsure=np.asarray(doubt.sum(axis=(1, 2), dtype=np.float64)),
        border=length,
        unsure_border=_count(border & blurred) / np.maximum(length, 1),
        alone=np.where(has, _count(alone), 0.0) if depth > 1 else nothing,
        bright=nothing if flair is None else _bright(flair[:, rows, columns], inside, (before | after) & ~inside),
        jump=jump,
        touches=_count(inside & (before | after)) > 0,
    )


def error_alike(probability: NDArray[np.float32], mask: Mask, *, known: int, z: int, threshold: float) -> int:
    """Pixels of slice `z` that were wrong in the corrected slice `known`, where the model says the same in both."""
    said = probability[known] >= threshold
    return int(np.count_nonzero((said != (mask[known] > 0)) & (said == (mask[z] > 0))))


def _doubt(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """``min(p, 1 - p)`` with `p` stretched so that the threshold comes to lie at one half."""
    doubt: NDArray[np.float32] = np.minimum(
        probability * np.float32(0.5 / threshold), (1 - probability) * np.float32(0.5 / (1 - threshold))
    )
    doubt[probability < _FLOOR] = 0
    return doubt


def _bright(flair: Array, inside: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Candidate pixels of slices without a mask whose FLAIR is nearer to the tumour's than to its surroundings'."""
    result = np.zeros(len(inside))
    planes = [int(z) for z in np.flatnonzero(candidates.any(axis=(1, 2)) & ~inside.any(axis=(1, 2)))]
    if not planes:
        return result
    ring = np.zeros_like(inside)
    for z in map(int, np.flatnonzero(inside.any(axis=(1, 2)))):
        # Twice as fast as a dilation, and the corners do no harm.
        ring[z] = ndimage.maximum_filter(inside[z], 2 * _RING + 1)
    ring &= ~inside
    if not ring.any():
        return result
    limit = (np.median(flair[inside]) + np.median(flair[ring])) / 2
    for z in planes:
        smooth = ndimage.uniform_filter(flair[z].astype(np.float32), 3)
        result[z] = np.count_nonzero(candidates[z] & (smooth > limit))
    return result


def _neighbours(inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The slices before and after each; empty beyond the ends."""
    before, after = np.zeros_like(inside), np.zeros_like(inside)
    before[1:], after[:-1] = inside[:-1], inside[1:]
    return before, after


def _count(where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.count_nonzero(where, axis=(1, 2)), dtype=np.float64)
