"""Datasets to be corrected, and what lies in them."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle

CASE = "TCGA_XX_1000_20000101"


def kaggle(folder, *, patients=1, slices=4, masks=True):
    """Patients of 16x16 pixels; without masks if told so."""
    root = write_kaggle(folder, patients=patients, slices=slices, size=16)
    if not masks:
        for path in root.rglob("*_mask.tif"):
            path.unlink()
    return root


def nifti(folder, *, slices=5, mask=True, values=(0, 1), kind=np.uint8, affine=None):
    """One scan of ``(slices, 12, 10)`` voxels in a folder of its own, with its mask beside it."""
    root = folder / "nifti"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(rng.integers(0, 99, (10, 12, slices)).astype(np.int16), affine), root / "p1.nii.gz")
    if mask:
        labels = rng.choice(np.array(values), (10, 12, slices)).astype(kind)
        nib.save(nib.Nifti1Image(labels, affine), root / "p1_mask.nii.gz")
    return root


def opened(root, **options):
    """The dataset and the mask of its first case as it was read."""
    dataset = open_dataset(root, **options)
    return dataset, dataset.cases[0].read_mask()


def content(root):
    """Bytes of every file that is not ours, by name."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in files
        if ".unetseg" not in path.relative_to(root).parts
    }


def flipped(mask, *slices):
    """A mask with 0 and 1 exchanged in some slices."""
    edited = mask.copy()
    for z in slices:
        edited[z] = 1 - edited[z]
    return edited
