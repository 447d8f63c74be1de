"""The pixel size at which the networks see a slice."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError

WORKING_SPACING = 1.0
"""In-plane pixel size in mm of the scans the networks are trained on."""

_TOLERATED = 1.34
"""A pixel size within this factor of `WORKING_SPACING` is left as it is: training covers it."""

_FIELD_OF_VIEW = 100.0, 256.0 * _TOLERATED
"""Longer side in mm of a slice that shows a head."""

_LARGEST_SIDE = 4096
"""Pixels; no scan of a head is that wide at `WORKING_SPACING`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkingVolume(Volume):
    """A volume resized to the working pixel size."""

    original: Volume
    """What it was resized from. Intensities are measured on this, as `Segmenter` does: resizing takes noise away."""


def working_factor(volume: Volume, axis: int) -> float:
    """By how much an axis (1 rows, 2 columns) is resized for the network.

    Pixel sizes far from the training data's are brought to 1 mm. Where the spacing is not all there, or 1 mm, which
    programs write where they know no better, and no head would be so wide or so small, the slice has about the size
    of the training data's: a matrix much larger than their 256 pixels is taken for a finer one.

    Raises
    ------
    InputError
        If the pixels are so large that the axis would come to more than 4096 of 1 mm.
    """
    factor, in_plane, pixels = volume.spacing[axis] / WORKING_SPACING, volume.spacing[1:], volume.shape[1:]
    trusted = volume.spacing_known and not np.allclose(in_plane, 1.0)
    smallest, largest = _FIELD_OF_VIEW
    if not trusted and not smallest <= max(np.multiply(in_plane, pixels)) <= largest:
        factor = 256 / max(pixels) if max(pixels) > 256 * _TOLERATED else 1.0
    if 1 / _TOLERATED <= factor <= _TOLERATED:
        return 1.0
    if factor > 1 and volume.shape[axis] * factor > _LARGEST_SIDE:
        side = f"{volume.shape[axis]} pixels of {volume.spacing[axis]:g} mm"
        raise InputError(f"its slices measure {side}, which is no head; correct the spacing", path=volume.source)
    return factor


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
        Both at the working pixel size, the volume as a `WorkingVolume`; the same objects where that is theirs already.

    Raises
    ------
    InputError
        See `working_factor`.
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
    known = {item.name: getattr(volume, item.name) for item in fields(Volume)}
    resized = WorkingVolume(**known | {"data": pixels.numpy(), "spacing": spacing}, original=volume)
    return resized, wanted.clamp(0, 1).numpy()


def as_scanned(volume: Volume) -> Volume:
    """The volume that intensities are measured on: what a `WorkingVolume` was resized from, any other itself."""
    return volume.original if isinstance(volume, WorkingVolume) else volume
