"""The layout of the LGG dataset on Kaggle: a folder a patient, a TIFF a slice, a mask beside each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, tiff
from napari_unet_seg.data.layouts.folder_pairs import find_pairs
from napari_unet_seg.data.layouts.listing import list_folder, listed, name_key
from napari_unet_seg.data.layouts.writing import Notes, file_name, whole_case
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Mask, Volume
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted

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
    def mask(self) -> Path:
        """File with the mask, or the one that would have it."""
        return self.folder / (self.mask_name or f"{self.image.stem}_mask.tif")


@dataclass(frozen=True, kw_only=True)
class KaggleScan(PlainScan):
    """A patient's slices in order of their numbers."""

    case_id: str
    folder: Path
    slices: tuple[Slice, ...]

    orphans: tuple[str, ...] = ()
    """Masks without an image."""

    spare: tuple[str, ...] = ()
    """Masks of images that have another one."""

    notes: tuple[str, ...] = ()
    """What the dataset holds beside its cases, in words for the user."""

    @property
    def has_mask(self) -> bool:
        """Whether any slice had a mask file."""
        return any(each.mask_name is not None for each in self.slices)

    @property
    def foreground(self) -> int:
        """255, as in the public dataset."""
        return 255

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The mask of each slice."""
        return tuple(each.mask for each in self.slices)

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the first slice's header."""
        self._check_slices()
        return len(self.slices), *self._slice_shape[1:]

    def mask_files(self) -> tuple[MaskFile, ...]:
        """A file a slice: the one there is, or ``<image>_mask.tif``."""
        return tuple(MaskFile(path=path, slices=(index,)) for index, path in enumerate(self.mask_paths))

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """The labels of one slice, ``(1, Y, X)``."""
        return tiff.read_labels(path, shape=self._slice_shape)

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The mask of one slice as a TIFF, with the tags of the former one, or with the image's resolution."""
        return tiff.encode_mask(labels, former=former, like=self.slices[file.slices[0]].image)

    def read_image(self) -> Volume:
        """Read the slices as one volume; three channels are pre, flair and post.

        Raises
        ------
        InputError
            If a slice cannot be read or has another shape than the first, or two have one number.
        """
        self._check_slices()
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
            notes=tuple(self._notes(known, in_plane=first.pixel_size_known)),
        )

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<patient>/<patient>_<n>_mask.tif`` for every slice, 0 and 255 as in the public dataset."""
        shape = self.read_shape()
        if mask.shape != shape:
            raise InputError(f"the mask has shape {mask.shape} but the case {shape} (Z, Y, X)", path=self.folder)
        target = Path(folder) / self.case_id
        paths = [target / f"{each.image.stem}_mask.tif" for each in self.slices]
        used = [path for each in self.slices for path in (each.image, each.mask) if path.exists()]
        atomic.refuse_overwriting(paths, inputs=used)
        stored = tiff.to_stored(mask)
        for index, each in enumerate(self.slices):
            payload = tiff.encode_mask(stored[index : index + 1], former=None, like=each.image)
            atomic.write_bytes(paths[index], payload)
        return target

    # Kept: a mask is compared with it slice by slice.
    @cached_property
    def _slice_shape(self) -> tuple[int, int, int]:
        return tiff.read_shape(self.slices[0].image)

    def _check_slices(self) -> None:
        if not self.slices:
            raise InputError(f"there are masks but no images; put {self.case_id}_<n>.tif beside them", path=self.folder)
        number, times = Counter(each.number for each in self.slices).most_common(1)[0]
        if times > 1:
            names = " and ".join(each.image_name for each in self.slices if each.number == number)
            raise InputError(f"{names} are both slice {number}; rename or remove one", path=self.folder)

    def _read(self, one: Slice) -> Volume:
        volume = tiff.read_image(one.image)
        if volume.shape[0] != 1:
            raise InputError(f"holds {volume.shape[0]} slices; this layout has one a file", path=one.image)
        return volume

    def _notes(self, spacing_known: bool, *, in_plane: bool) -> Iterator[str]:
        numbers = {each.number for each in self.slices}
        gaps = sorted(set(range(min(numbers), max(numbers))) - numbers)
        if gaps:
            yield f"{self.case_id} lacks slice {listed(map(str, gaps))}; the scan is shown without the gap"
        if self.orphans:
            yield f"{self.case_id} has masks without an image, which are not used: {listed(self.orphans)}"
        if self.spare:
            yield f"{self.case_id} has two masks of one slice; not used: {listed(self.spare)}"
        yield from self.notes
        if not spacing_known:
            what = "distance between slices" if in_plane else "spacing"
            yield f"{self.case_id} gives no {what}; {ASSUMED_SIZE}"


def _size(one: Array) -> str:
    channels, _, height, width = one.shape
    return f"{counted(channels, 'channel')} of {height}x{width} pixels"


def detect(path: Path) -> bool:
    """Whether the folder is a patient's, or holds patients one or two levels down."""
    here, below = _here_and_below(path)
    if not any(case.slices for case in chain(here, below)):
        return False
    # The public patients' slices are told by their names, also where somebody has sorted them into images and masks.
    return not any(pair.masks.is_dir() for pair in find_pairs(path))


