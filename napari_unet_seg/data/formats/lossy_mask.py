"""Masks that were coded with loss: what is left of 0 and 255."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError

JPEG_FOREGROUND = 128
"""From this value on a pixel of a JPEG mask is foreground: the coding blurs 0 and 255."""

JPEG_TOLERANCE = 16
"""How far the channels of a gray picture may lie apart once JPEG has coded its colours."""


def cut_jpeg(gray: Array, path: Path) -> Array:
    """A gray JPEG mask of bytes as 0 and 255.

    Raises
    ------
    InputError
        If it is one of small numbers, which the coding has blurred into one another.
    """
    high = int(gray.max(initial=0))
    # Coarsely coded, black is a dark gray; of labels, a picture without any zero would be all foreground.
    empty = high < JPEG_TOLERANCE and high == gray.min(initial=high)
    if not empty and 0 < high < JPEG_FOREGROUND:
        raise InputError(f"this JPEG mask has no value above {high}; save masks of labels as PNG", path=path)
    return np.where(gray >= JPEG_FOREGROUND, np.uint8(255), np.uint8(0))
