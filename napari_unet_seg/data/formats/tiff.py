"""TIFF: slices, stacks and RGB images, with the axes and the spacing that ImageJ, OME and tifffile record."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_unet_seg.data.blurred_mask import is_blurred
from napari_unet_seg.data.formats import atomic, tiff_spacing
from napari_unet_seg.data.formats.inverse import inverse
from napari_unet_seg.data.formats.lossy_mask import JPEG_TOLERANCE, cut_jpeg
from napari_unet_seg.data.formats.number_type import type_for
from napari_unet_seg.data.formats.tiff_axes import TiffAxes, find_axes
from napari_unet_seg.data.formats.tiff_file import opened, whole_series
from napari_unet_seg.data.formats.tiff_rewrite import rewrite
from napari_unet_seg.data.formats.tiff_white import is_white_on_black, white_is_zero
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Mask, Volume, screen_affine, whole_labels
from napari_unet_seg.errors import InputError

RGB_NAMES = ("red", "green", "blue", "alpha")


def read_image(path: Path) -> Volume:
    """Read a TIFF as a volume.

    Parameters
    ----------
    path : Path
        A slice, a stack, or either with channels or colours.

    Returns
    -------
    Volume
        ``(C, Z, Y, X)`` in the file's type and native byte order; bool becomes uint8. RGB channels are called
        red, green, blue (and alpha).

    Raises
    ------
    InputError
        If the file is no TIFF, is damaged, or does not say which axis is which.
    """
    with opened(path) as tif:
        series = whole_series(tif, path)
        axes = _axes(tif, series, path)
        names = _channel_names(tif, axes)
        z, y, x = _spacing(tif)
        values = np.ascontiguousarray(_native(axes.arrange(_values(tif, series))))
    # One slice has a thickness, too, and millilitres ask for it.
    known = y is not None and x is not None and z is not None
    notes = list(axes.notes)
    if not known:
        notes.append(
            f"{path.name} gives no spacing; {ASSUMED_SIZE}"
            if x is None
            else f"{path.name} gives no distance between slices; {ASSUMED_SIZE}"
        )
    spacing = (z or 1.0, y or 1.0, x or 1.0)
    return Volume(
        data=values,
        channel_names=names,
        spacing=spacing,
        affine=screen_affine(spacing),
        spacing_known=known,
        source=path,
        notes=tuple(notes),
    )


def read_shape(path: Path) -> tuple[int, int, int]:
    """``(Z, Y, X)`` of a TIFF, from its tags alone."""
    with opened(path) as tif:
        return _axes(tif, whole_series(tif, path), path).volume_shape


def read_labels(path: Path, *, shape: tuple[int, int, int]) -> Array:
    """Labels of a mask as integers, ``(Z, Y, X)``, otherwise as they are in the file.

    One whose pixels are coded as JPEG, which is lossy, gives 0 and 255: 255 from 128 on.

    Parameters
    ----------
    path : Path
        The mask; colours are accepted where all channels agree.
    shape : tuple of int
        ``(Z, Y, X)`` that it must have.

    Raises
    ------
    InputError
        If the file cannot be read, has another shape or differing colours, is a JPEG of small numbers, or its values
        are no labels.
    """
    with opened(path) as tif:
        series = whole_series(tif, path)
        (values, _), lossy = _mask_values(tif, series), _is_jpeg(tif, series)
        fitted = _fitted(tif, series, values, shape, path)
        if fitted is not None:
            labels = _native(fitted)
            return cut_jpeg(labels, path) if lossy else whole_labels(labels, path=path)
        arranged = _native(_axes(tif, series, path).arrange(values))
    if arranged.shape[1:] != shape:
        raise InputError(f"the mask has shape {arranged.shape[1:]} but its image {shape} (Z, Y, X)", path=path)
    colours = arranged[:3]
    differing = colours != colours[:1] if not lossy else np.ptp(colours, axis=0) > JPEG_TOLERANCE
    if differing.any():
        raise InputError("the mask is a colour image; save it as one channel of whole-number labels", path=path)
    return cut_jpeg(arranged[0], path) if lossy else whole_labels(arranged[0], path=path)


def encode_mask(labels: Array, *, former: Path | None, like: Path) -> bytes:
    """The content of a mask file, with the tags of the one it replaces, or with the geometry of its image.

    Parameters
    ----------
    labels : ndarray
        ``(Z, Y, X)`` integers, none negative.
    former : Path, optional
        The mask to be replaced. Its number type is kept where it holds the labels, its compression where that is
        lossless, and its colours: all of them get the labels.
    like : Path
        The image.

    Raises
    ------
    InputError
        If shapes differ or either file cannot be read.
    """
    if former is None:
        return _new_mask(labels, like=like)
    with opened(former) as tif:
        series = whole_series(tif, former)
        values, inverted = _mask_values(tif, series)
        kind = type_for(labels, former=values.dtype)
        # In another type white would be another value.
        tagged = kind == values.dtype
        values = values.astype(kind)
        # A view: what is set in it is set in the array on the file's own axes.
        fitted = _fitted(tif, series, values, labels.shape, former)
        if fitted is not None:
            fitted[...] = labels
        else:
            arranged = _axes(tif, series, former).arrange(values)
            if arranged.shape[1:] != labels.shape:
                raise InputError(
                    f"the mask has shape {labels.shape} but the file it replaces {arranged.shape[1:]} (Z, Y, X)",
                    path=former,
                )
            arranged[:3] = labels
        if white_is_zero(tif, series.keyframe):
            # It stays so where it is read the same way again.
            tagged = tagged and inverted and is_white_on_black(inverse(values), bits=8 * kind.itemsize)
            values = inverse(values) if tagged else values
        return rewrite(tif, values, former, white_is_zero=tagged)


def write_mask(path: Path, mask: Mask, *, like: Path) -> None:
    """Write a mask with the axes, resolution and slice distance of an image file.

    Parameters
    ----------
    path : Path
        Where to write; replaced at once if it exists.
    mask : Mask
        ``(Z, Y, X)``. A mask of 0 and 1 is written as 0 and 255, one of several classes as it is.
    like : Path
        The image that it belongs to.

    Raises
    ------
    InputError
        If shapes differ or the folder cannot be written.
    """
    atomic.write_bytes(path, encode_mask(to_stored(mask), former=None, like=like))


def _new_mask(labels: Array, *, like: Path) -> bytes:
    with opened(like) as tif:
        axes = _axes(tif, whole_series(tif, like), like)
        x_resolution, y_resolution, unit = _resolution(tif)
        described = _description(tif)
        pixels = _ome_pixels(tif)
        imagej = bool(tif.is_imagej)
    if labels.shape != axes.volume_shape:
        raise InputError(f"the mask has shape {labels.shape} but the image {axes.volume_shape} (Z, Y, X)", path=like)
    labels = labels.astype(type_for(labels, former=None))
    flat = "Z" not in axes.letters
    imagej = imagej and labels.dtype.itemsize <= 2
    metadata: dict[str, Any] = {"axes": "YX" if flat else "ZYX"}
    metadata |= {key: described[key] for key in ("spacing", "unit") if key in described}
    metadata |= {key: value for key, value in pixels.items() if key.startswith("PhysicalSize")}
    options: dict[str, Any] = {"resolutionunit": unit}
    if x_resolution > 0 and y_resolution > 0:
        options["resolution"] = (x_resolution, y_resolution)
    payload = io.BytesIO()
    tifffile.imwrite(
        payload,
        labels[0] if flat else labels,
        photometric="minisblack",
        imagej=imagej,
        ome=bool(pixels),
        # ImageJ reads no compressed hyperstack in one go; a single slice is small.
        compression=None if imagej or flat else "zlib",
        metadata=metadata,
        software=False,
        **options,
    )
    return payload.getvalue()


def encode_slice(volume: Volume, z: int) -> bytes:
    """The content of a TIFF with one slice of a volume: three channels are its colours; the pixel size is kept."""
    values = volume.data[:, z]
    colours = len(values) == 3
    _, y, x = volume.spacing
    # Per centimetre, which is what the tag has beside the inch.
    options: dict[str, Any] = {"resolution": (10 / x, 10 / y), "resolutionunit": "CENTIMETER"}
    payload = io.BytesIO()
    tifffile.imwrite(
        payload,
        np.ascontiguousarray(np.moveaxis(values, 0, -1) if colours else values[0]),
        photometric="rgb" if colours else "minisblack",
        metadata={"axes": "YXS" if colours else "YX"},
        software=False,
        **(options if volume.pixel_size_known else {}),
    )
    return payload.getvalue()


def to_stored(mask: Mask) -> Mask:
    """Mask as TIFF files of this field have it: 0 and 255 where there is one class, labels where there are more."""
    return np.where(mask > 0, np.uint8(255), np.uint8(0)) if mask.max(initial=0) <= 1 else mask


def _values(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Array:
    """Pixels on the file's own axes, the higher the brighter."""
    values: Array = series.asarray()
    page = series.keyframe
    return inverse(values, bits=page.bitspersample) if white_is_zero(tif, page) else values


