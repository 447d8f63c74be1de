"""TIFFs in which 0 is white: how their values are those of a file in which 0 is black."""

from __future__ import annotations

import tifffile

from napari_unet_seg.data.volume import Array


def white_is_zero(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> bool:
    """Whether the values of a file run from white to black, so that foreground is stored as 0.

    The tag alone does not say so. tifffile gives it to arrays of bool, which it writes as they are; ImageJ gives it to
    images that it shows through an inverted table, in whose masks 255 is foreground all the same.
    """
    if page.photometric != tifffile.PHOTOMETRIC.MINISWHITE or page.dtype is None or page.dtype.kind not in "bu":
        return False
    by_tifffile = bool(tif.is_shaped) or page.software.startswith("tifffile")
    return not (tif.is_imagej or (page.dtype.kind == "b" and by_tifffile))


def is_white_on_black(values: Array, *, bits: int) -> bool:
    """Whether a mask whose tag says that 0 is white holds black and white only, not the numbers of classes.

    Those are kept, whatever the tag says. So is a file of nothing but 0: far more masks are empty than full.

    Parameters
    ----------
    values : ndarray
        As they are stored, on any axes.
    bits : int
        How many each of them has.
    """
    if values.dtype == bool:
        return True
    black = values == 2**bits - 1
    return bool(black.any() and (black | (values == 0)).all())
