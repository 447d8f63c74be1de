"""NIfTI: read on the axes of a radiologist's screen, written back in the file's own orientation."""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.formats.extensions import is_nifti, split_name
from napari_unet_seg.data.formats.grid import SCREEN, Grid, elsewhere, same_grid, screen_grid
from napari_unet_seg.data.formats.number_type import type_for
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Mask, Volume, whole_labels
from napari_unet_seg.errors import InputError, reading

# nibabel prints what it mends in a header; without its own handler, and with this one, it goes where the application
# sends its log.
logging.getLogger("nibabel").addHandler(logging.NullHandler())

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""Metre, millimetre and micrometre by NIfTI's code; it has one for unknown too."""

DAMAGED = "this NIfTI file is damaged or cut short; copy or export it again"
GZIP = b"\x1f\x8b"

_NO_SPACING, _NO_DISTANCE = b"spacing unknown", b"slice distance unknown"
"""What this package writes into the header where 1 mm stands in for all axes, or for the one between slices."""

_COMPRESSION = 1032
"""How much smaller deflate makes a file at best."""

_PIECE = 1 << 20

_LARGEST_STEP = 0.1
"""Up to here the step of a scale may be what labels were rounded to; a larger one is rather a scale of its own."""


def read_image(path: Path) -> Volume:
    """Read a NIfTI file as a volume.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz`` of two, three or four axes; the fourth axis holds the channels.

    Returns
    -------
    Volume
        ``(C, Z, Y, X)``, reoriented so that z runs to the head, y to the back, x to the patient's left. Intensities
        that the header scales are float32, others have the type of the file.

    Raises
    ------
    InputError
        If the file is no NIfTI, is damaged, or holds colours.
    """
    with _opened(path) as image:
        grid = _grid(image, path)
        values = _values(image, path).reshape(*_space(image, path), -1)
    values = _to_screen(values, grid).transpose(3, 2, 1, 0)
    return Volume(
        # Contiguous: torch takes no array that runs backwards, as a flipped axis does.
        data=np.ascontiguousarray(values),
        channel_names=("",) * len(values),
        spacing=grid.spacing,
        affine=grid.affine,
        spacing_known=grid.spacing_known,
        source=path,
        notes=grid.notes,
    )


def read_shape(path: Path) -> tuple[int, int, int]:
    """``(Z, Y, X)`` as `read_image` has it, from the header alone."""
    return read_grid(path).shape


def read_grid(path: Path) -> Grid:
    """Shape, affine and orientation of a file, from the header alone."""
    with _opened(path) as image:
        return _grid(image, path)


def read_labels(path: Path, *, like: Path) -> Array:
    """Labels of a mask as integers, ``(Z, Y, X)`` on the axes of `read_image`, otherwise as they are stored.

    Parameters
    ----------
    path : Path
        The mask; under whatever name, as a copy of it may lie elsewhere.
    like : Path
        The image that it belongs to.

    Raises
    ------
    InputError
        If either cannot be read, the mask has another shape or lies elsewhere, or its values are no labels.
    """
    expected = _frame(like)
    with _opened(path) as image:
        grid, space = _mask_grid(image, path, expected=expected, like=like)
        values = _unscaled_labels(_values(image, path), image.dataobj)
    values = np.ascontiguousarray(_to_screen(values.reshape(space), grid).transpose(2, 1, 0))
    return whole_labels(values, path=path)


def encode_mask(labels: Array, *, former: Path | None, like: Path, compressed: bool) -> bytes:
    """The content of a mask file, in the orientation, with the affine and the header of the one it replaces.

    Parameters
    ----------
    labels : ndarray
        ``(Z, Y, X)`` integers on the axes of `read_image`, none negative.
    former : Path, optional
        The mask to be replaced, whose number type is kept where it holds the labels. Without one the image gives the
        geometry, and the smallest unsigned integers hold the labels.
    like : Path
        The image.
    compressed : bool
        Whether the file is to be a ``.nii.gz``.

    Raises
    ------
    InputError
        If shapes differ or either file cannot be read.
    """
    expected = _frame(like)
    if labels.shape != expected.grid.shape:
        raise InputError(f"the mask has shape {labels.shape} but the image {expected.grid.shape} (Z, Y, X)", path=like)
    if former is None:
        grid, shape = expected.grid, expected.space[:2] if expected.flat else expected.space
        header, kind = expected.header, expected.kind
        header.set_data_dtype(type_for(labels, former=None))
        header["cal_min"], header["cal_max"] = 0, 0  # they are the window of the image
        header.set_intent("none")
        header.extensions.clear()
    else:
        with _opened(former) as image:
            grid, _ = _mask_grid(image, former, expected=expected, like=like)
            header, kind, shape = image.header.copy(), type(image), image.shape
        header.set_data_dtype(type_for(labels, former=header.get_data_dtype()))
    to_file = orientations.ornt_transform(SCREEN, grid.orientation)
    values = orientations.apply_orientation(labels.transpose(2, 1, 0), to_file)
    values = np.ascontiguousarray(values.reshape(shape), dtype=header.get_data_dtype())
    # No affine given: that of the header stays bit for bit, with its codes.
    payload: bytes = kind(values, None, header=header).to_bytes()
    return gzip.compress(payload, 6, mtime=0) if compressed else payload


