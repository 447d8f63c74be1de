"""The number type in which labels are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_unet_seg.data.volume import Array


def type_for(labels: Array, *, former: np.dtype[Any] | None) -> np.dtype[Any]:
    """The type of the former file where it can hold the labels, else the smallest unsigned integer that can.

    Parameters
    ----------
    labels : ndarray
        Whole numbers, none negative.
    former : dtype, optional
        Number type of the file to be replaced.
    """
    high = int(labels.max(initial=0))
    if former is not None and high <= _largest(former):
        return former
    return np.dtype(np.min_scalar_type(high))


def _largest(kind: np.dtype[Any]) -> int:
    """Up to which number a type holds every whole one; -1 for what is no number."""
    if kind.kind == "b":
        return 1
    if kind.kind in "iu":
        return int(np.iinfo(kind).max)
    return 2 ** (np.finfo(kind).nmant + 1) if kind.kind == "f" else -1
