"""Intensities brought to one scale, a whole volume at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.config import Normalisation

CLIP = 5.0
"""Normalised intensities are cut off at this many standard deviations."""

_ENOUGH_PIXELS = 1_000_000

_RANGE = (1.0, 99.5)
"""Percentiles between which a tenth from below parts the head from the air."""

_SMALLEST = float(np.finfo(np.float32).tiny)

_AIR = 0.2
"""Share of the pixels that have the first one's value from which that is air."""


def channel_statistics(data: NDArray[Any]) -> NDArray[np.float32]:
    """Mean and standard deviation of the head, for each channel.

    The air around the head is left out, so that a tight and a wide field of view of one head come out alike.
    Everything is measured on at most a million regularly spaced pixels of a channel: always the same ones.

    Parameters
    ----------
    data : ndarray
        ``(C, Z, Y, X)``, any real type, finite.

    Returns
    -------
    ndarray
        ``(C, 2)`` float32: mean, and standard deviation (1 where a channel is constant).
    """
    _, _, height, width = data.shape
    step = max(1, int(np.ceil(np.sqrt(data[0].size / _ENOUGH_PIXELS))))
    # A slice one pixel high or wide must keep that pixel.
    sampled = data[:, :, :: min(step, height), :: min(step, width)]
    statistics = np.empty((data.shape[0], 2), dtype=np.float32)
    for channel, pixels in enumerate(sampled):
        few_levels = pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2
        statistics[channel] = (_by_levels if few_levels else _by_pixels)(pixels.reshape(-1))
    return statistics


def _by_pixels(pixels: NDArray[Any]) -> tuple[float, float]:
    values = pixels.astype(np.float32)
    low, high = np.percentile(values, _RANGE).astype(np.float32)
    head = _head(values, low, high)
    # Skull-stripped scans that were standardised before have air at 0, in the middle of the range.
    air = values[0]
    if np.count_nonzero(values == air) > _AIR * values.size:
        head &= values != air
    inside = values[head] if head.any() else values
    return _mean_and_deviation(float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64)))


def _by_levels(pixels: NDArray[Any]) -> tuple[float, float]:
    """The same of bytes and 16-bit numbers: each level is looked at once, however many pixels have it."""
    first = int(np.iinfo(pixels.dtype).min)
    counts = np.bincount(pixels if first == 0 else pixels.astype(np.int32) - first)
    values = np.arange(first, first + len(counts), dtype=np.float32)
    low, high = _percentiles(values, counts)
    head = _head(values, low, high)
    air = int(pixels[0]) - first
    if counts[air] > _AIR * pixels.size:
        head[air] = False
    inside = np.where(head, counts, 0)
    if not inside.any():
        inside = counts
    levels = values.astype(np.float64)
    mean = float(inside @ levels) / int(inside.sum())
    return _mean_and_deviation(mean, float(np.sqrt(inside @ (levels - mean) ** 2 / inside.sum())))


def _percentiles(values: NDArray[np.float32], counts: NDArray[np.intp]) -> tuple[np.float32, np.float32]:
    """As `numpy.percentile` has them: by linear interpolation between neighbours in order of brightness."""
    up_to = counts.cumsum()
    place = np.array(_RANGE) / 100 * (up_to[-1] - 1)
    below, above = (values[np.searchsorted(up_to, side, side="right")] for side in (np.floor(place), np.ceil(place)))
    low, high = (below + (above - below) * (place - np.floor(place))).astype(np.float32)
    return low, high


def _head(values: NDArray[np.float32], low: np.float32, high: np.float32) -> NDArray[np.bool_]:
    return np.asarray(values > low + np.float32(0.1) * (high - low))


def _mean_and_deviation(mean: float, deviation: float) -> tuple[float, float]:
    # Relative to the mean alone: a map in physical units may be of 1e-9 throughout.
    return mean, deviation if deviation > max(1e-6 * abs(mean), _SMALLEST) else 1.0


def unit_statistics(data: NDArray[Any]) -> NDArray[np.float32]:
    """What brings each channel to 0..1: 255 for bytes, else its own minimum and maximum.

    Parameters
    ----------
    data : ndarray
        ``(C, Z, Y, X)``, any real type, finite.

    Returns
    -------
    ndarray
        ``(C, 2)`` float32: what is taken off, and what is divided by then (1 where a channel is constant).
    """
    if data.dtype == np.uint8:
        return np.tile(np.array([0, 255], np.float32), (len(data), 1))
    flat = data.reshape(len(data), -1)
    low = flat.min(axis=1).astype(np.float32)
    span = flat.max(axis=1).astype(np.float32) - low
    return np.stack([low, np.where(span > 0, span, np.float32(1))], axis=1)


def statistics_for(data: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """What is taken off each channel, and what it is divided by then, ``(C, 2)`` float32.

    Parameters
    ----------
    data : ndarray
        ``(C, Z, Y, X)``.
    normalisation : {"head-zscore", "unit"}
        `channel_statistics` or `unit_statistics`.
    """
    return channel_statistics(data) if normalisation == "head-zscore" else unit_statistics(data)
