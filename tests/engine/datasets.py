"""Datasets of phantoms, with and without masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Mask

SLICES, SIZE = 8, 96
"""Large enough for the shipped model to see the lesions: its Dice is about 0.9."""


def write_phantoms(folder: Path, names: str, *, masks: str) -> Path:
    """A dataset in the LGG layout with a case for each letter of `names`; those in `masks` have their mask."""
    for name in names:
        volume, mask = make_phantom(slices=SLICES, size=SIZE, seed=ord(name))
        (folder / name).mkdir(parents=True)
        for z in range(SLICES):
            tifffile.imwrite(folder / name / f"{name}_{z + 1}.tif", np.moveaxis(volume.data[:, z], 0, -1))
            if name in masks:
                tifffile.imwrite(folder / name / f"{name}_{z + 1}_mask.tif", mask[z] * 255)
    return folder


def truth_of(name: str) -> Mask:
    """The true mask of a case of `write_phantoms`, ``(Z, Y, X)``."""
    return make_phantom(slices=SLICES, size=SIZE, seed=ord(name))[1]
