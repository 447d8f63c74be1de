"""Masks of black and white that lost their edges, as pictures do when they are made larger or smaller."""

from __future__ import annotations

import numpy as np

from napari_unet_seg.data.volume import WHITE, Array

_END = 16
"""Levels of 256 this near to black or white count as such: JPEG frays both."""

_LEVELS = 5
"""A blur gives at least as many levels of gray, white among them."""

_QUARTERS = np.array([64, 128, 192, 256])
"""The four levels that means of 2x2 pixels have; programs round them up or down."""

_RAMP = 0.9
"""Part of the gray pixels that lie between a darker and a brighter neighbour at an edge that was blurred."""


def is_blurred(values: Array) -> bool:
    """Whether these are the grays of a blurred mask, not the numbers of classes.

    They reach up to white, and form ramps between it and black, or are nearly all close to the one or the other.
    Classes are areas, the inner pixels of which have neighbours of their own kind, and few have numbers close to 255.

    Parameters
    ----------
    values : ndarray
        ``(Z, Y, X)`` whole numbers as they are stored.
    """
    high = int(values.max(initial=0))
    white = white_of(values)
    if values.min(initial=0) < 0 or high > white or high <= white * (256 - _END // 2) // 256:
        return False
    gray = _bytes_of(values)
    levels = np.flatnonzero(np.bincount(gray.ravel(), minlength=256)[1:]) + 1
    if len(levels) < 2:
        return False
    from scipy import ndimage

    near = (1, 3, 3)
    darkest, brightest = ndimage.minimum_filter(gray, near), ndimage.maximum_filter(gray, near)
    between = (gray >= _END) & (gray < 256 - _END)
    bright = gray[gray >= 256 - _END]
    # What JPEG, or a slight blur, makes of white: several levels, here and there, and little between them and black.
    if levels[0] < _END and levels[-2] >= 256 - _END and np.count_nonzero(between) <= bright.size / 2:
        off = (gray > 0) & (gray != np.bincount(bright).argmax())
        return bool((darkest == brightest)[off].mean() <= 1 - _RAMP)
    quarters = len(levels) == len(_QUARTERS) and np.abs(levels - _QUARTERS).max() <= 1
    if (len(levels) < _LEVELS and not quarters) or not between.any():
        return False
    return bool(((darkest < gray) & (brightest > gray))[between].mean() >= _RAMP)


def may_be_blurred(values: Array) -> bool:
    """Whether these are grays of a blurred mask if others of the same scan are.

    Areas of a few pixels do not reach white, and some give few levels; still no pixel of them lies amid its own kind.

    Parameters
    ----------
    values : ndarray
        As in `is_blurred`.
    """
    if values.min(initial=0) < 0 or values.max(initial=0) > WHITE[1]:
        return False
    gray = _bytes_of(values)
    between = (gray >= _END) & (gray < 256 - _END)
    if not between.any():
        return False
    from scipy import ndimage

    near = (1, 3, 3)
    amid = ndimage.minimum_filter(gray, near) == ndimage.maximum_filter(gray, near)
    return bool(amid[between].mean() <= 1 - _RAMP)


def white_of(values: Array) -> int:
    """The value that is white among these grays."""
    return WHITE[0] if values.max(initial=0) <= WHITE[0] else WHITE[1]


def cut(values: Array, *, white: int | None = None) -> Array:
    """A blurred mask as black and white, white from the middle on.

    Parameters
    ----------
    values : ndarray
    white : int, optional
        The value of white; by default, `white_of` these.
    """
    white = white_of(values) if white is None else white
    cut: Array = np.where(values > white // 2, values.dtype.type(white), values.dtype.type(0))
    return cut


def _bytes_of(values: Array) -> Array:
    """Grays in 0..255; of 16 bits, the higher byte."""
    gray: Array = (values if white_of(values) == WHITE[0] else values >> 8).astype(np.uint8)
    return gray
