"""Make the sample case that ships with the package: ``python -m training.make_sample --output DIR``.

A head is made from the ICBM 152 2009a tissue maps that nilearn carries, a glioma is grown in it, and both are scanned
as a hospital would: pre-contrast T1, FLAIR and post-contrast T1 in slices of 5 mm. No patient's pixels are used.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet_seg.data.formats.atomic import write_bytes
from training.command_line import command, command_parser, natural_int
from training.sample_case.anatomy import Grid, make_anatomy, warp
from training.sample_case.head import SEQUENCES, make_head
from training.sample_case.lesion import add_glioma, add_mimics
from training.sample_case.scanner import Protocol, scan, through_plane

LESION = (33.0, 20.0, 27.0)
"""x y z in mm, right anterior superior: white matter of the right frontal lobe."""

PROTOCOLS = {
    "t1": Protocol(noise=1.9, matrix=0.9),
    "flair": Protocol(noise=2.3, matrix=0.82, shading=0.11),
    "t1ce": Protocol(noise=2.0, matrix=0.9),
}


def make_sample(seed: int) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.float64]]:
    """The sample's images by file name, ``(Z, Y, X)`` uint8, with their common affine.

    Parameters
    ----------
    seed : int
        The same seed gives the same head.

    Returns
    -------
    images : dict
        ``t1``, ``flair``, ``t1ce`` and ``mask`` (1 where at least half of the voxel is tumour or oedema).
    affine : ndarray
        4x4, voxel ``(x, y, z)`` to right-anterior-superior mm.
    """
    rng = np.random.default_rng(seed)
    grid = Grid()
    where = warp(rng, grid, lesion=LESION)
    anatomy = make_anatomy(rng, where)
    signal = make_head(rng, anatomy)
    add_mimics(rng, signal, anatomy, away_from=LESION)
    lesion = add_glioma(rng, signal, anatomy, centre=LESION)

    slice_mm = PROTOCOLS["flair"].slice_mm
    slices = np.arange(18, grid.shape[0], int(slice_mm))
    images = {
        name: scan(rng, field, slices=slices, protocol=PROTOCOLS[name])
        for name, field in zip(SEQUENCES, signal, strict=True)
    }
    share = through_plane(ndimage.gaussian_filter(lesion, 0.6), slices=slices, slice_mm=slice_mm)
    images["mask"] = _largest(share >= 0.5)

    x0, y0, z0 = grid.origin
    affine = np.diag([-1.0, -1.0, slice_mm, 1.0])
    affine[:3, 3] = x0, y0, z0 + slices[0]
    return images, affine


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The largest piece alone: specks across a sulcus are no one's ground truth."""
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == sizes.argmax(), np.uint8)


def save(path: Path, image: NDArray[np.uint8], affine: NDArray[np.float64]) -> None:
    """Write ``(Z, Y, X)`` as NIfTI; byte for byte the same for the same image, so without a time in the gzip."""
    nifti = nib.Nifti1Image(np.ascontiguousarray(image.transpose(2, 1, 0)), affine)
    nifti.header.set_xyzt_units("mm")
    nifti.set_sform(affine, code="mni")
    nifti.set_qform(affine, code="mni")
    write_bytes(path, gzip.compress(nifti.to_bytes(), compresslevel=9, mtime=0))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the sample and say how large it and its lesion are."""
    parser = command_parser("training.make_sample", __doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write the four NIfTI files to")
    parser.add_argument("--seed", type=natural_int, default=152, help="other seed, other head (default: %(default)s)")
    options = parser.parse_args(arguments)

    images, affine = make_sample(options.seed)
    for name, image in images.items():
        path = options.output / f"sample_{name}.nii.gz"
        save(path, image, affine)
        print(f"{path}: {image.shape}, {path.stat().st_size / 1e6:.2f} MB")
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    print(f"lesion: {images['mask'].sum() * voxel_ml:.1f} ml in {images['mask'].any((1, 2)).sum()} slices")
    return 0


if __name__ == "__main__":
    sys.exit(main())
