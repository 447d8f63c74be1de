"""Telling noise from masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_LEAST = 80
"""Pixels that can be judged; in smaller masks and holes, most of what is real lies at an edge."""


def is_speckled(plane: NDArray[np.generic]) -> bool:
    """Whether a slice of a mask ``(Y, X)`` is noise: most of its pixels, or of its holes, belong to nothing of a size.

    Small masks are not judged: many small lesions look the same.
    """
    foreground = plane != 0
    least = max(_LEAST, foreground.size // 200)
    if np.count_nonzero(foreground) < least:
        return False
    # What lies around a mask is no hole of it: in the corners beside a disc, nothing of a size has room.
    holes = ndimage.binary_fill_holes(foreground) & ~foreground
    return _is_dust(foreground, least) or _is_dust(holes, least)


def _is_dust(pixels: NDArray[np.bool_], least: int) -> bool:
    area = np.count_nonzero(pixels)
    if area < least:
        return False
    # A thin ring is gone when a cross is asked for, and stays when a square of two pixels is.
    crosses, squares = (ndimage.binary_opening(pixels, structure=shape) for shape in (None, np.ones((2, 2), bool)))
    return bool(np.count_nonzero(crosses) < 0.5 * area and np.count_nonzero(squares) < 0.65 * area)
