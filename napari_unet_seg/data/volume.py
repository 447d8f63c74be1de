"""A scan's pixels with the geometry that belongs to them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.uint8]
"""A mask: ``(Z, Y, X)`` uint8, 0 is background."""

WHITE = (255, 65535)
"""Ends of the gray scale: the foreground of a mask that is a picture."""

_LOWEST_GRAY = 64
"""From here on a value is rather a gray level than the number of a class."""

ASSUMED_SIZE = "1 mm is assumed"
"""How a note of a `Volume` ends that tells of a spacing that its file does not give."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """One scan: pixels, channel names and geometry.

    The axes run as on a radiologist's screen wherever the file says how the patient lay: slices from feet to head,
    rows from front to back, columns from the patient's right to the left.
    """

    data: Array
    """Pixels ``(C, Z, Y, X)`` in the file's own type (native byte order; bool becomes uint8).

    Not to be changed in place: what is worked out of them is kept. `dataclasses.replace` makes a volume of others."""

    channel_names: tuple[str, ...]
    """A name for each channel; ``""`` where the file gives none."""

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Distance between neighbouring voxels along ``(z, y, x)`` in mm."""

    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    """4x4 matrix from voxel ``(x, y, z)`` to scanner millimetres, right-anterior-superior as in NIfTI."""

    spacing_known: bool = True
    """False where the file leaves the spacing of an axis open and 1 mm stands in for it."""

    source: Path | None = None
    """The file or folder it was read from."""

    notes: tuple[str, ...] = ()
    """What the reader had to assume, in words for the user."""

    uneven: str = ""
    """Why the affine does not hold for every slice, in words for the user; empty where it does."""

    def __post_init__(self) -> None:
        if self.data.ndim != 4:
            raise InputError(f"expected axes (C, Z, Y, X), got shape {self.data.shape}", path=self.source)
        if 0 in self.data.shape:
            raise InputError(f"the image has no pixels, its shape is {self.data.shape}", path=self.source)
        if len(self.channel_names) != self.data.shape[0]:
            raise InputError(
                f"{self.data.shape[0]} channels but {len(self.channel_names)} channel names", path=self.source
            )
        if len(self.spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise InputError(f"spacing must be three positive lengths in mm, got {self.spacing}", path=self.source)
        if self.affine.shape != (4, 4):
            raise InputError(f"affine must be 4x4, got {self.affine.shape}", path=self.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``."""
        z, y, x = self.data.shape[1:]
        return z, y, x

    @property
    def pixel_size_known(self) -> bool:
        """Whether the size of a pixel in the plane is the file's, whatever the distance between slices is."""
        return self.spacing_known or self.spacing[1:] != (1.0, 1.0)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return millilitres(self.spacing, affine=self.affine)


def millilitres(spacing: tuple[float, float, float], *, affine: NDArray[np.float64] | None = None) -> float:
    """Volume of one voxel in millilitres.

    Where the slices are shifted against one another, as in a tilted gantry, it leans, and is less than its sides say.

    Parameters
    ----------
    spacing : tuple of float
        Length of its sides along ``(z, y, x)`` in mm.
    affine : ndarray, optional
        4x4; its lengths do not matter, only the angles between the axes. By default they are right ones.
    """
    z, y, x = spacing
    if affine is None:
        return z * y * x / 1000.0
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    upright = float(abs(np.linalg.det(affine[:3, :3] / sides))) if sides.all() else 1.0
    return z * y * x * upright / 1000.0


def screen_affine(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Affine of a scan whose axes run as `Volume` has them, with the first voxel at the origin.

    Parameters
    ----------
    spacing : tuple of float
        ``(z, y, x)`` in mm.

    Returns
    -------
    ndarray
        4x4 from voxel ``(x, y, z)`` to right-anterior-superior millimetres: x runs to the left and y to the back.
    """
    z, y, x = spacing
    return np.diag([-x, -y, z, 1.0])


def labels_in(planes: Iterable[Mask]) -> list[int]:
    """The labels of some slices ``(Y, X)`` in ascending order, without 0; quick where there are none above 1."""
    found: set[int] = set()
    for plane in planes:
        high = int(plane.max(initial=0))
        # Counted, not sorted as by np.unique: the pixels of a scan are many, and the window waits for it.
        found |= {high} if high < 2 else set(np.flatnonzero(np.bincount(plane.ravel())).tolist())
    return sorted(found - {0})


def foreground_values(stored: Array) -> tuple[int, ...]:
    """The foreground value; none where all is background; the lowest and the highest where there are several."""
    high = int(stored.max(initial=0))
    if high <= 0:
        return ()
    between = stored[(stored > 0) & (stored < high)]
    return (int(between.min()), high) if between.size else (high,)


def value_of_one(values: Sequence[int], *, foreground: int = 1, classes: Container[int] = ()) -> int:
    """The stored value that stands for label 1; every other one stands for itself.

    A class that a case shows alone stays that class: 2 where there is edema but no necrosis. White is no class but the
    tumour, by itself (255, as in pictures) and beside a class that was painted later; so is any gray by itself. What
    the dataset calls a class is one, however high.

    Parameters
    ----------
    values : sequence of int
        As `foreground_values` gives them.
    foreground : int
        See `Scan.foreground`.
    classes : container of int
        What `Scan.classes` says.
    """
    if foreground in classes and all(value in classes for value in values):
        return foreground
    if values and values[0] != 1:
        low, high = values[0], values[-1]
        if high >= _LOWEST_GRAY and (low == high or (high in WHITE and low < _LOWEST_GRAY)):
            return high
    # Where the dataset starts to count its classes later; 255 is not where it starts.
    return foreground if foreground < _LOWEST_GRAY and 1 not in values else 1


def is_one_foreground(found: Iterable[tuple[int, ...]], *, classes: Container[int] = ()) -> bool:
    """Whether the files of a case differ in nothing but how they store the one foreground: 1 in some, white in others.

    A file that holds both tells them apart: 255 may be what it has for "not sure".

    Parameters
    ----------
    found : iterable of tuples
        `foreground_values` of each file.
    classes : container of int
        What `Scan.classes` says.
    """
    values = {each for each in found if each}
    return len(values) > 1 and all(
        len(each) == 1 and each[0] in (1, *WHITE) and each[0] not in classes for each in values
    )


def to_labels(stored: Array, one: int, *, path: Path | None = None) -> Mask:
    """Stored values as labels, where one of them stands for label 1; InputError if there are others above 255."""
    ones = stored == one
    high = int(stored.max(initial=0))
    if high > 255 and (high != one or (high := int(stored[~ones].max(initial=0))) > 255):
        raise InputError(f"the mask has labels up to {high}; at most 255 classes are supported", path=path)
    labels = stored.astype(np.uint8)
    if one != 1:
        labels[ones] = 1
    return labels


def whole_labels(values: Array, *, path: Path | None = None) -> Array:
    """A mask's values as integers, otherwise as they are stored.

    Parameters
    ----------
    values : ndarray
        ``(Z, Y, X)``; bool, integers, or floats that are whole numbers.
    path : Path, optional
        The file it came from, for the error message.

    Raises
    ------
    InputError
        If values are fractional, negative, NaN or infinite.
    """
    if values.ndim != 3:
        raise InputError(f"a mask needs axes (Z, Y, X), got shape {values.shape}", path=path)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if not np.issubdtype(values.dtype, np.integer):
        if not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"a mask cannot be of type {values.dtype}; save it as whole-number labels", path=path)
        if not np.isfinite(values).all():
            raise InputError("the mask holds NaN or infinite values; save it as whole-number labels", path=path)
        if (values != np.rint(values)).any():
            raise InputError(
                "the mask holds fractions, so it may be a probability map; threshold it and save whole-number labels",
                path=path,
            )
        # As a float of Python's: a half-precision one cannot be compared with a number that it cannot hold.
        if float(values.max(initial=0)) >= 2.0**63:
            raise InputError(
                f"the mask has labels up to {values.max():g}; at most 255 classes are supported", path=path
            )
    low = values.min()
    if low < 0:
        raise InputError(f"the mask holds negative labels (down to {low}); labels start at 0", path=path)
    if np.issubdtype(values.dtype, np.integer):
        return values
    whole: Array = values.astype(np.min_scalar_type(int(values.max())))
    return whole
