"""Image files by themselves: each one a case, ``<stem>_mask`` or ``<stem>_seg`` beside it its mask."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.formats import atomic, nifti, tiff
from napari_unet_seg.data.formats.extensions import (
    MASK_ENDINGS,
    is_image,
    is_nifti,
    is_tiff,
    split_name,
    without_mask_ending,
)
from napari_unet_seg.data.roles import role_suffix
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "files"
LOOKED_FOR = "image files (.tif, .tiff, .nii, .nii.gz)"


@dataclass(frozen=True, kw_only=True)
class FileCase:
    """One image file, with its mask if there is one."""

    case_id: str
    image: Path
    mask: Path | None

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask file."""
        return self.mask is not None

    def labelled_slices(self) -> NDArray[np.bool_]:
        """Every slice where there is a mask file, none where there is not, ``(Z,)``; reads the header."""
        return np.full(_format(self.image).read_shape(self.image)[0], self.has_mask)

    def read_image(self) -> Volume:
        """Read the file; a lone channel is named after the sequence that the file name ends on."""
        volume: Volume = _format(self.image).read_image(self.image)
        if volume.channel_names == ("",):
            _, suffix = role_suffix(split_name(self.image.name)[0])
            volume = replace(volume, channel_names=(suffix,))
        return volume

    def read_mask(self) -> Mask | None:
        """Read the mask file; InputError if it does not lie on the image's grid."""
        if self.mask is None:
            return None
        mask: Mask = _format(self.mask).read_mask(self.mask, like=self.image)
        return mask

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>_mask``: .tif for a TIFF, .nii or .nii.gz for NIfTI."""
        extension = split_name(self.image.name)[1].lower()
        target = Path(folder) / f"{self.case_id}_mask{extension if is_nifti(self.image.name) else '.tif'}"
        atomic.refuse_overwriting([target], inputs=[path for path in (self.image, self.mask) if path is not None])
        _format(self.image).write_mask(target, mask, like=self.image)
        return target


def detect(path: Path) -> bool:
    """Whether the path is an image file, or a folder with image files that are not masks only."""
    return is_image(path.name) if path.is_file() else bool(open_cases(path))


def open_cases(path: Path) -> list[Case]:
    """The image files of a folder, or the one file.

    Raises
    ------
    InputError
        If the file is the mask of another one.
    """
    single = path.is_file()
    folder = path.parent if single else path
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_image(entry.name) and entry.is_file())
    by_stem: dict[tuple[bool, str], list[str]] = {}
    for name in names:
        by_stem.setdefault((is_tiff(name), split_name(name)[0].lower()), []).append(name)
    if single:
        stem = split_name(path.name)[0]
        owner = without_mask_ending(stem)
        images = by_stem.get((is_tiff(path.name), owner.lower()), []) if owner is not None else []
        if images:
            raise InputError(f"this is the mask of {images[0]}; open that file, or the folder", path=path)
        return [_case(folder, path.name, stem, by_stem)]
    images = [name for name in names if without_mask_ending(split_name(name)[0]) is None]
    count = Counter(split_name(name)[0] for name in images)
    cases: list[Case] = []
    for name in images:
        stem = split_name(name)[0]
        cases.append(_case(folder, name, stem if count[stem] == 1 else name, by_stem))
    return cases


def _case(folder: Path, name: str, case_id: str, by_stem: Mapping[tuple[bool, str], list[str]]) -> FileCase:
    stem, extension = split_name(name)
    masks = [mask for ending in MASK_ENDINGS for mask in by_stem.get((is_tiff(name), stem.lower() + ending), [])]
    # Of several, the one written like the image: same kind of file first.
    masks.sort(key=lambda mask: split_name(mask)[1].lower() != extension.lower())
    return FileCase(case_id=case_id, image=folder / name, mask=folder / masks[0] if masks else None)


def _format(path: Path) -> ModuleType:
    return nifti if is_nifti(path.name) else tiff
