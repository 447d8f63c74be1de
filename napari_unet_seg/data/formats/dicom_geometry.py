"""Where the slices of a DICOM series lie, from the position and orientation of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from napari_unet_seg.data.formats.grid import SCREEN, Grid, same_grid, screen_grid
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted

SAME_DIRECTION = 1e-3
"""Direction cosines that differ by less are the same: scanners round them."""

SAME_POSITION = 0.01
"""Slices closer than this, in mm, lie at the same place."""

UNEVEN = 0.1
"""Slices are evenly spaced if no step differs from the middle one by more than this part of it."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Where one slice lies; lengths in mm in DICOM's axes, left-posterior-superior."""

    position: tuple[float, float, float]
    """Centre of the first pixel."""

    orientation: tuple[float, float, float, float, float, float]
    """Direction of growing column index, then that of growing row index."""

    spacing: tuple[float, float]
    """Distance between rows, then between columns."""

    shape: tuple[int, int]
    """Rows and columns."""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector ``(3,)`` across the slice."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)

    def parallel(self, other: Plane) -> bool:
        """Whether rows and columns run in the same directions."""
        return bool(np.abs(np.subtract(self.orientation, other.orientation)).max() < SAME_DIRECTION)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The geometry of slices in order along their normal."""

    positions: NDArray[np.float64]
    """First pixel of each slice, ``(slices, 3)``, left-posterior-superior mm."""

    distance: float
    """From a slice to the next, in mm."""

    grid: Grid
    """Shape, affine and spacing on the axes of the screen."""

    notes: tuple[str, ...]

    uneven: str = ""
    """As of `Volume`."""

    @property
    def file_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns as in the files."""
        z, y, x = self.grid.shape
        turned = orientations.ornt_transform(SCREEN, self.grid.orientation)[:, 0].astype(int)
        lengths = np.empty(3, int)
        lengths[turned] = x, y, z
        return int(lengths[2]), int(lengths[1]), int(lengths[0])

    def to_screen(self, values: Array) -> Array:
        """Array ``(slices, rows, columns)`` of the files on the axes of the screen, ``(Z, Y, X)``."""
        return _turned(values, orientations.ornt_transform(self.grid.orientation, SCREEN))

    def to_file(self, values: Array) -> Array:
        """The reverse of `to_screen`."""
        return _turned(values, orientations.ornt_transform(SCREEN, self.grid.orientation))

    def same_as(self, other: Stack) -> bool:
        """Whether both have their voxels in the same places, slice by slice."""
        return (
            self.positions.shape == other.positions.shape
            and same_grid(self.grid, other.grid)
            and bool(np.abs(self.positions - other.positions).max() <= 0.1 * min(self.grid.spacing))
        )


def stacked(planes: Sequence[Plane], *, thickness: float | None, name: str, paths: Sequence[Path]) -> Stack:
    """The geometry of slices that are in order along their normal.

    Parameters
    ----------
    planes : sequence of Plane
        Parallel ones, at places of their own.
    thickness : float, optional
        Slice distance in mm that the header of a lone slice gives.
    name : str
        What to call the series in notes.
    paths : sequence of Path
        The file of each, for notes and errors.

    Raises
    ------
    InputError
        If slices differ in size or pixel spacing, or a spacing is no length.
    """
    first = planes[0]
    for plane, path in zip(planes, paths, strict=True):
        if plane.shape != first.shape:
            raise InputError(
                f"has {plane.shape[0]}x{plane.shape[1]} pixels but {paths[0].name} of the same series "
                f"{first.shape[0]}x{first.shape[1]}; keep slices of one size",
                path=path,
            )
        if not min(plane.spacing) > 0:
            raise InputError(
                f"gives the pixel spacing {plane.spacing} mm; correct it, or export the series again", path=path
            )
        if not np.allclose(plane.spacing, first.spacing, rtol=1e-3):
            raise InputError(f"its pixel spacing {plane.spacing} is not that of {paths[0].name}", path=path)
    positions = np.array([plane.position for plane in planes], dtype=np.float64)
    step, notes, uneven = _step(positions, first, thickness, name, paths)
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing[1])
    affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    known = len(planes) > 1 or thickness is not None
    lengths = (first.shape[1], first.shape[0], len(planes))
    grid = screen_grid(_LPS_TO_RAS @ affine, lengths, spacing_known=known, located=True, notes=notes)
    return Stack(positions=positions, distance=float(np.linalg.norm(step)), grid=grid, notes=notes, uneven=uneven)


def _step(
    positions: NDArray[np.float64], plane: Plane, thickness: float | None, name: str, paths: Sequence[Path]
) -> tuple[NDArray[np.float64], tuple[str, ...], str]:
    """Vector from a slice to the next, what had to be assumed, and `Stack.uneven`."""
    if len(positions) == 1:
        if thickness is None:
            return plane.normal, (f"{name} gives no distance between slices; {ASSUMED_SIZE}",), ""
        return plane.normal * thickness, (), ""
    steps = np.diff(positions @ plane.normal)
    middle = float(np.median(steps))
    apart = np.rint(steps / middle).astype(int)
    if (np.abs(steps - middle) <= UNEVEN * middle).all():
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
        straight = positions[0] + np.arange(len(positions))[:, None] * step
        if np.linalg.norm(positions - straight, axis=1).max() > 0.5 * min(plane.spacing):
            return step, (f"the slices of {name} are shifted against one another; they are shown as one block",), ""
        return step, (), ""
    # From the first slice to the last, for each mm of their normal: a tilted gantry moves sideways as well.
    along = (positions[-1] - positions[0]) / steps.sum()
    if (np.abs(steps - apart * middle) <= UNEVEN * middle).all() and (apart > 0).all():
        gaps = np.flatnonzero(apart > 1)
        missing = int((apart[gaps] - 1).sum())
        where = f"{paths[gaps[0]].name} and {paths[gaps[0] + 1].name}"
        many = f"lacks {counted(missing, 'slice')}, the first between {where}"
        return along * middle, (f"{name} {many}; the scan is shown without the gap",), many
    lie = f"lie {steps.min():.3g} to {steps.max():.3g} mm apart"
    return along * middle, (f"the slices of {name} {lie}; they are shown evenly",), f"its slices {lie}"


def _turned(values: Array, transform: NDArray[np.float64]) -> Array:
    turned: Array = orientations.apply_orientation(values.transpose(2, 1, 0), transform)
    return turned.transpose(2, 1, 0)