def write_mask(path: Path, mask: Mask, *, like: Path) -> None:
    """Write a mask in the orientation, with the affine and the header of an image file.

    Parameters
    ----------
    path : Path
        Where to write, ``.nii`` or ``.nii.gz``; replaced at once if it exists.
    mask : Mask
        ``(Z, Y, X)`` on the axes of `read_image`.
    like : Path
        The image that it belongs to.

    Raises
    ------
    InputError
        If shapes differ or the folder cannot be written.
    """
    atomic.write_bytes(path, encode_mask(mask, former=None, like=like, compressed=is_gzip(path)))


def encode_image(volume: Volume, data: Array, *, compressed: bool) -> bytes:
    """The content of a NIfTI file with the geometry of a volume.

    Parameters
    ----------
    volume : Volume
        Gives affine and spacing.
    data : ndarray
        ``(C, Z, Y, X)``; several channels become the fourth axis.
    compressed : bool
        Whether the file is to be a ``.nii.gz``.
    """
    # NIfTI has no half precision; these hold the same numbers.
    kind = np.dtype(np.float32) if data.dtype == np.float16 else data.dtype
    values = np.ascontiguousarray(data.transpose(3, 2, 1, 0), dtype=kind)
    image = nib.Nifti1Image(values[..., 0] if len(data) == 1 else values, volume.affine, dtype=kind)
    image.set_sform(volume.affine, code=1)
    with suppress(HeaderDataError):  # a sheared grid has no quaternion
        image.set_qform(volume.affine, code=1, strip_shears=False)
    image.header.set_xyzt_units("mm")
    if not volume.spacing_known:
        image.header["descrip"] = _NO_DISTANCE if volume.pixel_size_known else _NO_SPACING
    payload: bytes = image.to_bytes()
    return gzip.compress(payload, 6, mtime=0) if compressed else payload


def is_gzip(path: Path) -> bool:
    """Whether the name asks for compression."""
    return path.name.lower().endswith(".gz")


class _Frame(NamedTuple):
    """What a mask takes over from its image."""

    grid: Grid
    space: tuple[int, int, int]
    flat: bool
    header: Any
    kind: type[Any]


def _frame(path: Path) -> _Frame:
    with _opened(path) as image:
        flat = len(image.shape) == 2
        return _Frame(_grid(image, path), _space(image, path), flat, image.header.copy(), type(image))


def _mask_grid(image: Any, path: Path, *, expected: _Frame, like: Path) -> tuple[Grid, tuple[int, int, int]]:
    """Where the voxels of an open mask lie, checked to be where those of its image do."""
    grid, space = _grid(image, path), _space(image, path)
    if np.prod(image.shape) != np.prod(space):
        raise InputError(f"the mask has shape {image.shape}; save one volume of whole-number labels", path=path)
    if not grid.located and space == expected.space:
        # A mask whose header says nothing about the patient was drawn on the image's own array.
        grid = expected.grid
    if grid.shape != expected.grid.shape:
        raise InputError(f"the mask has shape {grid.shape} but its image {expected.grid.shape} (Z, Y, X)", path=path)
    if not same_grid(grid, expected.grid):
        raise InputError(f"the mask {elsewhere(grid, expected.grid, name=like.name)}", path=path)
    return grid, space


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open NIfTI image; whatever goes wrong in it is an InputError."""
    try:
        with reading(path), LoggingOutputSuppressor():
            image = _load(path)
            if not isinstance(image, nib.Nifti1Image):
                raise InputError("this is not a NIfTI file", path=path)
            _check_size(image, path)
            yield image
    except InputError:
        raise
    except ImageFileError as error:
        raise InputError(_why_unknown(path), path=path) from error
    except (EOFError, HeaderDataError, OSError, OverflowError, ValueError, struct.error, zlib.error) as error:
        raise InputError(DAMAGED, path=path) from error


def _check_size(image: Any, path: Path) -> None:
    """Raise InputError where the header speaks of more than the file can hold: shapes are believed without pixels."""
    claimed = prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    if claimed > _COMPRESSION * path.stat().st_size:
        raise InputError(DAMAGED, path=path)


def _why_unknown(path: Path) -> str:
    """Why nibabel knows no format for a file: where the compressed data break off early, it sees none."""
    with reading(path):
        payload = path.read_bytes()
    try:
        if payload.startswith(GZIP):
            gzip.decompress(payload)
    except (EOFError, OSError, zlib.error):
        return DAMAGED
    return "this is not a NIfTI file" if payload else "the file is empty"


def _load(path: Path) -> Any:
    ending = split_name(path.name)[1]
    if is_nifti(path.name) and ending in (ending.lower(), ending.upper()):
        # Not mapped: a file that is being read must be free to be replaced.
        return nib.load(path, mmap=False)
    # Nibabel goes by the name, and finds none in ".Nii"; a kept copy has a name of its own.
    payload = path.read_bytes()
    if payload.startswith(GZIP):
        payload = gzip.decompress(payload)
    second = int.from_bytes(payload[:4], "little") == 540 or int.from_bytes(payload[:4], "big") == 540
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(payload)


def _space(image: Any, path: Path) -> tuple[int, int, int]:
    """Length of the file's three axes in space; a further one may hold channels."""
    shape = tuple(int(length) for length in image.shape)
    if image.get_data_dtype().fields is not None:
        raise InputError("holds colours (RGB), not intensities; save the sequences as a fourth axis", path=path)
    if len(shape) < 2 or sum(length > 1 for length in shape[3:]) > 1 or 0 in shape:
        raise InputError(f"shape {shape} is not that of a scan; save it with axes x, y, z (, channel)", path=path)
    x, y, z = (*shape[:3], 1)[:3]
    return x, y, z


