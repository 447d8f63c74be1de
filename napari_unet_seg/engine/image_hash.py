"""A scan's identity, by its pixels: it survives moving and renaming."""

from __future__ import annotations

import hashlib

import numpy as np

from napari_unet_seg.data.volume import Array, Volume


def image_hash(volume: Volume) -> str:
    """The `pixel_hash` of ``volume.data`` ``(C, Z, Y, X)``."""
    return pixel_hash(volume.data)


def pixel_hash(pixels: Array) -> str:
    """SHA-256 over shape, type and pixels of an array, in hexadecimal."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
