"""Pixels whose lowest value is white, as some TIFF and DICOM files have them."""

from __future__ import annotations

import numpy as np

from napari_unet_seg.data.volume import Array


def inverse(values: Array, *, bits: int | None = None) -> Array:
    """Black for white.

    Parameters
    ----------
    values : ndarray
        Bool or whole numbers, on any axes.
    bits : int, optional
        How many of an unsigned number's count, by default all that the type has; what is higher is taken for the
        highest.
    """
    if values.dtype.kind in "bi":
        return ~values
    highest = np.array(2 ** (bits or 8 * values.dtype.itemsize) - 1, values.dtype)
    turned: Array = highest - np.minimum(values, highest)
    return turned
