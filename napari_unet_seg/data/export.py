"""A mask into a file of its own, with the geometry of the scan it was drawn on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, nifti, tiff
from napari_unet_seg.data.formats.extensions import is_nifti, is_tiff
from napari_unet_seg.data.volume import Mask, Volume, screen_affine
from napari_unet_seg.errors import InputError


def export_mask(
    path: Path,
    mask: Mask,
    *,
    spacing: tuple[float, float, float],
    affine: NDArray[np.float64] | None = None,
    spacing_known: bool = True,
    source: Path | None = None,
) -> None:
    """Write a mask as NIfTI, TIFF or DICOM segmentation.

    Parameters
    ----------
    path : Path
        Its ending decides: ``.nii``, ``.nii.gz``, ``.tif``, ``.tiff`` or ``.dcm``. Replaced at once if it exists.
    mask : Mask
        ``(Z, Y, X)`` on the axes of a `Volume`.
    spacing : tuple of float
        ``(z, y, x)`` in mm.
    affine : ndarray, optional
        4x4 from voxel ``(x, y, z)`` to right-anterior-superior mm; by default one that has the spacing alone.
    spacing_known : bool
        Whether the spacing is that of the patient, and not a stand-in.
    source : Path, optional
        The scan's file or folder. A NIfTI or TIFF file gives the mask its own orientation and tags; a DICOM
        segmentation needs the series that it belongs to.

    Raises
    ------
    InputError
        If the ending is none of these, the DICOM series is not there, or the file cannot be written.
    """
    like = source if source is not None and source.is_file() else None
    if is_nifti(path.name):
        if like is not None and is_nifti(like.name) and nifti.read_shape(like) == mask.shape:
            nifti.write_mask(path, mask, like=like)
            return
        volume = Volume(
            data=mask[None],
            channel_names=("",),
            spacing=spacing,
            affine=screen_affine(spacing) if affine is None else affine,
            spacing_known=spacing_known,
        )
        atomic.write_bytes(path, nifti.encode_image(volume, mask[None], compressed=path.name.lower().endswith(".gz")))
    elif is_tiff(path.name):
        if like is not None and is_tiff(like.name) and tiff.read_shape(like) == mask.shape:
            tiff.write_mask(path, mask, like=like)
        else:
            atomic.write_bytes(path, _tiff(mask, spacing if spacing_known else None))
    elif path.name.lower().endswith(".dcm"):
        from napari_unet_seg.data.formats import dicom_seg

        if source is None:
            raise InputError("only the mask of a DICOM series can be saved as DICOM; use .nii.gz or .tif", path=path)
        dicom_seg.write_seg(path, mask, source=source if source.is_dir() else source.parent)
    else:
        raise InputError("a mask is saved as .nii.gz, .nii, .tif or .dcm; give the file such an ending", path=path)


def _tiff(mask: Mask, spacing: tuple[float, float, float] | None) -> bytes:
    """A stack as ImageJ reads it, with the spacing where it is known."""
    payload = io.BytesIO()
    options = {}
    metadata: dict[str, object] = {"axes": "ZYX"}
    if spacing is not None:
        z, y, x = spacing
        options["resolution"] = (1 / x, 1 / y)
        metadata |= {"spacing": z, "unit": "mm"}
    tifffile.imwrite(payload, tiff.to_stored(mask), imagej=True, metadata=metadata, software=False, **options)
    return payload.getvalue()
