"""The masks in files, as a dataset reads them."""

from __future__ import annotations

from pathlib import Path

from napari_unet_seg.data.formats import nifti, tiff
from napari_unet_seg.data.volume import Array, Mask, foreground_values, to_labels, value_of_one


def nifti_mask(path: Path, *, like: Path) -> Mask:
    """``(Z, Y, X)`` labels, on the axes of the image that it belongs to."""
    return _labels(nifti.read_labels(path, like=like))


def tiff_mask(path: Path, *, like: Path) -> Mask:
    """``(Z, Y, X)`` labels, of the shape of the image that it belongs to."""
    return _labels(tiff.read_labels(path, shape=tiff.read_shape(like)))


def _labels(values: Array) -> Mask:
    return to_labels(values, value_of_one(foreground_values(values)))
