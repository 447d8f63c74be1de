"""PNG and JPEG: one slice a file, gray or in colours, without a spacing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from napari_unet_seg.data.formats.lossy_mask import cut_jpeg
from napari_unet_seg.data.formats.number_type import type_for
from napari_unet_seg.data.formats.picture_file import (
    alpha_apart,
    bits_of_palette,
    black_and_white,
    opened,
    pixels_of,
    tolerance_of,
    turned_by,
    upright,
    upright_shape,
)
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Volume, screen_affine
from napari_unet_seg.errors import InputError

CHANNEL_NAMES = ("red", "green", "blue", "alpha")


def read_image(path: Path) -> Volume:
    """Read a picture as a volume of one slice.

    Parameters
    ----------
    path : Path
        PNG or JPEG.

    Returns
    -------
    Volume
        ``(C, 1, Y, X)`` uint8, or uint16 as in the file, turned upright where EXIF says how. One channel where the
        colours agree everywhere; else red, green, blue, and alpha if that is not opaque throughout.

    Raises
    ------
    InputError
        If the file is neither, is damaged or unbelievably large.
    """
    notes = [f"{path.name} gives no spacing; {ASSUMED_SIZE}"]
    with opened(path) as image:
        turned, tolerance = turned_by(image), tolerance_of(image)
        pixels = upright(pixels_of(image), turned)
    if turned > 1:
        notes.append(f"{path.name} is turned upright as its EXIF data say")
    colours, alpha = alpha_apart(pixels)
    if alpha is None:
        pixels = colours
    gray = _gray(colours, tolerance=tolerance)
    if gray is not None:
        if alpha is not None:
            notes.append(f"the transparency of {path.name} is not used")
        pixels = gray[..., np.newaxis]
    data = np.ascontiguousarray(pixels.transpose(2, 0, 1)[:, np.newaxis])
    return Volume(
        data=data,
        channel_names=CHANNEL_NAMES[: len(data)] if len(data) > 1 else ("",),
        affine=screen_affine((1.0, 1.0, 1.0)),
        spacing_known=False,
        source=path,
        notes=tuple(notes),
    )


def read_shape(path: Path) -> tuple[int, int, int]:
    """``(1, Y, X)`` as `read_image` has it, from the header alone."""
    with opened(path) as image:
        return upright_shape(image)


def read_labels(path: Path, *, shape: tuple[int, int, int]) -> Array:
    """Values of a mask, ``(1, Y, X)`` uint8 or uint16, as they are in the file.

    The indices of a palette are the labels, unless it is of black and white only: that, and one bit a pixel, give 0
    and 255. So does JPEG, which is lossy: 255 from 128 on. A picture of one colour throughout has the labels in its
    transparency, if that is not the same throughout too; one that is not to be seen at all is empty.

    Parameters
    ----------
    path : Path
        The mask, under whatever name; colours are accepted where all channels agree.
    shape : tuple of int
        ``(1, Y, X)`` that it must have.

    Raises
    ------
    InputError
        If the file cannot be read, has another shape or differing colours, or is a JPEG of small numbers.
    """
    with opened(path) as image:
        found = upright_shape(image)
        if found != shape:
            raise InputError(f"the mask has shape {found} but its image {shape} (Z, Y, X)", path=path)
        return _labels(image, path)[np.newaxis]


def encode_mask(labels: Array, *, former: Path | None, like: Path) -> bytes:
    """The content of a mask file, of the type, mode, bit depth and palette of the one it replaces.

    Parameters
    ----------
    labels : ndarray
        ``(1, Y, X)`` integers, none negative.
    former : Path, optional
        The mask to be replaced. Without one, or where its mode cannot hold the labels, the result is a gray PNG of 8
        or 16 bits.
    like : Path
        The image, for the error message.

    Raises
    ------
    InputError
        If there are several slices, labels above 65535, or the former file is a JPEG and the labels are not 0 and 255.
    """
    if labels.ndim != 3 or len(labels) != 1:
        raise InputError(f"the mask has shape {labels.shape}; a picture holds one slice", path=like)
    values = labels[0]
    if values.max(initial=0) > np.iinfo(np.uint16).max:
        raise InputError(f"labels up to {values.max()} do not fit into a picture; 65535 is the highest", path=like)
    plain = encode_pixels(values.astype(type_for(values, former=None))[np.newaxis])
    if former is None:
        return plain
    refused = InputError("is a JPEG, which holds masks of 0 and 255 only; save the masks as PNG", path=former)
    with opened(former) as image:
        jpeg = image.format != "PNG"
        if jpeg and not np.isin(values, (0, 255)).all():
            raise refused
        payload = _jpeg(values, image) if jpeg else _png(values, image)
    # Read back, as what a mode can hold is the business of the library.
    if payload is not None:
        with opened(former, content=payload) as image:
            if np.array_equal(_labels(image, former), values):
                return payload
    if jpeg:
        raise refused
    return plain


def encode_pixels(pixels: Array) -> bytes:
    """A PNG of one slice, ``(C, Y, X)``: uint8 of one or three channels, or uint16 of one."""
    plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    return _saved(Image.fromarray(np.ascontiguousarray(plane)), "PNG")


def _gray(colours: Array, *, tolerance: int) -> Array | None:
    """The one channel of a gray picture ``(Y, X, C)``; None if it has colours."""
    if colours.shape[-1] == 1:
        channel: Array = colours[..., 0]
        return channel
    if tolerance == 0:
        return colours[..., 0] if (colours == colours[..., :1]).all() else None
    if (colours.max(axis=-1) - colours.min(axis=-1)).max() > tolerance:
        return None
    return np.asarray(Image.fromarray(colours).convert("L"))


def _labels(image: ImageFile, path: Path) -> Array:
    turned = turned_by(image)
    if image.mode == "P" and not black_and_white(image):
        return upright(np.asarray(image), turned)
    jpeg, tolerance = image.format != "PNG", tolerance_of(image)
    pixels = pixels_of(image)
    gray = pixels[..., -1] if _is_in_alpha(pixels) else _gray(alpha_apart(pixels)[0], tolerance=tolerance)
    if gray is None:
        raise InputError("the mask is a colour image; save it as one channel of whole-number labels", path=path)
    if jpeg:
        gray = cut_jpeg(gray, path)
    return np.ascontiguousarray(upright(gray, turned))


def _is_in_alpha(pixels: Array) -> bool:
    """Whether a mask ``(Y, X, C)`` has one colour, and its shape is where that is opaque."""
    colours, alpha = alpha_apart(pixels)
    if alpha is None or (colours != colours[0, 0]).any():
        return False
    return bool(alpha.min() < alpha.max() or alpha.max() == 0)


def _jpeg(values: Array, former: ImageFile) -> bytes:
    picture = Image.fromarray(np.minimum(values, 255).astype(np.uint8))
    if former.mode == "RGB":
        picture = picture.convert("RGB")
    return _saved(picture, "JPEG", quality=100, subsampling=0, **_resolution(former))


def _png(values: Array, former: ImageFile) -> bytes | None:
    """A PNG in the mode of another one; None if that mode is no longer written, or cannot hold the values."""
    mode, kept = former.mode, _resolution(former)
    if mode == "P":
        return _with_palette(values, former, kept)
    if mode.startswith("I"):
        return _saved(Image.fromarray(values.astype(np.uint16)), "PNG", **kept)
    # The values in 16 bits a colour go into one gray channel of as many.
    pixels = pixels_of(former)
    if values.max(initial=0) > 255 or pixels.dtype != np.uint8:
        return _saved(Image.fromarray(values.astype(np.uint16)), "PNG", **kept)
    picture = Image.fromarray(values.astype(np.uint8))
    if mode in ("LA", "RGBA") and _is_in_alpha(pixels):
        # Where all is as opaque, the colour would be looked at.
        if values.min() == values.max() > 0:
            return None
        shape, colour = picture, pixels[0, 0, :-1].tolist()
        picture = Image.new(mode[:-1], shape.size, colour[0] if len(colour) == 1 else tuple(colour))
        picture.putalpha(shape)
    elif mode in ("LA", "RGBA"):
        alpha = (
            former.getchannel("A")
            if former.size == picture.size and turned_by(former) == 1
            else Image.new("L", picture.size, 255)
        )
        picture = picture.convert(mode)
        picture.putalpha(alpha)
    elif mode in ("1", "RGB"):
        picture = picture.convert(mode, dither=Image.Dither.NONE)
    return _saved(picture, "PNG", **kept)


def _with_palette(values: Array, former: ImageFile, kept: dict[str, tuple[float, float]]) -> bytes | None:
    bits = bits_of_palette(former)  # first, as the header is forgotten once the pixels are loaded
    indices = values
    palette = former.getpalette("RGB") or []
    if black_and_white(former):
        if not np.isin(values, (0, 255)).all() or not {0, 255} <= set(palette):
            return None
        indices = np.where(values == 255, palette.index(255) // 3, palette.index(0) // 3)
    high = int(indices.max(initial=0))
    if high > 255:
        return None
    picture = Image.frombytes("P", (values.shape[1], values.shape[0]), indices.astype(np.uint8).tobytes())
    picture.putpalette(palette)
    bits = bits if high < 2**bits else 8
    if "transparency" in former.info:
        return _saved(picture, "PNG", bits=bits, transparency=former.info["transparency"], **kept)
    return _saved(picture, "PNG", bits=bits, **kept)


def _resolution(image: ImageFile) -> dict[str, tuple[float, float]]:
    return {"dpi": image.info["dpi"]} if "dpi" in image.info else {}


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    payload = io.BytesIO()
    picture.save(payload, kind, **options)
    return payload.getvalue()
