"""The layout of the LGG dataset on Kaggle: a folder a patient, a TIFF a slice, a mask beside each."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.formats import atomic, tiff
from napari_unet_seg.data.volume import Array, Mask, Volume, as_mask
from napari_unet_seg.errors import InputError

NAME = "kaggle"
LOOKED_FOR = "patient folders with <patient>_<n>.tif and <patient>_<n>_mask.tif"
CHANNEL_NAMES = ("pre", "flair", "post")

_SLICE = re.compile(r"(?P<patient>.+)_(?P<number>[0-9]+)(?P<mask>_mask)?\.tiff?", re.IGNORECASE)
# A renamed patient folder is still known by the names of its files.
_PUBLIC_PATIENT = re.compile(r"TCGA_[A-Z]{2}_[A-Z0-9]{4}_[0-9]{8}", re.IGNORECASE)


class Slice(NamedTuple):
    """One slice of a patient; a bare tuple of names, as a dataset has a hundred thousand of them."""

    number: int
    folder: Path
    image_name: str
    mask_name: str | None

    @property
    def image(self) -> Path:
        """File with the pixels."""
        return self.folder / self.image_name

    @property
    def mask(self) -> Path | None:
        """File with the mask, if there is one."""
        return self.folder / self.mask_name if self.mask_name is not None else None


@dataclass(frozen=True, kw_only=True)
class KaggleCase:
    """A patient's slices in order of their numbers."""

    case_id: str
    slices: tuple[Slice, ...]

    @property
    def has_mask(self) -> bool:
        """Whether any slice has a mask file."""
        return any(each.mask_name is not None for each in self.slices)

    def labelled_slices(self) -> NDArray[np.bool_]:
        """Which slices have a mask file, ``(Z,)``."""
        return np.array([each.mask_name is not None for each in self.slices])

    def read_image(self) -> Volume:
        """Read the slices as one volume; three channels are pre, flair and post.

        Raises
        ------
        InputError
            If a slice cannot be read or has another shape than the first.
        """
        first = self._read(self.slices[0])
        data: Array = np.empty((len(first.data), len(self.slices), *first.shape[1:]), first.data.dtype)
        data[:, :1] = first.data
        for index, each in enumerate(self.slices[1:], start=1):
            one = self._read(each).data
            if one.shape != first.data.shape:
                raise InputError(
                    f"this slice has {_size(one)}, the first one {_size(first.data)}; give them one size",
                    path=each.image,
                )
            if one.dtype != data.dtype:
                data = data.astype(np.result_type(data, one))
            data[:, index] = one[:, 0]
        names = CHANNEL_NAMES if len(data) == len(CHANNEL_NAMES) else first.channel_names
        # The tags of one slice cannot say how far the next one is.
        known = first.spacing_known and len(self.slices) == 1
        return replace(
            first,
            data=data,
            channel_names=names,
            spacing_known=known,
            source=self.slices[0].image.parent,
            notes=tuple(self._notes(known, in_plane=first.spacing_known)),
        )

    def read_mask(self) -> Mask | None:
        """Read the masks, ``(Z, Y, X)``; a slice without one is 0. None if no slice has one.

        Raises
        ------
        InputError
            If a mask cannot be read or its shape is not the image's.
        """
        if not self.has_mask:
            return None
        shape = tiff.read_shape(self.slices[0].image)
        stack: Array = np.zeros((len(self.slices), *shape[1:]), np.uint8)
        for index, each in enumerate(self.slices):
            if (path := each.mask) is None:
                continue
            values = tiff.read_labels(path, shape=shape)[0]
            if values.dtype != stack.dtype:
                stack = stack.astype(np.result_type(stack, values))
            stack[index] = values
        return as_mask(stack, path=self.slices[0].image.parent)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<patient>/<patient>_<n>_mask.tif`` for every slice, 0 and 255 as in the public dataset."""
        shape = (len(self.slices), *tiff.read_shape(self.slices[0].image)[1:])
        if mask.shape != shape:
            raise InputError(
                f"the mask has shape {mask.shape} but the case {shape} (Z, Y, X)", path=self.slices[0].image.parent
            )
        target = Path(folder) / self.case_id
        paths = [target / f"{each.image.stem}_mask.tif" for each in self.slices]
        used = [path for each in self.slices for path in (each.image, each.mask) if path is not None]
        atomic.refuse_overwriting(paths, inputs=used)
        for path, values in zip(paths, tiff.to_stored(mask), strict=True):
            payload = io.BytesIO()
            tifffile.imwrite(payload, values, photometric="minisblack", metadata=None, software=False)
            atomic.write_bytes(path, payload.getvalue())
        return target

    def _read(self, one: Slice) -> Volume:
        volume = tiff.read_image(one.image)
        if volume.shape[0] != 1:
            raise InputError(f"holds {volume.shape[0]} slices; this layout has one a file", path=one.image)
        return volume

    def _notes(self, spacing_known: bool, *, in_plane: bool) -> Iterator[str]:
        numbers = {each.number for each in self.slices}
        gaps = sorted(set(range(min(numbers), max(numbers))) - numbers)
        if gaps:
            listed = ", ".join(map(str, gaps[:5])) + (", ..." if len(gaps) > 5 else "")
            yield f"{self.case_id} lacks slice {listed}; the scan is shown without the gap"
        if not spacing_known:
            what = "distance between slices" if in_plane else "spacing"
            yield f"{self.case_id} gives no {what}; 1 mm is assumed"


def _size(one: Array) -> str:
    channels, _, height, width = one.shape
    return f"{channels} channel{'s' if channels > 1 else ''} of {height}x{width} pixels"


def detect(path: Path) -> bool:
    """Whether the folder is a patient's, or holds patients one or two levels down."""
    return next(_find_cases(path), None) is not None


def open_cases(path: Path) -> list[Case]:
    """The patients under a folder, without reading a pixel."""
    return list(_find_cases(path))


def _find_cases(path: Path, *, levels: int = 2) -> Iterator[KaggleCase]:
    names, folders = _list(path)
    cases = _patients_in(path, names)
    yield from cases
    if cases or levels == 0:
        return
    for folder in folders:
        yield from _find_cases(path / folder, levels=levels - 1)


def _list(path: Path) -> tuple[list[str], list[str]]:
    """Names of the files and folders in a folder; none where it may not be listed."""
    try:
        with os.scandir(path) as entries:
            visible = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return [], []
    return [name for name, folder in visible if not folder], sorted(name for name, folder in visible if folder)


def _patients_in(folder: Path, names: list[str]) -> list[KaggleCase]:
    images: dict[str, list[tuple[int, str]]] = {}
    masks: dict[str, str] = {}
    for name in names:
        match = _SLICE.fullmatch(name)
        if match is None:
            continue
        patient, number = match["patient"], int(match["number"])
        if patient != folder.name and not _PUBLIC_PATIENT.fullmatch(patient):
            continue
        if match["mask"]:
            masks[name.lower().rpartition("_mask.")[0]] = name
        else:
            images.setdefault(patient, []).append((number, name))
    return [_case(folder, patient, sorted(found), masks) for patient, found in sorted(images.items())]


def _case(folder: Path, patient: str, images: list[tuple[int, str]], masks: Mapping[str, str]) -> KaggleCase:
    slices = [Slice(number, folder, name, masks.get(name.lower().rpartition(".")[0])) for number, name in images]
    return KaggleCase(case_id=patient, slices=tuple(slices))
