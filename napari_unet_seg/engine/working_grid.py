"""The pixel size at which the networks see a slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_unet_seg.data.volume import Volume

WORKING_SPACING = 1.0
"""In-plane pixel size in mm of the scans the networks are trained on."""

_TOLERATED = 1.34
"""A pixel size within this factor of `WORKING_SPACING` is left as it is: training covers it."""


def working_factor(volume: Volume, axis: int) -> float:
    """By how much an axis (1 rows, 2 columns) is resized for the network.

    Known pixel sizes far from the training data's are brought to 1 mm. Where the file gives none, a matrix much larger
    than the 256 pixels of the training data is taken for a finer one.
    """
    if volume.spacing_known:
        factor = volume.spacing[axis] / WORKING_SPACING
    else:
        factor = 256 / max(volume.shape[1:]) if max(volume.shape[1:]) > 256 * _TOLERATED else 1.0
    return factor if not 1 / _TOLERATED <= factor <= _TOLERATED else 1.0


def to_working_grid(volume: Volume, target: NDArray[np.float32]) -> tuple[Volume, NDArray[np.float32]]:
    """A volume and what is to be learned of it, resized in the plane as `Segmenter` does before it predicts.

    Parameters
    ----------
    volume : Volume
        ``(C, Z, Y, X)``.
    target : ndarray
        ``(Z, Y, X)`` in 0..1.

    Returns
    -------
    volume, target
        Both at the working pixel size; the same objects where that is theirs already.
    """
    _, height, width = volume.shape
    size = tuple(max(8, round(n * working_factor(volume, axis))) for axis, n in ((1, height), (2, width)))
    if size == (height, width):
        return volume, target
    pixels = functional.interpolate(
        torch.from_numpy(volume.data.astype(np.float32)), size=size, mode="bilinear", antialias=True
    )
    wanted = functional.interpolate(torch.from_numpy(target)[None], size=size, mode="bilinear", antialias=True)[0]
    spacing = (volume.spacing[0], volume.spacing[1] * height / size[0], volume.spacing[2] * width / size[1])
    return replace(volume, data=pixels.numpy(), spacing=spacing), wanted.clamp(0, 1).numpy()
