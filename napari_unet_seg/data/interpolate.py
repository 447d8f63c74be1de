"""The slices between two masks, by signed distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Array, Mask


def interpolate_slices(
    lower: NDArray[np.uint8], upper: NDArray[np.uint8], *, between: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> Mask:
    """Masks of the slices strictly between two others.

    Each label's signed distance to its border is interpolated linearly and thresholded at 0 (shape-based
    interpolation: Raya and Udupa 1990, doi:10.1109/42.52980). A label that is in one of the two slices alone shrinks
    to a point on the way to the other.

    Parameters
    ----------
    lower, upper : ndarray
        ``(Y, X)`` labels of the two slices.
    between : int
        Number of slices between them.
    spacing : tuple of float
        ``(y, x)`` in mm.

    Returns
    -------
    Mask
        ``(between, Y, X)`` uint8; where labels meet, the one that lies deeper inside its own border wins.
    """
    result: Mask = np.zeros((between, *lower.shape), np.uint8)
    # Beyond this the distances cannot matter, and a small box is computed far faster than a slice.
    rows, columns = _box((lower > 0) | (upper > 0))
    shown = result[:, rows, columns]
    lower, upper = lower[rows, columns], upper[rows, columns]
    depth = np.zeros(shown.shape, np.float32)
    for label in np.union1d(lower, upper):
        if label == 0:
            continue
        below, above = _signed_distances(lower == label, upper == label, spacing)
        for index in range(between):
            share = (index + 1) / (between + 1)
            distance = (1 - share) * below + share * above
            deeper = distance > depth[index]
            shown[index][deeper] = label
            depth[index][deeper] = distance[deeper]
    return result


def _signed_distances(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float]) -> list[Array]:
    """Distance to the border of each, positive inside; an empty one counts as the other shrunk to a point."""
    found = [_signed_distance(mask, spacing) if mask.any() else None for mask in (one, other)]
    shrunk = next(distance - distance.max() for distance in found if distance is not None)
    return [shrunk if distance is None else distance for distance in found]


def _signed_distance(mask: NDArray[np.bool_], spacing: tuple[float, float]) -> Array:
    # Not before it is needed: scipy takes longer to load than all of the dock.
    from scipy.ndimage import distance_transform_edt

    inside = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    outside = distance_transform_edt(~mask, sampling=spacing)
    # From centre to centre, so the border between two pixels lies half a pixel from both.
    distance: Array = inside - outside - 0.5 * min(spacing) * np.where(mask, 1, -1)
    return distance.astype(np.float32)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    sides = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    y, x = (slice(int(side[0]), int(side[-1]) + 1) if side.size else slice(0, 0) for side in sides)
    return y, x
