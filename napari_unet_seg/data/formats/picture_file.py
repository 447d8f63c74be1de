"""Opening a PNG or JPEG: whatever is wrong with the file becomes one InputError, and nothing is printed."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from napari_unet_seg.data.formats.lossy_mask import JPEG_TOLERANCE
from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError, reading

_log = logging.getLogger(__name__)

MOST_PIXELS = 100_000_000
"""A picture of more is no slice of a head, but damage or malice."""

DAMAGED = "this picture is damaged or cut short; copy or export it again"

_ORIENTATION = 0x0112

# catch_warnings swaps the filters of the whole process: two threads in it at once may leave them swapped.
_filters = threading.RLock()


@contextmanager
def opened(path: Path, *, content: bytes | None = None) -> Iterator[ImageFile]:
    """An open picture, of which the header is read; whatever goes wrong in it is an InputError.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes, optional
        What is to be written there; read in place of the file.
    """
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with (
                reading(path),
                Image.open(path if content is None else io.BytesIO(content), formats=("PNG", "JPEG")) as image,
            ):
                _check_size(image.width * image.height, path)
                yield image
        except InputError:
            raise
        except UnidentifiedImageError as error:
            empty = path.stat().st_size == 0
            raise InputError("the file is empty" if empty else "this is not a PNG or JPEG file", path=path) from error
        except Image.DecompressionBombError as error:
            raise InputError(_too_large("far too many"), path=path) from error
        except Exception as error:
            # Damage shows as OSError, SyntaxError, ValueError, struct.error, zlib.error, those of imagecodecs...
            # Or as a fault of ours, which would not be seen otherwise.
            _log.debug("%s cannot be read", path, exc_info=True)
            raise InputError(DAMAGED, path=path) from error


def pixels_of(image: ImageFile) -> Array:
    """Pixels ``(Y, X, C)`` uint8 or uint16, not turned: gray, gray and alpha, RGB or RGBA."""
    if image.format == "PNG" and image.mode in ("LA", "RGB", "RGBA") and ";16" in str(image.tile and image.tile[0]):
        # Pillow would drop the lower byte of each colour.
        import imagecodecs

        fp = image.fp
        assert fp is not None
        fp.seek(0)
        values = np.asarray(imagecodecs.png_decode(fp.read()))
    elif image.mode == "1":
        values = np.asarray(image.convert("L"))
    elif image.mode == "P":
        values = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint16)
    elif image.mode in ("L", "LA", "RGB", "RGBA"):
        values = np.asarray(image)
    else:
        values = np.asarray(image.convert("RGB"))
    return values if values.ndim == 3 else values[..., np.newaxis]


def alpha_apart(pixels: Array) -> tuple[Array, Array | None]:
    """Colours ``(Y, X, 1 or 3)``, and alpha ``(Y, X)`` unless there is none or it is opaque throughout."""
    if pixels.shape[-1] in (1, 3):
        return pixels, None
    alpha = pixels[..., -1]
    return pixels[..., :-1], None if alpha.min() == np.iinfo(pixels.dtype).max else alpha


def tolerance_of(image: ImageFile) -> int:
    """How far the channels of a gray pixel may lie apart in a file of this type."""
    return 0 if image.format == "PNG" else JPEG_TOLERANCE


def black_and_white(image: ImageFile) -> bool:
    """Whether a palette has no other colour, as when a program made a mask of 0 and 255 smaller.

    Its order says nothing then: white may come first.
    """
    if image.mode != "P":
        return False
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool(len(colours) and (colours == colours[:, :1]).all() and np.isin(colours, (0, 255)).all())


def bits_of_palette(image: ImageFile) -> int:
    """Bits a pixel that the indices of a palette take in the file."""
    raw = str(image.tile[0].args) if image.tile else ""
    _, _, bits = raw.partition(";")
    return int(bits) if bits.isdecimal() else 8


def turned_by(image: ImageFile) -> int:
    """Orientation as EXIF counts it, 1 (upright) to 8; 1 where the header does not say."""
    if "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_shape(image: ImageFile) -> tuple[int, int, int]:
    """``(1, Y, X)`` of the picture once it is upright."""
    sides = (image.height, image.width)
    height, width = sides if turned_by(image) < 5 else sides[::-1]
    return 1, height, width


def upright(values: Array, orientation: int) -> Array:
    """Turn ``(Y, X)`` or ``(Y, X, C)`` as EXIF's orientation asks."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _check_size(pixels: int, path: Path) -> None:
    if pixels > MOST_PIXELS:
        raise InputError(_too_large(f"{pixels:,}"), path=path)


def _too_large(count: str) -> str:
    return f"has {count} pixels, at most {MOST_PIXELS:,} are read; scale the picture down, or export it again"