def _values(image: Any, path: Path) -> Array:
    """Voxels in native byte order: as stored, or as float32 where the header scales them."""
    with _checked(image.dataobj, path) as proxy:
        return _read_values(proxy, image)


@contextmanager
def _checked(proxy: ArrayProxy, path: Path) -> Iterator[ArrayProxy]:
    """What reads the voxels; of a compressed file to its end, where its checksum is.

    Nibabel stops at the last voxel, and flipped bits seldom break the compression: they change voxels.
    """
    if not is_gzip(path):
        yield proxy
        return
    with gzip.open(path) as stream:
        layout = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
        yield ArrayProxy(stream, layout, mmap=False)
        while stream.read(_PIECE):
            pass


def _read_values(proxy: ArrayProxy, image: Any) -> Array:
    if proxy.slope == 1 and proxy.inter == 0:
        stored: Array = np.asanyarray(proxy.get_unscaled())
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return np.asarray(proxy, dtype=np.complex64 if image.get_data_dtype().kind == "c" else np.float32)


def _unscaled_labels(values: Array, proxy: ArrayProxy) -> Array:
    """Labels that were rounded to the steps of a scale as whole numbers again; other values as they are.

    Nibabel stretches floats over the whole range of the integers that they are saved as: of 0, 1 and 2 in uint8, 1
    comes back as 0.996.
    """
    step = abs(float(proxy.slope))
    if proxy.dtype.kind not in "iu" or (proxy.slope == 1 and proxy.inter == 0) or step > _LARGEST_STEP:
        return values
    whole: Array = np.rint(values)
    # A little more than half a step: the numbers are single precision.
    return whole if (np.abs(values - whole) <= 0.51 * step).all() else values


def _grid(image: Any, path: Path) -> Grid:
    x, y, z = _space(image, path)
    header = image.header
    notes: list[str] = []
    affine = _stated_affine(header)
    located = affine is not None
    if affine is None:
        affine = np.asarray(header.get_base_affine(), dtype=np.float64)
        notes.append(f"{path.name} does not say how the patient lay; the usual orientation is assumed")
    spacing_known = _invertible(affine)
    if not spacing_known:
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    described = bytes(header["descrip"].item())
    spacing_known = spacing_known and described not in (_NO_SPACING, _NO_DISTANCE)
    if not spacing_known:
        missing = "distance between slices" if described == _NO_DISTANCE else "spacing"
        notes.append(f"{path.name} gives no {missing}; {ASSUMED_SIZE}")
    # The unit is that of both the affine and the voxel sizes.
    scale = MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    affine = np.diag([scale, scale, scale, 1.0]) @ affine
    return screen_grid(affine, (x, y, z), spacing_known=spacing_known, located=located, notes=tuple(notes))


def _stated_affine(header: Any) -> NDArray[np.float64] | None:
    """Where the header says that the patient lay: the sform, or the qform where that is missing or of no use.

    Some programs mark an sform of zeros as a valid one.
    """
    for read in (header.get_sform, header.get_qform):
        with suppress(ValueError):  # what is no quaternion
            affine, _ = read(coded=True)
            if affine is not None and _invertible(affine):
                return np.asarray(affine, dtype=np.float64)
    return None


def _to_screen(values: Array, grid: Grid) -> Array:
    """Array ``(x, y, z, ...)`` of a file with its axes turned as on the screen."""
    turned: Array = orientations.apply_orientation(values, orientations.ornt_transform(grid.orientation, SCREEN))
    return turned


def _invertible(affine: NDArray[np.float64]) -> bool:
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Relative to the voxel's own size: micrometres in metres are no degenerate axes.
    return bool((lengths > 0).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)
