"""A case made ready for training: at its size, as bytes where the scan is, with what is known of its slices."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_unet_seg.engine.config import Normalisation
from napari_unet_seg.engine.normalise import statistics_for
from napari_unet_seg.engine.whole_slices import resized_image, resized_target
from napari_unet_seg.engine.working_grid import as_scanned

if TYPE_CHECKING:
    from napari_unet_seg.engine.samples import LabelledVolume

_SOFT_TUMOUR = 76
"""A probability below 0.3, in steps of 1/255, is no tumour to speak of."""

_LARGEST = 60000
"""Normalised intensities are cut off here, within what float16 holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceTable:
    """What is known of a case's slices beside their pixels; of every case, it is held in memory."""

    statistics: NDArray[np.float32]
    """``(C, 2)``: what is taken off the bytes of each channel, and what they are divided by then."""

    air: NDArray[np.float32]
    """``(C,)``: the least normalised intensity; in float16, it fills slices up to the size of larger ones."""

    centre: tuple[float, float]
    """Row and column of the middle of the head."""

    labelled: NDArray[np.bool_]
    """``(Z,)``: slices whose target counts."""

    tumour: NDArray[np.bool_]
    """``(Z,)``: slices with something in their target."""

    weight: NDArray[np.float32]
    """``(Z,)``: how much each counts in a weighted loss."""

    soft: bool
    """Whether the targets are probabilities in steps of 1/255."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedCase:
    """Pixels and targets of a case as a store holds them, slice by slice."""

    pixels: NDArray[Any]
    """``(Z, C, Y, X)``: the scan's own bytes as uint8, anything else normalised as float16."""

    target: NDArray[np.uint8]
    """``(Z, Y, X)``: a mask, 0 background; where the table is soft, probabilities in steps of 1/255."""

    table: SliceTable

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice with its target."""
        return (self.pixels.nbytes + self.target.nbytes) // len(self.target)


def prepare(
    case: LabelledVolume, *, normalisation: Normalisation = "head-zscore", resize: tuple[int, int] | None = None
) -> PreparedCase:
    """Measure, resize and arrange a case, whatever holds it then.

    Parameters
    ----------
    case : LabelledVolume
        What was read.
    normalisation : {"head-zscore", "unit"}
        How intensities are brought to one scale.
    resize : (int, int), optional
        Height and width that whole slices are resized to; by default they keep theirs.
    """
    # Measured before any resizing, as `Segmenter` does.
    statistics = statistics_for(as_scanned(case.volume).data, normalisation)
    data = resized_image(case.volume.data, resize)
    slices = data.swapaxes(0, 1)
    soft = case.soft is not None
    given = case.mask if case.soft is None else np.rint(case.soft * 255).astype(np.uint8)
    target = _apart(resized_target(given, resize, soft=soft))
    weight = np.ones(len(target), np.float32) if case.weight is None else np.asarray(case.weight, np.float32)
    least = data.min(axis=(1, 2, 3)).astype(np.float32)
    table = SliceTable(
        statistics=statistics,
        air=np.clip((least - statistics[:, 0]) / statistics[:, 1], -_LARGEST, _LARGEST),
        centre=head_centre(data),
        labelled=np.asarray(case.labelled, bool),
        tumour=np.any(target > (_SOFT_TUMOUR if soft else 0), axis=(1, 2)),
        weight=weight,
        soft=soft,
    )
    pixels = _apart(slices) if data.dtype == np.uint8 else as_half(slices, statistics)
    return PreparedCase(pixels=pixels, target=target, table=table)


def as_half(slices: NDArray[Any], statistics: NDArray[np.float32]) -> NDArray[np.float16]:
    """Normalised intensities of slices ``(Z, C, Y, X)``, in memory of their own."""
    mean, deviation = statistics[:, 0, None, None], statistics[:, 1, None, None]
    half = _empty(slices.shape, np.float16)
    # A slice at a time: all of a scan as float32 may be more than there is memory for.
    for pixels, target in zip(slices, half, strict=True):
        target[:] = np.clip((pixels.astype(np.float32) - mean) / deviation, -_LARGEST, _LARGEST)
    return half


def as_soft(target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask ``(Z, Y, X)`` as probabilities in steps of 1/255, of the same shape."""
    return np.where(target > 0, 255, 0).astype(np.uint8)


def alike(case: PreparedCase, *, half: bool, soft: bool) -> PreparedCase:
    """The case as a store holds it in which others are float16, or have probabilities for targets."""
    if half and case.pixels.dtype == np.uint8:
        case = replace(case, pixels=as_half(case.pixels, case.table.statistics))
    if soft and not case.table.soft:
        case = replace(case, target=as_soft(case.target))
    return case


def head_centre(data: NDArray[Any]) -> tuple[float, float]:
    """Row and column of the middle of the head in ``data`` ``(C, Z, Y, X)``."""
    flat = data.mean(axis=(0, 1), dtype=np.float64)
    flat = np.clip(flat - np.percentile(flat, 10), 0, None)
    total = flat.sum()
    if total <= 0:
        return (data.shape[2] - 1) / 2, (data.shape[3] - 1) / 2
    rows, columns = np.arange(data.shape[2]), np.arange(data.shape[3])
    return float((flat.sum(axis=1) * rows).sum() / total), float((flat.sum(axis=0) * columns).sum() / total)


def _apart(array: NDArray[Any]) -> NDArray[Any]:
    copied = _empty(array.shape, array.dtype)
    copied[:] = array
    return copied


def _empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Memory that the system has back as soon as the array is gone: the C library would keep it for later.

    A store that takes case after case over would otherwise hold them twice.
    """
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize), access=mmap.ACCESS_COPY)
    return np.frombuffer(memory, dtype, count=count).reshape(shape)
