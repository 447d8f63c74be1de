"""A small brain for tests, made on the spot, and a dataset of such brains on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet_seg.data.volume import Mask, Volume

SIGNAL = {
    "scalp": (130, 110, 130),
    "skull": (6, 6, 6),
    "white": (62, 50, 64),
    "grey": (48, 62, 54),
    "csf": (16, 8, 18),
    "lesion": (40, 105, 48),
    "rim": (44, 95, 120),
}
"""Brightness of each tissue in pre-contrast T1, FLAIR and post-contrast T1."""


def make_phantom(
    *, slices: int = 12, size: int = 64, seed: int = 0, spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)
) -> tuple[Volume, Mask]:
    """A head with ventricles and one lesion that is bright on FLAIR, where and how large the seed says.

    Parameters
    ----------
    slices, size : int
        The volume is ``(slices, size, size)``. Four slices or more leave some without lesion.
    seed : int
        The same seed gives the same head.
    spacing : three floats
        Distance between voxels along ``(z, y, x)`` in mm; it is written down, the shapes scale with the grid.

    Returns
    -------
    volume : Volume
        uint8 ``(3, Z, Y, X)``, channels ``pre``, ``flair``, ``post``.
    mask : ndarray
        ``(Z, Y, X)`` uint8, 1 in the lesion.

    Raises
    ------
    ValueError
        If there is no slice, or fewer than 16 pixels a side.
    """
    if slices < 1 or size < 16:
        raise ValueError(f"a phantom needs a slice and 16 pixels a side, got {slices} slices of {size}")
    rng = np.random.default_rng(seed)
    # -1..1 along each axis; half a voxel in from the border, so that a single slice lies in the middle.
    z, y, x = np.meshgrid(*(_axis(n) for n in (slices, size, size)), indexing="ij", sparse=True)
    bent = x + 0.03 * np.sin(5 * y + rng.uniform(0, 6))
    head = np.sqrt((z / 1.15) ** 2 + (y / 0.92) ** 2 + (bent / 0.76) ** 2)
    # Folds of the cortex: the border between grey and white matter winds around the head.
    folds = 0.05 * head.clip(max=1) * np.sin(9 * np.arctan2(y, bent) + rng.uniform(0, 6))
    ventricles = np.minimum(_ellipsoid(z, y, bent, (0, 0, 0.14)), _ellipsoid(z, y, bent, (0, 0, -0.14))) < 1

    side = rng.choice((-1.0, 1.0))
    centre = (rng.uniform(-0.1, 0.25), rng.uniform(-0.35, 0.3), side * rng.uniform(0.32, 0.38))
    radius = rng.uniform(0.17, 0.22)
    # Less than half the head's height, so that the first and the last slices stay empty.
    lesion = np.sqrt(((z - centre[0]) / 0.42) ** 2 + ((y - centre[1]) ** 2 + (bent - centre[2]) ** 2) / radius**2)
    angle = np.arctan2(y - centre[1], bent - centre[2])
    lesion = lesion + 0.12 * lesion.clip(max=1) * np.sin(5 * angle + rng.uniform(0, 6))

    within = head < 0.8
    tissues: list[tuple[str, NDArray[np.bool_]]] = [
        ("scalp", head < 1),
        ("skull", head < 0.93),
        ("csf", head < 0.85),
        ("grey", within),
        ("white", head < 0.68 + folds),
        ("csf", within & ventricles),
        ("lesion", within & ~ventricles & (lesion < 1)),
        ("rim", within & ~ventricles & (lesion < 0.62) & (lesion > 0.35)),
    ]
    data = np.zeros((3, slices, size, size), np.float32)
    for tissue, where in tissues:
        data[:, where] = np.asarray(SIGNAL[tissue], np.float32)[:, None]
    data = ndimage.gaussian_filter(data, (0, 0, 0.6, 0.6))
    real, imaginary = rng.normal(0, 2, (2, *data.shape)).astype(np.float32)
    data = np.hypot(data + real, imaginary)

    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    volume = Volume(
        data=np.clip(np.rint(data), 0, 255).astype(np.uint8),
        channel_names=("pre", "flair", "post"),
        spacing=spacing,
        affine=affine,
    )
    return volume, (within & ~ventricles & (lesion < 1)).astype(np.uint8)


def _axis(n: int) -> NDArray[np.float64]:
    return (np.arange(n) + 0.5) * 2 / n - 1


def _ellipsoid(
    z: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], centre: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Distance from the middle of a ventricle, 1 on its wall."""
    offset = (z - centre[0], y - centre[1], x - centre[2])
    return np.asarray(np.sqrt(sum((d / r) ** 2 for d, r in zip(offset, (0.4, 0.28, 0.07), strict=True))))


def write_kaggle(folder: Path | str, *, patients: int = 3, seed: int = 0, **phantom: Any) -> Path:
    """Write phantoms as the public LGG dataset lies on disk: a folder a patient, an RGB TIFF and a mask a slice.

    Parameters
    ----------
    folder : Path or str
        ``kaggle_3m`` is made in it.
    patients : int
        How many; they differ in their seed.
    seed : int
        Seed of the first patient; the next ones count up.
    **phantom
        ``slices``, ``size``, ``spacing`` of :func:`make_phantom`.

    Returns
    -------
    Path
        The ``kaggle_3m`` folder.
    """
    root = Path(folder) / "kaggle_3m"
    for number in range(patients):
        volume, mask = make_phantom(seed=seed + number, **phantom)
        patient = f"TCGA_XX_{1000 + number}_20000101"
        (root / patient).mkdir(parents=True, exist_ok=True)
        for n in range(len(mask)):
            stem = root / patient / f"{patient}_{n + 1}"
            tifffile.imwrite(f"{stem}.tif", np.moveaxis(volume.data[:, n], 0, -1), photometric="rgb")
            tifffile.imwrite(f"{stem}_mask.tif", mask[n] * np.uint8(255), photometric="minisblack")
    return root
