"""Random fields and soft edges, the two things every shape of the sample is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
"""A scalar for every voxel of the working grid, ``(Z, Y, X)``."""


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], scale: float) -> Field:
    """Gaussian noise of unit variance that is smooth over ``scale`` voxels.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : sequence of int
        ``(Z, Y, X)``.
    scale : float
        Correlation length in voxels. Long ones are drawn on a coarse grid, as the filter would cost seconds.
    """
    if scale < 4:
        fine = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), scale)
    else:
        fine = rng.standard_normal([int(np.ceil(n / scale)) + 4 for n in shape], dtype=np.float32)
        for n in shape:
            # Each voxel is a bell-weighted sum of the knots near it; two spare knots at either end feed the border.
            knots = (np.arange(int(np.ceil(n / scale)) + 4) - 1.5) * scale
            weights = np.exp(-0.5 * ((np.arange(n)[:, None] - knots) / (0.7 * scale)) ** 2)
            fine = np.tensordot(fine, weights.T.astype(np.float32), axes=(0, 0))
    return np.asarray((fine - fine.mean()) / fine.std(), np.float32)


def step(distance: Field, width: float) -> Field:
    """Soft step: 0 far below zero, 1 far above, with about ``width`` mm in between."""
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * distance / width, -30, 30))), np.float32)


def layer(depth: Field, low: Field | float, high: Field | float, width: float = 1.0) -> Field:
    """Soft membership of the layer ``low < depth < high``."""
    return step(np.asarray(depth - low, np.float32), width) * step(np.asarray(high - depth, np.float32), width)


def ball(where: Field, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Signed distance in mm, roughly, to an ellipsoid's surface: positive inside.

    Parameters
    ----------
    where : ndarray
        Atlas coordinates ``(3, Z, Y, X)``, x y z in mm.
    centre, radii : three floats
        x y z in mm.
    """
    squared = sum(((where[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3))
    return np.asarray((1 - np.sqrt(squared)) * min(radii), np.float32)
