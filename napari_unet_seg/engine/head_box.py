"""Where in its slices the head lies: the air around it need not be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_unet_seg.data.volume import Array

_SLICES = 24
"""Looked at, evenly spread: a head is not missed between them."""


def head_box(channels: Sequence[Array] | Array, *, margin: int = 32, multiple: int = 1) -> tuple[slice, slice]:
    """Rows and columns that hold the head, with a margin; everything where the head cannot be told from the air.

    Parameters
    ----------
    channels : sequence of ndarray
        ``(Z, Y, X)`` each; at most 24 slices of them are looked at.
    margin : int
        Pixels left around it, at least. With 16, what the network says at the head's border hangs on where the cut is:
        the Dice of one LGG patient of 88 changed by 0.0024 for it (`training.agreement`).
    multiple : int
        It begins at a multiple of so many pixels and ends at one, or at the border: pooling then takes the same pixels
        together as in the whole slice.
    """
    depth, height, width = channels[0].shape
    chosen = np.unique(np.linspace(0, depth - 1, min(depth, _SLICES)).round().astype(int))
    brightest = np.zeros((height, width), dtype=bool)
    for channel in channels:
        # Slice by slice: nothing the size of a scan is copied.
        projection = channel[chosen[0]].copy()
        for z in chosen[1:]:
            np.maximum(projection, channel[z], out=projection)
        projection = projection.astype(np.float32)
        low, high = np.percentile(projection, (1.0, 99.0)).astype(np.float32)
        if high > low:
            brightest |= projection > low + np.float32(0.08) * (high - low)
    # A few noisy pixels don't make a row part of the head.
    rows = np.flatnonzero(brightest.mean(axis=1) > 0.02)
    columns = np.flatnonzero(brightest.mean(axis=0) > 0.02)
    if not len(rows) or not len(columns):
        return slice(0, height), slice(0, width)
    return (
        _widened(int(rows[0]) - margin, int(rows[-1]) + 1 + margin, height, multiple),
        _widened(int(columns[0]) - margin, int(columns[-1]) + 1 + margin, width, multiple),
    )


def _widened(start: int, stop: int, size: int, multiple: int) -> slice:
    return slice(max(0, start // multiple * multiple), min(size, -(-stop // multiple) * multiple))
