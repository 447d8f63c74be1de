"""One head made from the ICBM 152 average: bent, turned and sharpened until it is somebody's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nilearn import datasets
from scipy import ndimage
from scipy.spatial.transform import Rotation

from training.sample_case.fields import Field, smooth_noise, step


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The 1 mm working grid; slices feet to head, rows front to back, columns patient's right to left."""

    shape: tuple[int, int, int] = (153, 240, 192)
    """``(Z, Y, X)``."""

    origin: tuple[float, float, float] = (95.5, 104.0, -58.0)
    """x y z in mm (right, anterior, superior) of the first voxel."""

    def coordinates(self) -> Field:
        """Position of every voxel, ``(3, Z, Y, X)``, x y z in mm."""
        z, y, x = np.indices(self.shape, dtype=np.float32)
        x0, y0, z0 = self.origin
        return np.stack([x0 - x, y0 - y, z0 + z])


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What lies where in one head."""

    where: Field
    """Atlas coordinates of every voxel, ``(3, Z, Y, X)``, x y z in mm: landmarks are found by these."""

    inside: Field
    """Fraction of the voxel within the brain's surface."""

    grey: Field
    white: Field
    csf: Field
    """Fractions of the voxel; the three sum to ``inside``."""

    ventricles: Field
    """The part of ``csf`` that lies deep: the ventricles, not the sulci."""


def warp(
    rng: np.random.Generator,
    grid: Grid,
    *,
    lesion: Sequence[float],
    swelling: float = 0.34,
    reach: float = 24.0,
) -> Field:
    """Atlas coordinates for every voxel of a tilted, asymmetric head with a mass in it.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : Grid
    lesion : three floats
        x y z in mm around which tissue is pushed outwards.
    swelling : float
        How much the tissue at the centre is stretched, as a share.
    reach : float
        Over how many mm the push fades.

    Returns
    -------
    ndarray
        ``(3, Z, Y, X)``, x y z in mm.
    """
    where = grid.coordinates()
    centre = np.reshape(np.asarray(lesion, np.float32), (3, 1, 1, 1))
    offset = where - centre
    squared = np.sum(offset**2, axis=0)
    where = centre + offset * (1 - swelling * np.exp(-squared / reach**2))

    tilt = Rotation.from_euler("xyz", [5.0, -2.0, 3.0], degrees=True).as_matrix() * 1.02
    where = np.einsum("ij,jzyx->izyx", tilt.astype(np.float32), where)
    for scale, size in ((38.0, 3.0), (14.0, 1.1)):
        where += size * np.stack([smooth_noise(rng, grid.shape, scale) for _ in range(3)])
    return where.astype(np.float32)


def make_anatomy(rng: np.random.Generator, where: Field) -> Anatomy:
    """Look the tissues up at the atlas coordinates ``where`` and sharpen them.

    The atlas is an average of 152 heads, so its cortex is a blur of theirs. Each voxel's odds are multiplied by
    noise as fine as a fold, then raised to a power: what was likely becomes so, and what was open is decided.
    """
    template = datasets.load_mni152_template(resolution=1)
    to_voxel = np.linalg.inv(template.affine)
    index = np.einsum("ij,jzyx->izyx", to_voxel[:3, :3], where) + to_voxel[:3, 3].reshape(3, 1, 1, 1)

    def look_up(values: Field) -> Field:
        return np.asarray(ndimage.map_coordinates(values, index, order=1, mode="constant"), np.float32)

    inside = look_up((template.get_fdata() > 0).astype(np.float32))
    grey = look_up(datasets.load_mni152_gm_template(resolution=1).get_fdata(dtype=np.float32))
    white = look_up(datasets.load_mni152_wm_template(resolution=1).get_fdata(dtype=np.float32))
    csf = np.clip(1 - grey - white, 0, 1)
    # Where each head has a sulcus of its own, the average is mostly cortex; CSF gets a head start.
    likely = [(grey, 1.0), (white, 1.0), (csf, 1.5)]
    odds = [(share * weight * np.exp(0.45 * smooth_noise(rng, inside.shape, 1.4))) ** 2.5 for share, weight in likely]
    total = np.maximum(sum(odds), 1e-6)
    # The skull-stripped edge is a step; a head's is not.
    surface = step(ndimage.gaussian_filter(inside, 1.0) - 0.5, 0.5)
    grey, white, csf = (np.asarray(surface * odd / total, np.float32) for odd in odds)
    return Anatomy(where=where, inside=surface, grey=grey, white=white, csf=csf, ventricles=_deep(csf, inside=surface))


def _deep(csf: Field, *, inside: Field) -> Field:
    """CSF in large cavities far from the brain's surface."""
    cavity, _ = ndimage.label((csf > 0.5) & (ndimage.distance_transform_edt(inside > 0.5) > 14))
    sizes = np.bincount(cavity.ravel())
    sizes[0] = 0
    return np.asarray(csf * ndimage.binary_dilation(sizes[cavity] > 300, iterations=2), np.float32)
