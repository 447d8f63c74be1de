"""The pixels of DICOM images, as the scanner measured them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import dicom_jpeg
from napari_unet_seg.data.formats.dicom_header import Frame, functional, opened, read_dataset
from napari_unet_seg.data.formats.inverse import inverse
from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError


def read_pixels(frames: Sequence[Frame], *, shape: tuple[int, int]) -> Array:
    """Read the pixels of images that make up a volume.

    Parameters
    ----------
    frames : sequence of Frame
        In the order of the slices.
    shape : tuple of int
        Rows and columns of each.

    Returns
    -------
    ndarray
        ``(slices, rows, columns)``: of the type of the files, or float32 where a slope or intercept scales them.
        Padding (PixelPaddingValue) is as dark as the darkest pixel that is none.

    Raises
    ------
    InputError
        If a file is damaged or cannot be decoded.
    """
    by_path: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        by_path.setdefault(frame.path, []).append(place)
    slices: list[Array] = [np.empty(0)] * len(frames)
    padding: dict[int, NDArray[np.bool_]] = {}
    for path, places in by_path.items():
        indices = [frames[place].index for place in places]
        for place, (pixels, padded) in zip(places, _read_frames(path, indices, shape=shape), strict=True):
            slices[place] = pixels
            if padded is not None:
                padding[place] = padded
    # Signed and unsigned, or scaled and unscaled, slices of one series meet in a type that holds both.
    volume: Array = np.stack(slices).astype(np.result_type(*slices), copy=False)
    _darken(volume, padding)
    return volume


def _darken(volume: Array, padding: Mapping[int, NDArray[np.bool_]]) -> None:
    """Give padding the value of the darkest pixel: its own is far from any, and would be taken for part of the scan."""
    if not padding:
        return
    padded = np.zeros(volume.shape, dtype=bool)
    for place, where in padding.items():
        padded[place] = where
    if not padded.all():
        volume[padded] = volume[~padded].min()


def _read_frames(
    path: Path, indices: Sequence[int], *, shape: tuple[int, int]
) -> Iterator[tuple[Array, NDArray[np.bool_] | None]]:
    """Pixels of some frames, and which of them are padding; None where the file knows none."""
    with opened(path):
        data = read_dataset(path)
        syntax = data.file_meta.TransferSyntaxUID
        dicom_jpeg.register()
        try:
            pixels: Array = data.pixel_array
        except (NotImplementedError, RuntimeError) as error:
            if not syntax.is_compressed:
                raise
            raise InputError(
                f"its pixels are compressed ({syntax.name}) and there is no decoder for them here; "
                "install pylibjpeg with its plugins, or export the series uncompressed",
                path=path,
            ) from error
        pixels = pixels.reshape(-1, *shape)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        padding = _padding(data, pixels.dtype)
        padded = None if padding is None else (pixels >= padding[0]) & (pixels <= padding[1])
        if data.PhotometricInterpretation == "MONOCHROME1":
            pixels = inverse(pixels, bits=int(data.BitsStored))
        scales = [_scale(data, index) for index in indices]
    for index, (slope, intercept) in zip(indices, scales, strict=True):
        values = pixels[index]
        if (slope, intercept) != (1.0, 0.0):
            values = (values * slope + intercept).astype(np.float32)
        yield values, None if padded is None else padded[index]


def _scale(data: Any, index: int) -> tuple[float, float]:
    slope, intercept = (functional(data, index, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return float(1.0 if slope is None else slope), float(0.0 if intercept is None else intercept)


def _padding(data: Any, dtype: np.dtype[Any]) -> tuple[Any, Any] | None:
    """The lowest and highest stored value that stand for no pixel."""
    ends = [data.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if not isinstance(ends[0], int) or dtype.kind not in "iu":
        return None
    # Written as unsigned for signed pixels, or the other way round, it has the same bits.
    stored = np.array([end for end in ends if isinstance(end, int)], np.int64).astype(dtype)
    return stored.min(), stored.max()
