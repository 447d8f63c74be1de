"""One image file and its mask, in whatever format their names say."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from napari_unet_seg.data.formats import nifti, tiff
from napari_unet_seg.data.formats.extensions import is_nifti, is_picture, split_name
from napari_unet_seg.data.volume import Array, Volume


def kind_of(name: str) -> str:
    """``"nifti"``, ``"picture"`` or ``"tiff"``."""
    if is_nifti(name):
        return "nifti"
    return "picture" if is_picture(name) else "tiff"


def mask_extension(image: str) -> str:
    """Extension of a new mask of an image: its own, but never one that would change the values as JPEG does."""
    if is_nifti(image):
        return split_name(image)[1].lower()
    return ".png" if is_picture(image) else ".tif"


def read_image(path: Path) -> Volume:
    """Read an image file; InputError names it if it cannot be used."""
    volume: Volume = _format(path.name).read_image(path)
    return volume


def read_shape(path: Path) -> tuple[int, int, int]:
    """``(Z, Y, X)`` as `read_image` has it, from the header alone."""
    shape: tuple[int, int, int] = _format(path.name).read_shape(path)
    return shape


def read_labels(path: Path, *, name: str, like: Path) -> Array:
    """Labels of a mask as integers, ``(Z, Y, X)``, otherwise as they are stored.

    Parameters
    ----------
    path : Path
        Where the mask lies, under whatever name.
    name : str
        The mask's own file name.
    like : Path
        The image that it belongs to.

    Raises
    ------
    InputError
        If it cannot be read, is no mask or not of the image's shape.
    """
    if is_nifti(name):
        return nifti.read_labels(path, like=like)
    labels: Array = _format(name).read_labels(path, shape=read_shape(like))
    return labels


def encode_mask(labels: Array, *, name: str, former: Path | None, like: Path) -> bytes:
    """The content of a mask file.

    Parameters
    ----------
    labels : ndarray
        ``(Z, Y, X)`` integers as they are to be stored, none negative.
    name : str
        The mask's file name.
    former : Path, optional
        The mask to be replaced, under whatever name: its geometry, tags and number type are kept.
    like : Path
        The image that it belongs to, which gives the geometry of a new one.
    """
    if is_nifti(name):
        return nifti.encode_mask(labels, former=former, like=like, compressed=name.lower().endswith(".gz"))
    payload: bytes = _format(name).encode_mask(labels, former=former, like=like)
    return payload


def _format(name: str) -> ModuleType:
    kind = kind_of(name)
    if kind == "picture":
        from napari_unet_seg.data.formats import picture

        return picture
    return nifti if kind == "nifti" else tiff
