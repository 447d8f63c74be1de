"""From probabilities to a mask; NumPy alone, so the window may call it."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import InputError

_CRUMB = 0.1
"""Of the largest piece: a piece of a tumour is larger."""

_SLACK = 0.8
"""Of what a known piece is of the largest: in a mask that differs a little, as without the corrections put in, it may
be less."""


def mask_from_probability(
    probability: NDArray[np.float32],
    *,
    threshold: float = 0.5,
    largest_component: bool = False,
    min_fraction: float = 0.0,
) -> Mask:
    """The mask of a probability map.

    Parameters
    ----------
    probability : ndarray
        ``(Z, Y, X)`` of one class, or ``(K, Z, Y, X)``, which need not add up to 1: of the classes that reach the
        threshold, each voxel belongs to the likeliest.
    threshold : float
        Probability from which a voxel is foreground.
    largest_component : bool
        Keep only the largest connected piece of the foreground (faces, edges and corners connect).
    min_fraction : float
        Leave out pieces smaller than this fraction of the largest one.

    Returns
    -------
    ndarray
        ``(Z, Y, X)`` uint8; 0 background, classes from 1.
    """
    if probability.ndim == 4:
        classes = probability.argmax(axis=0)
        mask = np.where(probability.max(axis=0) >= threshold, classes + 1, 0).astype(np.uint8)
    else:
        mask = (probability >= threshold).view(np.uint8)
    if largest_component or min_fraction > 0:
        mask = keep_components(mask, largest=largest_component, min_fraction=min_fraction)
    return mask


def check_threshold(threshold: object, *, called: str = "the threshold") -> None:
    """Raise InputError for what is no number between 0 and 1: with NaN, every mask would be empty."""
    if not isinstance(threshold, Real) or not 0 < float(threshold) < 1:
        raise InputError(f"{called} must lie between 0 and 1, got {threshold!r}")


def any_class(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(Z, Y, X)``: of several classes ``(K, Z, Y, X)``, the likeliest of each voxel."""
    return probability if probability.ndim == 3 else np.asarray(probability.max(axis=0))


def keep_components(mask: Mask, *, largest: bool, min_fraction: float = 0.0) -> Mask:
    """The mask with only its largest connected piece, or without its small ones.

    Parameters
    ----------
    mask : ndarray
        ``(Z, Y, X)`` uint8; all foreground labels count as one for the connection.
    largest : bool
        Keep the largest piece alone; of equal ones the first in array order.
    min_fraction : float
        Leave out pieces with fewer voxels than this fraction of the largest one's.
    """
    box = foreground_box(mask)
    if box is None:
        return mask
    inside = mask[box]
    pieces, sizes = _pieces(inside)
    if len(sizes) <= 2:
        return mask
    wanted = sizes >= min_fraction * sizes.max()
    if largest:
        wanted &= np.arange(len(sizes)) == sizes.argmax()
    wanted[0] = False
    kept = np.zeros_like(mask)
    np.multiply(inside, wanted[pieces], out=kept[box])
    return kept


def fraction_to_keep(mask: Mask, known: NDArray[np.bool_], *, usual: float) -> float:
    """The fraction for `keep_components` that leaves out no piece known to be foreground.

    Parameters
    ----------
    mask : ndarray
        ``(Z, Y, X)`` uint8, of one class.
    known : ndarray
        ``(Z, Y, X)``: where the foreground is known.
    usual : float
        The fraction where all of those pieces are larger.

    Returns
    -------
    float
        `usual`, or four fifths of what the smallest piece that holds any of `known` is of the largest piece; crumbs
        under a tenth of that say nothing.
    """
    box = foreground_box(mask)
    if box is None:
        return usual
    pieces, sizes = _pieces(mask[box])
    fractions = sizes[np.unique(pieces[known[box]])] / sizes.max()
    # Of the background, which is no piece, none are counted.
    return float(min([usual, *(_SLACK * fractions[fractions >= _CRUMB])]))


def confirmed_pieces(before: Mask, after: Mask, *, corrected: Sequence[int], share: float) -> NDArray[np.bool_]:
    """Where the pieces of a mask are that a new one still has, and that no correction has taken away.

    Parameters
    ----------
    before, after : ndarray
        ``(Z, Y, X)`` uint8, of one class; in the new one, corrected slices are as they were corrected.
    corrected : sequence of int
        Those slices. A piece of which they have left nothing, where it met them, was wrong.
    share : float
        How much of a piece's voxels on the other slices the new mask must have.

    Returns
    -------
    ndarray
        ``(Z, Y, X)`` bool: the foreground of the new mask that belongs to such pieces.
    """
    stay = np.zeros(before.shape, dtype=bool)
    box = foreground_box(before)
    if box is None:
        return stay
    pieces, sizes = _pieces(before[box])
    kept, looked_at = after[box] > 0, np.zeros(len(before), dtype=bool)
    looked_at[list(corrected)] = True
    met = np.broadcast_to(looked_at[box[0], None, None], pieces.shape)

    def count(where: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(pieces[where], minlength=len(sizes))

    there, untouched = count(met), count(~met)
    wanted = (untouched > 0) & (count(~met & kept) >= share * untouched) & ((there == 0) | (count(met & kept) > 0))
    wanted[0] = False
    stay[box] = wanted[pieces] & kept & ~met
    return stay


def _pieces(inside: Mask) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """The number of the piece that each voxel is of, from 1, 0 in the background; and how many voxels each has."""
    # Imported here: a quarter of a second that the opening of the dock need not wait for.
    from scipy import ndimage

    pieces, _ = ndimage.label(inside, structure=np.ones((3, 3, 3), dtype=bool))
    # Of the foreground alone: counting takes eight bytes a voxel.
    return pieces, np.bincount(pieces[inside > 0])


def foreground_box(mask: NDArray[Any]) -> tuple[slice, slice, slice] | None:
    """The smallest box around the foreground of ``(Z, Y, X)``, or None where there is none."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return None
    flat = np.asarray(mask[planes[0] : planes[-1] + 1].any(axis=0))
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    return (
        slice(int(planes[0]), int(planes[-1]) + 1),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )
