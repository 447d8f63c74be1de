"""Where a layer's voxels lie in the patient, from all that napari knows of the layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import screen_affine

Matrix = NDArray[np.float64]


class LayerGeometry(NamedTuple):
    """The geometry of a layer ``(Z, Y, X)``, or ``(Y, X)`` as one slice."""

    spacing: tuple[float, float, float]
    """``(z, y, x)``, in mm where the layer's units are lengths."""

    affine: Matrix
    """4x4 from voxel ``(x, y, z)`` to right-anterior-superior mm."""

    moved: bool
    """Whether it lies otherwise than the scan it came from, cropped for example."""


def layer_geometry(meta: Mapping[str, Any]) -> LayerGeometry:
    """The geometry that a writer is given.

    Parameters
    ----------
    meta : mapping
        What napari hands a writer: ``scale``, ``translate``, ``rotate``, ``shear``, ``affine``, ``units`` of pint,
        and ``metadata``, in which `layers.origin_of` may have put the affine of the scan.
    """
    scan = affine_of_scan(meta.get("metadata", {}))
    if scan is None:
        affine, moved = screen_affine((1.0, 1.0, 1.0)) @ _to_world(meta, thickness=1.0), False
    else:
        size = np.diag([*np.linalg.norm(scan[:3, :3], axis=0), 1.0])
        world = _to_world(meta, thickness=size[2, 2])
        moved = not np.allclose(world, size, rtol=1e-4, atol=1e-4)
        affine = scan @ np.linalg.inv(size) @ world if moved else scan
    x, y, z = (float(length) or 1.0 for length in np.linalg.norm(affine[:3, :3], axis=0))
    return LayerGeometry((z, y, x), affine, moved)


def _to_world(meta: Mapping[str, Any], *, thickness: float) -> Matrix:
    """From voxel ``(x, y, z)`` to napari's world, its axes in the same order, in mm where they are lengths.

    A slice by itself is so thick, in mm.
    """
    from napari.utils.transforms import Affine, CompositeAffine

    scale = np.atleast_1d(np.asarray(meta.get("scale", (1.0, 1.0, 1.0)), dtype=np.float64))
    scale = np.where(scale == 0, 1.0, scale)
    given = {key: meta[key] for key in ("translate", "rotate", "shear") if meta.get(key) is not None}
    whole = CompositeAffine(scale=scale, ndim=len(scale), **given).affine_matrix
    if meta.get("affine") is not None:
        further = np.asarray(meta["affine"], dtype=np.float64)
        whole = Affine(affine_matrix=further, ndim=len(scale)).affine_matrix @ whole
    factors = np.ones(len(scale))
    for axis, unit in enumerate(meta.get("units") or ()):
        factors[axis] = _millimetres(unit)
    whole[:-1] *= factors[:, None]
    used = min(3, len(scale))
    # The last axis comes first.
    matrix = np.diag([1.0, 1.0, thickness, 1.0])
    matrix[:used, :used] = whole[-1 - used : -1, -1 - used : -1][::-1, ::-1]
    matrix[:used, 3] = whole[-1 - used : -1, -1][::-1]
    return matrix


def _millimetres(unit: Any) -> float:
    """How many a unit is; 1 for what is no length."""
    return float((1.0 * unit).m_as("mm")) if unit.is_compatible_with("mm") else 1.0


def affine_of_scan(known: Mapping[str, Any]) -> Matrix | None:
    """The one of the scan; None where metadata have none, or another program's under the same name."""
    affine = known.get("affine")
    if not isinstance(affine, np.ndarray) or affine.shape != (4, 4) or not np.issubdtype(affine.dtype, np.number):
        return None
    return np.asarray(affine, dtype=np.float64) if np.isfinite(affine).all() else None
