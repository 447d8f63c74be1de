"""A scan's identity, by its pixels: it survives moving and renaming."""

from __future__ import annotations

import hashlib

import numpy as np

from napari_unet_seg.data.volume import Volume


def image_hash(volume: Volume) -> str:
    """SHA-256 over shape, type and pixels of ``volume.data`` ``(C, Z, Y, X)``, in hexadecimal."""
    digest = hashlib.sha256(f"{volume.data.shape} {volume.data.dtype.str} ".encode())
    digest.update(np.ascontiguousarray(volume.data).data)
    return digest.hexdigest()
