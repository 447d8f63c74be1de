"""Checking the mask, the slices and the time that somebody hands in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

import numpy as np

from napari_unet_seg.data.volume import Array, Mask, foreground_values, whole_labels
from napari_unet_seg.errors import InputError


def as_given(mask: Any, shape: tuple[int, int, int], *, case_id: str, slices: Sequence[int] | None = None) -> Array:
    """A mask as whole numbers up to 255.

    Parameters
    ----------
    mask : array
        ``(Z, Y, X)``.
    shape : tuple of int
        The one that it must have.
    case_id : str
        Opens the error message.
    slices : sequence of int, optional
        Those that are looked at; all by default.

    Returns
    -------
    ndarray
        ``(Z, Y, X)`` of these slices alone.

    Raises
    ------
    InputError
        If the mask has another shape or these slices hold something else than labels.
    """
    try:
        values = np.asarray(mask)
    except (TypeError, ValueError, RuntimeError):
        # Of lists of unequal length; of a tensor that needs a gradient, or of a number type that NumPy lacks.
        raise InputError(f"{case_id}: the mask is no array; hand in one of shape {shape} (Z, Y, X)") from None
    if values.shape != shape:
        raise InputError(f"{case_id}: the mask has shape {values.shape} but the case {shape} (Z, Y, X)")
    try:
        values = whole_labels(values if slices is None else values[list(slices)])
    except InputError as error:
        raise InputError(f"{case_id}: {error.problem}") from None
    if (high := int(values.max(initial=0))) > 255:
        raise InputError(f"{case_id}: the mask has labels up to {high}; at most 255 are supported")
    return values


def as_labels(values: Array, *, classes: bool) -> Mask:
    """Whole numbers, of as many slices as are to be saved, as labels ``(Z, Y, X)``.

    0 and 255 alone are 0 and 1, unless the case has several classes.
    """
    if foreground_values(values) == (255,) and not classes:
        return (values > 0).astype(np.uint8)
    labels: Mask = values.astype(np.uint8)
    return labels


def as_slices(slices: Iterable[int], count: int, *, case_id: str) -> list[int]:
    """Slice numbers, each once, in ascending order; InputError if there is none, or one that the case lacks."""
    try:
        given = list(slices)
        # A list of yes and no, one for each slice, is no list of numbers, though Python takes True for 1.
        if any(isinstance(z, bool | np.bool_) for z in given):
            raise TypeError
        numbers = sorted({index(z) for z in given})
    except TypeError:
        raise InputError(f"{case_id}: slices must be a list of whole numbers, got {slices!r}") from None
    if not numbers:
        raise InputError(f"{case_id}: no slice is named; name those to be saved")
    outside = [z for z in numbers if not 0 <= z < count]
    if outside:
        raise InputError(f"{case_id}: there is no slice {outside[0]}; it has slices 0 to {count - 1}")
    return numbers


def as_seconds(value: Any) -> float:
    """A time spent, in seconds; InputError if it is negative or no finite number, for which JSON has no word."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"seconds must be a finite number, got {value!r}")
    if seconds < 0:
        raise InputError(f"seconds cannot be negative, got {value!r}")
    return seconds
