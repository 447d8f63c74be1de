"""Where the voxels of a file lie once its axes run as on a radiologist's screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

SCREEN = orientations.axcodes2ornt(("L", "P", "S"))
"""Array index x runs to the patient's left, y to the back, z to the head."""

GRID_TOLERANCE = 0.25
"""Grids are the same if no corner of the scan lies further apart than this part of the smallest voxel side."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the voxels of a file lie, once its axes run as on the screen."""

    shape: tuple[int, int, int]
    """``(Z, Y, X)``."""

    affine: NDArray[np.float64]
    """4x4 from voxel ``(x, y, z)`` to right-anterior-superior mm."""

    orientation: NDArray[np.float64]
    """Orientation of the file's own array, in nibabel's terms."""

    spacing: tuple[float, float, float]
    """``(z, y, x)`` in mm."""

    spacing_known: bool
    located: bool
    """Whether the header says how the patient lay (sform or qform)."""

    notes: tuple[str, ...]


def screen_grid(
    affine: NDArray[np.float64],
    lengths: tuple[int, int, int],
    *,
    spacing_known: bool,
    located: bool,
    notes: tuple[str, ...],
) -> Grid:
    """The grid of a file's own array, its axes turned.

    Parameters
    ----------
    affine : ndarray
        4x4 from the file's voxel ``(x, y, z)`` to right-anterior-superior mm.
    lengths : tuple of int
        Of the file's axes ``(x, y, z)``.
    spacing_known, located, notes
        As in `Grid`.
    """
    orientation = orientations.io_orientation(affine)
    to_screen = orientations.ornt_transform(orientation, SCREEN)
    affine = affine @ orientations.inv_ornt_aff(to_screen, lengths)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turned = np.empty(3, int)
    turned[to_screen[:, 0].astype(int)] = lengths
    return Grid(
        shape=(int(turned[2]), int(turned[1]), int(turned[0])),
        affine=affine,
        orientation=orientation,
        spacing=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        spacing_known=spacing_known,
        located=located,
        notes=notes,
    )


def elsewhere(grid: Grid, reference: Grid, *, name: str) -> str:
    """What is wrong with a file that has its voxels in other places than another, of this name, and what to do."""
    if grid.located == reference.located:
        return f"lies elsewhere in space than {name}; resample it to that grid"
    return (
        f"cannot be laid over {name}: only one of the two says how the patient lay; if they are of one grid, copy the "
        "orientation (sform and qform) from the one to the other"
    )


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two files have their voxels in the same places."""
    if one.shape != other.shape:
        return False
    z, y, x = one.shape
    corners = np.array([[i, j, k, 1] for i in (0, x - 1) for j in (0, y - 1) for k in (0, z - 1)], dtype=float)
    apart = np.linalg.norm((corners @ (one.affine - other.affine).T)[:, :3], axis=1)
    return bool(apart.max() <= GRID_TOLERANCE * min(one.spacing))
