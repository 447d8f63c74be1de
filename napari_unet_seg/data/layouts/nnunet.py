"""nnU-Net's raw data: ``dataset.json``, a file a channel in ``imagesTr``, a file a case in ``labelsTr``."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, image_file, nifti
from napari_unet_seg.data.formats.extensions import split_name
from napari_unet_seg.data.formats.number_type import type_for
from napari_unet_seg.data.layouts.channels import read_channels
from napari_unet_seg.data.layouts.listing import list_folder
from napari_unet_seg.data.layouts.nnunet_description import Description, read_description
from napari_unet_seg.data.layouts.writing import UNKNOWN_SPACING, Notes, file_name, whole_case
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan
from napari_unet_seg.data.stored_mask import choose_coding
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "nnunet"
LOOKED_FOR = "dataset.json with imagesTr and labelsTr (nnU-Net)"

DESCRIPTION = "dataset.json"
FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs"}

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})")


@dataclass(frozen=True, kw_only=True)
class NnunetScan(PlainScan):
    """A case: a file a channel, or one file with all."""

    case_id: str
    channels: Mapping[int, Path]
    """File of each channel by its number; empty for a mask without image."""

    mask: Path
    has_mask: bool
    description: Description

    @property
    def foreground(self) -> int:
        """The lowest class in `dataset.json`."""
        return self.description.foreground

    @property
    def classes(self) -> frozenset[int]:
        """Those that `dataset.json` names, however high: none is a gray level."""
        return self.description.classes

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.mask,)

    def read_image(self) -> Volume:
        """Read the channels as one volume; they have the names that `dataset.json` gives them.

        Raises
        ------
        InputError
            If a channel is missing, cannot be read or lies on another grid than the first.
        """
        names, reference = self.description.channel_names, self._reference()
        if len(self.channels) == 1:
            volume = image_file.read_image(reference)
            if len(names) not in (0, len(volume.data)):
                raise self._missing(len(volume.data) if 0 in self.channels else 0)
            return replace(volume, channel_names=names or volume.channel_names)
        for number in range(max(len(names), max(self.channels) + 1)):
            if number not in self.channels:
                raise self._missing(number)
        files = [(names[n] if n < len(names) else "", path) for n, path in sorted(self.channels.items())]
        return read_channels(files, reference=reference)

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the header of the first channel."""
        return image_file.read_shape(self._reference())

    def mask_files(self) -> tuple[MaskFile, ...]:
        """The one file with every slice."""
        slices = tuple(range(self.read_shape()[0]))
        return (MaskFile(path=self.mask, slices=slices, marks_unlabelled=self.description.ignore is not None),)

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """The labels, ``(Z, Y, X)``; -1 in slices that are "ignore" throughout, 0 for a stray "ignore" voxel."""
        labels = image_file.read_labels(path, name=file.path.name, like=self._reference())
        if self.description.ignore is None:
            return labels
        ignored = labels == self.description.ignore
        if not ignored.any():
            return labels
        unlabelled = ignored.all(axis=(1, 2))
        if not unlabelled.any():
            return np.where(ignored, labels.dtype.type(0), labels)
        labels = labels.astype(np.int16 if labels.dtype.itemsize == 1 else np.int64)
        labels[ignored] = 0
        labels[unlabelled] = -1
        return labels

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The mask in the geometry of the former one, or of the image; unlabelled slices get the label "ignore".

        Stray "ignore" voxels stay where nothing else is put. Without such a label unlabelled slices are empty.
        """
        ignore = self.description.ignore
        stored = np.maximum(labels, 0)
        if ignore is not None:
            stored = stored.astype(np.promote_types(stored.dtype, np.min_scalar_type(ignore)))
            if former is not None:
                before = image_file.read_labels(former, name=file.path.name, like=self._reference()) == ignore
                # One that is "ignore" throughout has been labelled now, background too.
                before[before.all(axis=(1, 2))] = False
                stored[before & (labels == 0)] = ignore
            stored[(labels < 0).all(axis=(1, 2))] = ignore
        return image_file.encode_mask(stored, name=file.path.name, former=former, like=self._reference())

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>.nii.gz``, as nnU-Net does, in the geometry of the first channel.

        Label 1 is written as the lowest class of `dataset.json`, as in a correction.
        """
        target = Path(folder) / f"{self.case_id}{self.description.ending}"
        used = [path for path in (*self.channels.values(), self.mask) if path.exists()]
        atomic.refuse_overwriting([target], inputs=used)
        coding = choose_coding(
            mask, one=None, present=(), foreground=self.foreground, classes=self.classes, path=target
        )
        stored = coding.to_stored(mask, like=mask)
        payload = image_file.encode_mask(stored, name=target.name, former=None, like=self._reference())
        atomic.write_bytes(target, payload)
        return target

    def _reference(self) -> Path:
        if not self.channels:
            raise InputError(f"there is no image for this mask; put {self._name(0)} into the images", path=self.mask)
        return self.channels[min(self.channels)]

    def _missing(self, number: int) -> InputError:
        names = self.description.channel_names
        named = f" ({names[number]})" if number < len(names) else ""
        return InputError(
            f"the channel {self._name(number)}{named} is missing, of which dataset.json speaks; add it",
            path=self._reference(),
        )

    def _name(self, number: int) -> str:
        return f"{split_name(self.mask.name)[0]}_{number:04}{self.description.ending}"


