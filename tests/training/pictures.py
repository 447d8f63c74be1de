"""Single pictures with masks beside, in folders that give the split, as the project of seed 004 has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_unet_seg.data.phantom import make_phantom


def write_pictures(root: Path) -> Path:
    """RGB pictures of 32 x 32 pixels in ``train``, ``valid`` and ``test``, three each; returns the folder."""
    for part, mask_folder in (("train", "train_mask"), ("valid", "val_mask"), ("test", "test_mask")):
        for folder in (part, mask_folder):
            (root / folder).mkdir(parents=True)
        for number in range(3):
            volume, mask = make_phantom(slices=4, size=32, seed=number)
            Image.fromarray(np.moveaxis(volume.data[:, 2], 0, -1)).save(root / part / f"{part}_{number}.png")
            Image.fromarray(mask[2] * np.uint8(255)).save(root / mask_folder / f"{part}_{number}.png")
    return root
