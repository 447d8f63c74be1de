"""A case whose slices are an image file each: read as one volume, and written as pictures where they hold it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from napari_unet_seg.data.formats import image_file, tiff
from napari_unet_seg.data.layouts.listing import name_key
from napari_unet_seg.data.layouts.writing import Notes, refuse_name
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Volume
from napari_unet_seg.errors import InputError


def read_slices(paths: Sequence[Path], *, case_id: str, notes: Sequence[str] = ()) -> Volume:
    """Read image files as the slices of one volume; a lone file may be a stack.

    Parameters
    ----------
    paths : sequence of Path
        In the order of the slices. A gray one among coloured ones gets their channels, as nothing but a slice without
        colours tells it from them.
    case_id : str
        Names the case in a note.
    notes : sequence of str
        What is to be said besides what the files give rise to.

    Raises
    ------
    InputError
        If a file cannot be read, holds several slices, or is of another size than the first.
    """
    first = image_file.read_image(paths[0])
    if len(paths) == 1:
        return replace(first, notes=(*first.notes, *notes))
    said = dict.fromkeys([f"{case_id} gives no distance between slices; {ASSUMED_SIZE}", *notes])
    planes: list[Array] = []
    names = first.channel_names
    for path in paths:
        one = image_file.read_image(path) if planes else first
        expected = (1, *first.shape[1:])
        if one.shape != expected:
            raise InputError(
                f"has shape {one.shape} but {paths[0].name}, a slice of the same case, {expected} (Z, Y, X)",
                path=path,
            )
        said |= dict.fromkeys(note for note in one.notes if not note.endswith(ASSUMED_SIZE))
        planes.append(one.data[:, 0])
        if len(one.data) > len(names):
            names = one.channel_names
    data: Array = np.empty((len(names), len(planes), *first.shape[1:]), np.result_type(*planes))
    for z, (path, plane) in enumerate(zip(paths, planes, strict=True)):
        if len(plane) not in (1, len(names)):
            raise InputError(f"has {len(plane)} channels, another slice of the case {len(names)}", path=path)
        data[:, z] = plane
    return replace(
        first,
        data=data,
        channel_names=names,
        # One slice cannot say how far the next one is.
        spacing_known=False,
        source=paths[0].parent,
        notes=tuple(said),
    )


def slices_shape(paths: Sequence[Path]) -> tuple[int, int, int]:
    """``(Z, Y, X)`` as `read_slices` has it, from the header of the first file."""
    z, y, x = image_file.read_shape(paths[0])
    return z if len(paths) == 1 else len(paths), y, x


def encode_slices(volume: Volume, *, notes: Notes) -> tuple[str, list[bytes]]:
    """A volume as files of one slice each, which read the same.

    Parameters
    ----------
    volume : Volume
        Any.
    notes : Notes
        Gets what the files cannot keep.

    Returns
    -------
    str, list of bytes
        Extension, and the content of each file: PNG where it holds the pixels and is read with as many channels,
        else TIFF.
    """
    from napari_unet_seg.data.formats import picture

    png = _fits_png(volume)
    colours = len(volume.data) == 3
    notes.say(
        "an image a slice has no place for the distance between slices, nor for where the patient lay",
        when=volume.spacing_known,
    )
    notes.say("PNG has no place for the spacing", when=png and volume.pixel_size_known)
    kept = picture.CHANNEL_NAMES[:3] if colours else ("",) * len(volume.data)
    notes.say("image files have no names for the channels", when=volume.channel_names != kept)
    count = volume.shape[0]
    if png:
        return ".png", [picture.encode_pixels(volume.data[:, z]) for z in range(count)]
    if colours or len(volume.data) == 1:
        return ".tif", [tiff.encode_slice(volume, z) for z in range(count)]
    return ".tif", [_tiff_of_channels(volume.data[:, z]) for z in range(count)]


class CaseNames:
    """Names of the files and folders of cases, which are the cases' own wherever a file can have them."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self._taken: set[str] = set()

    def take(self, case_id: str) -> str:
        """The name of a case, as a file's; InputError if another case has it."""
        # A slash would make a folder, a dot at the start a hidden file.
        name = re.sub(r"[/\\]|^\.", "_", case_id)
        self.notes.say("names of cases cannot hold / or start with a dot: they have _ there", when=name != case_id)
        if name_key(name) in self._taken:
            raise refuse_name(case_id, why=f"there is another one called {name} already")
        self._taken.add(name_key(name))
        return name


def _fits_png(volume: Volume) -> bool:
    data = volume.data
    if len(data) == 1:
        return data.dtype in (np.uint8, np.uint16)
    # Three equal channels would be read as one.
    return len(data) == 3 and data.dtype == np.uint8 and bool((data != data[:1]).any())


def _tiff_of_channels(values: Array) -> bytes:
    """A TIFF with the channels ``(C, Y, X)`` of one slice."""
    payload = io.BytesIO()
    axes = {"axes": "CYX"}
    tifffile.imwrite(payload, np.ascontiguousarray(values), photometric="minisblack", metadata=axes, software=False)
    return payload.getvalue()