def detect(path: Path) -> bool:
    """Whether the folder has a `dataset.json` beside ``imagesTr`` or ``imagesTs``."""
    return (path / DESCRIPTION).is_file() and any((path / folder).is_dir() for folder in FOLDERS)


def open_cases(path: Path) -> list[Scan]:
    """The cases of the training and the test folders, without reading a pixel.

    Raises
    ------
    InputError
        If `dataset.json` cannot be used.
    """
    description = read_description(path / DESCRIPTION)
    cases: list[Scan] = []
    taken: set[str] = set()
    for images, labels in FOLDERS.items():
        masks = _stems(path / labels, description.ending)
        channels = _channels(path / images, description.ending, masks)
        for stem in sorted(channels.keys() | masks):
            case_id = stem
            while case_id in taken:
                # The same name in training and test folder.
                case_id += images.removeprefix("images")
            taken.add(case_id)
            cases.append(
                NnunetScan(
                    case_id=case_id,
                    channels=channels.get(stem, {}),
                    mask=path / labels / f"{stem}{description.ending}",
                    has_mask=stem in masks,
                    description=description,
                )
            )
    if not cases:
        raise InputError(
            f"there are no images ending in {description.ending}, of which it speaks", path=path / DESCRIPTION
        )
    return cases


def _channels(folder: Path, ending: str, masks: Collection[str]) -> dict[str, dict[int, Path]]:
    """Files of each case by the number of the channel; a file without a number holds all of them."""
    found: dict[str, dict[int, Path]] = {}
    for stem in sorted(_stems(folder, ending)):
        match = _CHANNEL.fullmatch(stem)
        if match and stem in masks and match["case"] not in masks:
            # The number is the patient's: the mask has it too.
            match = None
        case, channel = (match["case"], int(match["channel"])) if match else (stem, 0)
        found.setdefault(case, {})[channel] = folder / f"{stem}{ending}"
    return found


def _stems(folder: Path, ending: str) -> set[str]:
    names = list_folder(folder, root=folder).files
    return {name[: -len(ending)] for name in names if name.endswith(ending) and len(name) > len(ending)}


def create(folder: Path) -> NnunetWriter:
    """A writer of such a dataset, with NIfTI files."""
    return NnunetWriter(folder)


class NnunetWriter:
    """Writes cases as nnU-Net's raw data; `dataset.json` comes last, as it names the classes of all of them."""

    ENDING = ".nii.gz"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()
        self._channel_names: tuple[str, ...] = ()
        self._highest = 1
        self._cases = 0
        self._unlabelled: list[tuple[Path, NDArray[np.bool_]]] = []

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write a file a channel, and the mask; the number of channels must be that of the first case."""
        names = tuple(name or f"channel_{number}" for number, name in enumerate(volume.channel_names))
        if self._cases and len(names) != len(self._channel_names):
            raise InputError(
                f"{case_id} has {len(names)} channels, the cases before it {len(self._channel_names)}; "
                "nnU-Net wants one number",
                path=volume.source,
            )
        self.notes.say(
            "nnU-Net has the same channel names for every case: those of the first one",
            when=self._cases > 0 and names != self._channel_names,
        )
        self.notes.say(UNKNOWN_SPACING, when=not volume.spacing_known)
        stem = file_name(case_id)
        target = self.folder / "labelsTr" / f"{stem}{self.ENDING}"
        with whole_case() as files:
            for number in range(len(names)):
                payload = nifti.encode_image(volume, volume.data[number : number + 1], compressed=True)
                files.write(self.folder / "imagesTr" / f"{stem}_{number:04}{self.ENDING}", payload)
            if mask is not None:
                files.write(target, nifti.encode_image(volume, mask[np.newaxis], compressed=True))
        self._channel_names = self._channel_names or names
        self._cases += 1
        if mask is not None:
            self._highest = max(self._highest, int(mask.max()))
            if not labelled.all():
                self._unlabelled.append((target, ~labelled))

    def close(self) -> None:
        """Mark the unlabelled slices, whose label comes after that of the last class, and write `dataset.json`."""
        if not self._cases:
            return
        labels = {"background": 0, "tumour": 1} | {f"class_{n}": n for n in range(2, self._highest + 1)}
        if self._unlabelled:
            labels["ignore"] = self._highest + 1
        for path, unlabelled in self._unlabelled:
            stored = nifti.read_labels(path, like=path)
            stored = stored.astype(type_for(np.array(labels["ignore"]), former=stored.dtype))
            stored[unlabelled] = labels["ignore"]
            atomic.write_bytes(path, nifti.encode_mask(stored, former=path, like=path, compressed=True))
        content = {
            "channel_names": {str(number): name for number, name in enumerate(self._channel_names)},
            "labels": labels,
            "numTraining": self._cases,
            "file_ending": self.ENDING,
        }
        atomic.write_bytes(self.folder / DESCRIPTION, json.dumps(content, indent=2).encode() + b"\n")
