"""Whether an image can be segmented at all."""

from __future__ import annotations

import numpy as np

from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError

SMALLEST_SIDE = 8
"""Pixels; below this in Y or X a slice shows no anatomy."""


def check_usable(volume: Volume) -> None:
    """Raise InputError for an image that no model can make sense of.

    Parameters
    ----------
    volume : Volume
        Any channels. One constant channel among others is accepted: a sequence may be missing.

    Raises
    ------
    InputError
        For numbers that are not real, NaN or infinite voxels, a constant image, or slices below 8 pixels.
    """
    data, path = volume.data, volume.source
    if not (np.issubdtype(data.dtype, np.integer) or np.issubdtype(data.dtype, np.floating) or data.dtype == bool):
        raise InputError(f"pixels of type {data.dtype} cannot be segmented; save the magnitude as float32", path=path)
    _, height, width = volume.shape
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"slices of {height}x{width} pixels are too small; at least {SMALLEST_SIDE}x{SMALLEST_SIDE} are needed",
            path=path,
        )
    if np.issubdtype(data.dtype, np.floating):
        _check_finite(volume)
        if max(float(data.max()), -float(data.min())) > float(np.finfo(np.float32).max):
            raise InputError("the intensities exceed what float32 can hold; rescale them", path=path)
    if all(channel.min() == channel.max() for channel in data):
        if len(data) == 1:
            raise InputError(f"every pixel has the same value ({data.flat[0]}); choose another image", path=path)
        raise InputError("every channel is constant, so the image shows nothing; choose another image", path=path)


def _check_finite(volume: Volume) -> None:
    for index, (name, channel) in enumerate(zip(volume.channel_names, volume.data, strict=True), start=1):
        # A sum is finite where all voxels are, and takes no memory; only overflow needs the second look.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(channel.sum(dtype=np.float64)):
                continue
        bad = int(channel.size - np.count_nonzero(np.isfinite(channel)))
        if bad:
            where = f"channel {name}" if name else f"channel {index}"
            voxels = "voxel is" if bad == 1 else "voxels are"
            raise InputError(
                f"{bad} {voxels} NaN or infinite in {where}; replace them, for example by 0", path=volume.source
            )
