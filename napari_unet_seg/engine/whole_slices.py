"""Whole slices at the size a network wants, for training as `Segmenter` resizes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


def resized_image(data: NDArray[Any], size: tuple[int, int] | None) -> NDArray[Any]:
    """Pixels ``(C, Z, Y, X)`` at another height and width; bytes stay bytes, the same array where nothing changes.

    Parameters
    ----------
    data : ndarray
        Any real type.
    size : (int, int) or None
        Height and width in pixels; None leaves them.
    """
    if size is None or size == data.shape[-2:]:
        return data
    # A slice at a time: all of a scan as float32 may be more than there is memory for.
    planes = data.reshape(-1, *data.shape[-2:])
    resized = np.empty((len(planes), *size), np.uint8 if data.dtype == np.uint8 else np.float32)
    for plane, target in zip(planes, resized, strict=True):
        pixels = _interpolated(plane, size)
        target[:] = np.rint(pixels) if data.dtype == np.uint8 else pixels
    return resized.reshape(*data.shape[:2], *size)


def resized_target(target: NDArray[np.uint8], size: tuple[int, int] | None, *, soft: bool) -> NDArray[np.uint8]:
    """What is to be learned, ``(Z, Y, X)``, at another height and width.

    Parameters
    ----------
    target : ndarray
        A mask, 0 background; or probabilities in steps of 1/255.
    size : (int, int) or None
        Height and width in pixels; None leaves them.
    soft : bool
        Whether these are probabilities. A mask is cut at a half again after the interpolation.
    """
    if size is None or size == target.shape[-2:]:
        return target
    if soft:
        return np.stack([np.rint(_interpolated(plane, size)) for plane in target]).astype(np.uint8)
    return np.stack([_interpolated(plane > 0, size) > 0.5 for plane in target]).astype(np.uint8)


def _interpolated(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    pixels = torch.from_numpy(plane.astype(np.float32))[None, None]
    resized: NDArray[np.float32] = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)[
        0, 0
    ].numpy()
    return resized