def open_cases(path: Path) -> list[Scan]:
    """The patients under a folder, without reading a pixel."""
    left: list[str] = []
    here, found = _here_and_below(path, left=left)
    below = list(found)
    notes = []
    if any(case.slices for case in here):
        cases = here
        if hidden := [case.case_id for case in below if case.slices]:
            what = "patients in folders below slices that lie here are not used"
            notes.append(f"{what}: {listed(hidden)}; move those slices away, or open the folders")
    else:
        # Masks that somebody has put above the patients' folders hide none of those.
        cases = below if not here or any(case.slices for case in below) else here
        if left:
            notes.append(f"folders whose slices are not named after them are not used: {listed(left)}")
        if cases is below and (stray := [name for case in here for name in case.orphans]):
            notes.append(f"masks beside the patients' folders are not used: {listed(stray)}")
    return [replace(case, notes=tuple(notes)) for case in cases]


def _here_and_below(path: Path, *, left: list[str] | None = None) -> tuple[list[KaggleScan], Iterator[KaggleScan]]:
    """The patients whose slices or masks lie in a folder, and those one or two levels down; see `_below` for `left`."""
    names, folders = list_folder(path, root=path)
    return _patients_in(path, names), _below(path, folders, root=path, levels=2, left=left)


def _below(
    path: Path, folders: Sequence[str], *, root: Path, levels: int, left: list[str] | None
) -> Iterator[KaggleScan]:
    """The patients in some folders; to `left` come the folders with slices that are no patient's."""
    for name in folders:
        folder = path / name
        names, inner = list_folder(folder, root=root)
        cases = _patients_in(folder, names)
        yield from cases
        if cases:
            continue
        if left is not None and any(map(_SLICE.fullmatch, names)):
            left.append(folder.relative_to(root).as_posix())
        if levels > 1:
            yield from _below(folder, inner, root=root, levels=levels - 1, left=left)


def _patients_in(folder: Path, names: list[str]) -> list[KaggleScan]:
    spelled: dict[str, str] = {}
    images: dict[str, list[tuple[int, str]]] = {}
    masks: dict[str, dict[str, list[str]]] = {}
    own = name_key(folder.name)
    for name in names:
        match = _SLICE.fullmatch(name)
        if match is None:
            continue
        patient, number = name_key(match["patient"]), int(match["number"])
        if patient != own and not _PUBLIC_PATIENT.fullmatch(patient):
            continue
        spelled.setdefault(patient, match["patient"])
        if match["mask"]:
            masks.setdefault(patient, {}).setdefault(name_key(name).rpartition("_mask.")[0], []).append(name)
        else:
            images.setdefault(patient, []).append((number, name))
    return [
        _case(folder, spelled[patient], sorted(images.get(patient, [])), masks.get(patient, {}))
        for patient in sorted(spelled)
    ]


def _case(folder: Path, patient: str, images: list[tuple[int, str]], masks: Mapping[str, list[str]]) -> KaggleScan:
    slices: list[Slice] = []
    spare: list[str] = []
    left = dict(masks)
    for number, name in images:
        stem, _, extension = name.rpartition(".")
        found = sorted(left.pop(name_key(stem), []), key=lambda mask: _distance(mask, stem, extension))
        slices.append(Slice(number, folder, name, found[0] if found else None))
        spare += found[1:]
    return KaggleScan(
        case_id=patient,
        folder=folder,
        slices=tuple(slices),
        orphans=tuple(sorted(name for names in left.values() for name in names)),
        spare=tuple(sorted(spare)),
    )


def _distance(mask: str, stem: str, extension: str) -> tuple[bool, bool, str]:
    """How far the name of a mask is from that of its image."""
    other = mask.rpartition(".")[2]
    return mask != f"{stem}_mask.{extension}", other.lower() != extension.lower(), mask


def create(folder: Path) -> KaggleWriter:
    """A writer of such a dataset."""
    return KaggleWriter(folder)


class KaggleWriter:
    """Writes a folder a case, an image and, where it is labelled, a mask a slice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write a case of one channel or three."""
        channels = len(volume.data)
        if channels not in (1, 3):
            raise InputError(
                f"{case_id} has {channels} channels; this layout holds one, or three as colours", path=volume.source
            )
        self.notes.say(
            "a TIFF a slice has no place for the distance between slices, nor for where the patient lay",
            when=volume.spacing_known,
        )
        kept = CHANNEL_NAMES if channels == 3 else ("",)
        self.notes.say("this layout has no names for the channels", when=volume.channel_names != kept)
        stored = None if mask is None else tiff.to_stored(mask)
        stem = file_name(case_id)
        with whole_case() as files:
            for z in range(volume.shape[0]):
                image = self.folder / stem / f"{stem}_{z + 1}.tif"
                files.write(image, tiff.encode_slice(volume, z))
                if stored is not None and labelled[z]:
                    payload = tiff.encode_mask(stored[z : z + 1], former=None, like=image)
                    files.write(image.with_name(f"{stem}_{z + 1}_mask.tif"), payload)

    def close(self) -> None:
        """Nothing is left to write."""