def _mask_values(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> tuple[Array, bool]:
    """Pixels of a mask on the file's own axes, and whether they are the inverse of what is stored."""
    stored: Array = series.asarray()
    page = series.keyframe
    if not white_is_zero(tif, page):
        return stored, False
    values = inverse(stored, bits=page.bitspersample)
    grays = _is_jpeg(tif, series) or is_blurred(values.reshape(-1, *values.shape[-2:]))
    if grays or is_white_on_black(stored, bits=page.bitspersample):
        return values, True
    return stored, False


def _is_jpeg(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Whether the pixels are coded as JPEG of the usual kind, of 8 bits and with loss."""
    page = series.keyframe
    if page.dtype != np.uint8 or page.compression not in (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG):
        return False
    # The marker of lossless JPEG; among the coded pixels no FF stands before anything but 0 and restarts.
    tif.filehandle.seek(page.dataoffsets[0])
    return b"\xff\xc3" not in tif.filehandle.read(page.databytecounts[0])


def _fitted(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, values: Array, shape: tuple[int, ...], path: Path
) -> Array | None:
    """The pixels of a mask as a view ``(Z, Y, X)`` of its image's shape; None if it has another one, or colours."""
    if _is_stated(tif, series):
        with suppress(InputError):
            arranged: Array = _axes(tif, series, path).arrange(values)[0]
            if arranged.size == values.size and arranged.shape == shape:
                return arranged
    if _squeezed(values.shape) == _squeezed(shape):
        # Three slices are easily saved as the three colours of one: the image's shape settles what they are.
        return values.reshape(shape)
    return None


def _axes(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> TiffAxes:
    trusted = series.kind in ("imagej", "ome")
    return find_axes(series.axes, series.shape, trusted=trusted, stated=_is_stated(tif, series), path=path)


def _is_stated(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Whether the writer named the axes himself."""
    return series.kind == "shaped" and "axes" in _description(tif)


def _description(tif: tifffile.TiffFile) -> Mapping[str, Any]:
    """What ImageJ or tifffile wrote about the image."""
    if tif.is_imagej:
        return tif.imagej_metadata or {}
    shaped = tif.shaped_metadata
    return (shaped[0] or {}) if shaped else {}


def _ome_pixels(tif: tifffile.TiffFile) -> Mapping[str, Any]:
    """OME's ``Pixels`` of the first image; empty where there is none."""
    if not tif.is_ome or not tif.ome_metadata:
        return {}
    image = tifffile.xml2dict(tif.ome_metadata).get("OME", {}).get("Image", {})
    image = image[0] if isinstance(image, list) else image
    pixels = image.get("Pixels", {})
    return pixels if isinstance(pixels, dict) else {}


def _channel_names(tif: tifffile.TiffFile, axes: TiffAxes) -> tuple[str, ...]:
    count = axes.length("C")
    colours_last = axes.letters.endswith("C") and count >= 3
    if (axes.samples or colours_last) and count in (3, 4):
        return RGB_NAMES[:count]
    channels = _ome_pixels(tif).get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    if len(names) == count:
        return names
    labels = _description(tif).get("Labels", ())
    return tuple(map(str, labels)) if count > 1 and len(labels) == count else ("",) * count


def _resolution(tif: tifffile.TiffFile) -> tuple[float, float, int]:
    """Pixels per unit in x and y (0 where the file does not say) and the unit's number."""
    tags = tif.pages[0].tags

    def number(name: str) -> float:
        value = tags.valueof(name)
        try:
            return float(value[0]) / float(value[1]) if isinstance(value, tuple) else float(value or 0)
        except (TypeError, ValueError, ZeroDivisionError):
            return 0.0

    unit = tags.valueof("ResolutionUnit")
    return number("XResolution"), number("YResolution"), int(unit) if unit in (1, 2, 3) else 1


def _spacing(tif: tifffile.TiffFile) -> tiff_spacing.Spacing:
    pixels = _ome_pixels(tif)
    if pixels:
        return tiff_spacing.from_ome(pixels)
    x_resolution, y_resolution, unit = _resolution(tif)
    return tiff_spacing.from_tags(
        x_resolution=x_resolution, y_resolution=y_resolution, unit=unit, metadata=_description(tif)
    )


def _native(values: Array) -> Array:
    native = np.dtype(np.uint8) if values.dtype == bool else values.dtype.newbyteorder("=")
    return values.astype(native, copy=False)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)
