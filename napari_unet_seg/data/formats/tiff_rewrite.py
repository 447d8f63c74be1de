"""A TIFF again with other pixels: page by page, every tag kept that does not describe the old pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError

LOSSLESS = ("NONE", "LZW", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "LZMA", "ZSTD")
"""Compressions that give back every pixel, and that tifffile writes for every number type."""

WRITTEN_ANEW = frozenset((
    254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 296, 305, 306, 317, 320, 322, 323, 324,
    325, 338, 339,
))  # fmt: skip
"""Tags that tifffile writes: sizes, types and places of the pixels, and what is handed to it by name."""

OF_THE_OLD = frozenset((
    280, 281, 288, 289, 330, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532, 34665, 34853, 40965,
))  # fmt: skip
"""Tags that are wrong in the new file: ranges of values, how JPEG coded the colours, and places in the old file."""


def rewrite(tif: tifffile.TiffFile, values: Array, path: Path, *, white_is_zero: bool) -> bytes:
    """The content of an open TIFF with other pixel values.

    Parameters
    ----------
    tif : TiffFile
        The file; its one series is replaced.
    values : ndarray
        Pixels of the series, on the axes of tifffile; its number type becomes that of the file.
    path : Path
        The file's name, for errors.
    white_is_zero : bool
        Whether the tag that says so is kept, where there is one.
    """
    series = tif.series[0]
    pages = [page for page in series.pages if page is not None]
    planes = values.reshape(-1, *series.keyframe.shape)
    if len(planes) % len(pages) or len(pages) > len(planes):
        raise InputError("this TIFF's pages are of several kinds; save the mask as one stack", path=path)
    # ImageJ and tifffile write one page for all planes where the file gets long.
    groups = planes.reshape(len(pages), -1, *series.keyframe.shape)
    payload = io.BytesIO()
    with tifffile.TiffWriter(payload, bigtiff=tif.is_bigtiff, byteorder=tif.byteorder) as writer:
        for number, group in enumerate(groups):
            page = tif.pages[pages[number].index]
            for plane in group:
                page = page if isinstance(page, tifffile.TiffPage) else page.aspage()
                _write_page(writer, page, plane, white_is_zero=white_is_zero)
    return payload.getvalue()


def _write_page(writer: tifffile.TiffWriter, page: Any, values: Array, *, white_is_zero: bool) -> None:
    tags = page.tags
    compression = tifffile.COMPRESSION(page.compression).name
    compression = compression if compression in LOSSLESS else "ADOBE_DEFLATE"
    predictor = int(page.predictor) if compression not in ("NONE", "PACKBITS", "LZMA") else 1
    options: dict[str, Any] = {}
    if (
        page.colormap is not None
        and values.dtype.kind == "u"
        and 2 ** (8 * values.dtype.itemsize) == (page.colormap.shape[1])
    ):
        options["colormap"] = page.colormap
        photometric: Any = "palette"
    elif page.samplesperpixel >= 3 and page.photometric in (2, 6, 8):
        photometric = "rgb"
        options |= {"planarconfig": page.planarconfig, "extrasamples": tuple(page.extrasamples) or None}
    else:
        photometric = "miniswhite" if page.photometric == 0 and white_is_zero else "minisblack"
        if page.samplesperpixel > 1:
            options |= {"planarconfig": page.planarconfig, "extrasamples": tuple(page.extrasamples) or None}
    if 282 in tags and 283 in tags:
        options["resolution"] = (tags[282].value, tags[283].value)
    if 254 in tags:
        options["subfiletype"] = int(tags[254].value)
    if page.is_tiled:
        options["tile"] = (page.tilelength, page.tilewidth)
    writer.write(
        values,
        photometric=photometric,
        compression=None if compression == "NONE" else compression,
        predictor=predictor if predictor in (1, 2) and values.dtype.kind != "f" else None,
        software=tags.valueof(305) or False,
        datetime=_ascii(tags.valueof(306)),
        resolutionunit=int(tags.valueof(296, default=1)),
        extratags=tuple(_other_tags(page)),
        metadata=None,
        contiguous=False,
        **options,
    )


def _other_tags(page: Any) -> Iterator[tuple[int, int, int, bytes, bool]]:
    """Code, type, count and bytes of the tags to be copied as they are."""
    for tag in page.tags:
        if tag.code in WRITTEN_ANEW or tag.code in OF_THE_OLD:
            continue
        raw = _raw(page, tag)
        if raw:
            yield int(tag.code), int(tag.dtype), int(tag.count), raw, False


def _raw(page: Any, tag: Any) -> bytes:
    """A tag's bytes as they are in the file."""
    file = page.parent.filehandle
    file.seek(tag.valueoffset)
    raw: bytes = file.read(tag.valuebytecount)
    return raw


def _ascii(text: Any) -> str | None:
    return text if isinstance(text, str) and text.isascii() and len(text) == 19 else None
