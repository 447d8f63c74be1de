"""Folders of DICOM files: a case a series, or one for the sequences of a study that lie on one grid."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_seg.data.formats.dicom_name import has_magic, promises_dicom
from napari_unet_seg.data.formats.extensions import is_image, is_other_image
from napari_unet_seg.data.layouts.listing import list_folder

if TYPE_CHECKING:
    from napari_unet_seg.data.scan import Scan

NAME = "dicom"
LOOKED_FOR = "DICOM series"

_LEVELS = 6
_FOLDERS_TRIED = 200
_FILES_TRIED = 32
"""How much is looked into before a folder is taken for one without DICOM."""


def detect(path: Path) -> bool:
    """Whether the path is a DICOM file, or the first folder with images in it holds DICOM; reads a few bytes."""
    if path.is_file():
        return has_magic(path) or promises_dicom(path)
    for names in itertools.islice(_folders(path), _FOLDERS_TRIED):
        rest = [file for file in names if promises_dicom(file) or not _other_image(file.name)]
        others = len(names) - len(rest)
        # A picture beside a series is a preview of it; a stray DICOM file among many images is not what they are.
        if others <= len(rest) and any(promises_dicom(file) or has_magic(file) for file in rest[:_FILES_TRIED]):
            return True
        if others:
            return False
    return False


def open_cases(path: Path) -> list[Scan]:
    """The series under a folder, or the one that a file is of; reads headers.

    Series of one study are the channels of one case where they lie on one grid and their descriptions name sequences
    (T1, FLAIR, ...), each once. Every other series is a case of its own.

    Raises
    ------
    InputError
        If there are DICOM files but none with an image.
    """
    # pydicom takes 0.3 s to import.
    from napari_unet_seg.data.layouts import dicom_scan

    if path.is_file():
        siblings = [path.parent / name for name in list_folder(path.parent, root=path.parent).files]
        return dicom_scan.open_file(path, siblings=siblings)
    return dicom_scan.open_files([file for names in _folders(path) for file in names], root=path)


def _other_image(name: str) -> bool:
    return is_image(name) or is_other_image(name)


def _folders(path: Path, *, root: Path | None = None, levels: int = _LEVELS) -> Iterator[list[Path]]:
    """The files of a folder, then those of each inside it."""
    root = root if root is not None else path
    files, folders = list_folder(path, root=root)
    yield [path / name for name in files]
    if levels:
        for name in folders:
            yield from _folders(path / name, root=root, levels=levels - 1)
