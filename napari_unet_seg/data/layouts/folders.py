"""Images in one folder, masks in another: ``images/`` and ``masks/``, or ``train/`` and ``train_mask/``.

A file is a case; so are the files of a sub-folder together, as its slices (NIfTI files there are a case each). A case
is called after its file or sub-folder; where two of them in one folder are, by the whole file name; where two splits
have the same, ``train/<name>``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, image_file, tiff
from napari_unet_seg.data.formats.extensions import is_image, is_nifti, is_picture, split_name
from napari_unet_seg.data.layouts.folder_pairs import FolderPair, find_pairs, is_split
from napari_unet_seg.data.layouts.listing import list_folder, listed, name_key
from napari_unet_seg.data.layouts.mask_names import MaskNames
from napari_unet_seg.data.layouts.slice_files import CaseNames, encode_slices, read_slices, slices_shape
from napari_unet_seg.data.layouts.writing import Notes, refuse_name, whole_case
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan, natural_key
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "folders"
LOOKED_FOR = "images/ and masks/, or train/ and train_mask/"


@dataclass(frozen=True, kw_only=True)
class FolderScan(PlainScan):
    """A file, or the files of a sub-folder as slices in natural order, with the masks in another folder."""

    case_id: str
    images: tuple[Path, ...]

    masks: tuple[Path, ...]
    """The mask of each image, or the file that would have it."""

    has_mask: bool
    """Whether one of them was there."""

    notes: tuple[str, ...] = ()

    @property
    def foreground(self) -> int:
        """1 in NIfTI, 255 in pictures, where it is to be seen."""
        return 1 if is_nifti(self.masks[0].name) else 255

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The mask of each image."""
        return self.masks

    def read_image(self) -> Volume:
        """Read the file, or the slices as one volume."""
        return read_slices(self.images, case_id=self.case_id, notes=self.notes)

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the header of the first file."""
        return slices_shape(self.images)

    def mask_files(self) -> tuple[MaskFile, ...]:
        """A file for each image."""
        if len(self.images) > 1:
            return tuple(MaskFile(path=path, slices=(index,)) for index, path in enumerate(self.masks))
        count = 1 if is_picture(self.images[0].name) else self.read_shape()[0]
        return (MaskFile(path=self.masks[0], slices=tuple(range(count))),)

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """The labels of one file."""
        return image_file.read_labels(path, name=file.path.name, like=self._image(file))

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The mask like the former one, or like the image. No format here marks a slice as unlabelled: it is empty."""
        like = self._image(file)
        return image_file.encode_mask(np.maximum(labels, 0), name=file.path.name, former=former, like=like)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>_mask`` as .png, .tif or .nii.gz, or ``folder/<case>/<slice>_mask`` for each slice."""
        shape = self.read_shape()
        if mask.shape != shape:
            raise InputError(f"the mask has shape {mask.shape} but the case {shape} (Z, Y, X)", path=self.images[0])
        base = Path(folder) / self.case_id
        stored = mask if is_nifti(self.images[0].name) else tiff.to_stored(mask)
        endings = [f"_mask{image_file.mask_extension(image.name)}" for image in self.images]
        if len(self.images) == 1:
            target = base.with_name(f"{base.name}{endings[0]}")
            self._write(target, stored, self.images[0])
            return target
        for z, (image, ending) in enumerate(zip(self.images, endings, strict=True)):
            self._write(base / f"{split_name(image.name)[0]}{ending}", stored[z : z + 1], image)
        return base

    def _write(self, target: Path, stored: Mask, image: Path) -> None:
        atomic.refuse_overwriting([target], inputs=[*self.images, *self.masks])
        atomic.write_bytes(target, image_file.encode_mask(stored, name=target.name, former=None, like=image))

    def _image(self, file: MaskFile) -> Path:
        return self.images[file.slices[0]] if len(self.images) > 1 else self.images[0]


def detect(path: Path) -> bool:
    """Whether there are such folders, with an image in one at least; lists a few folders."""
    return path.is_dir() and bool(find_pairs(path))


def open_cases(path: Path) -> list[Scan]:
    """The cases in them, without reading a pixel."""
    found = [(pair, case) for pair in find_pairs(path) for case in _cases_of(pair)]
    times = Counter(case.case_id for _, case in found)
    return [
        case if times[case.case_id] == 1 or not pair.split else replace(case, case_id=f"{pair.split}/{case.case_id}")
        for pair, case in found
    ]


def _cases_of(pair: FolderPair) -> Iterator[FolderScan]:
    # A sub-folder that is a link may lead out of these two, to where nothing else is looked for.
    names, folders = list_folder(pair.images, root=pair.images)
    images = sorted(filter(is_image, names), key=natural_key)
    mask_names, mask_folders = list_folder(pair.masks, root=pair.masks)
    masks = MaskNames.match(images, list(filter(is_image, mask_names)))
    note = _note(masks.unused, pair.masks)
    stems = Counter(name_key(split_name(name)[0]) for name in images) + Counter(map(name_key, folders))
    for name in images:
        stem = split_name(name)[0]
        yield FolderScan(
            case_id=stem if stems[name_key(stem)] == 1 else name,
            images=(pair.images / name,),
            masks=(pair.masks / masks.of(name),),
            has_mask=masks.has(name),
            notes=note,
        )
    spelled = {name_key(folder): folder for folder in mask_folders}
    for folder in folders:
        yield from _cases_in(pair, folder, spelled.get(name_key(folder), folder), style=masks)


def _cases_in(pair: FolderPair, folder: str, mask_folder: str, *, style: MaskNames) -> Iterator[FolderScan]:
    """The case that a sub-folder's images are the slices of, or the NIfTI files in it."""
    source, target = pair.images / folder, pair.masks / mask_folder
    images = sorted(filter(is_image, list_folder(source, root=pair.images).files), key=natural_key)
    found = list(filter(is_image, list_folder(target, root=pair.masks).files))
    masks = MaskNames.match(images, found, style=style)
    note = _note(masks.unused, target)
    volumes = [name for name in images if is_nifti(name)]
    for name in volumes:
        yield FolderScan(
            case_id=f"{folder}/{split_name(name)[0]}",
            images=(source / name,),
            masks=(target / masks.of(name),),
            has_mask=masks.has(name),
            notes=note,
        )
    slices = [name for name in images if not is_nifti(name)]
    if slices:
        yield FolderScan(
            case_id=folder,
            images=tuple(source / name for name in slices),
            masks=tuple(target / masks.of(name) for name in slices),
            has_mask=any(map(masks.has, slices)),
            notes=note,
        )


def _note(unused: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    if not unused:
        return ()
    return (
        f"masks in {folder.name} that belong to no image, or to one that has another, are not used: {listed(unused)}",
    )


def create(folder: Path) -> FoldersWriter:
    """A writer of ``images/`` and ``masks/``."""
    return FoldersWriter(folder)


class FoldersWriter:
    """Writes a PNG a slice, or a TIFF where PNG does not hold the pixels; a sub-folder for a case of several slices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()
        self._names = CaseNames(self.notes)

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write the images of a case, and a mask for each labelled slice."""
        name = self._names.take(case_id)
        if is_split(name):
            raise refuse_name(case_id, why="a folder of that name is taken for a split; rename the case")
        extension, payloads = encode_slices(volume, notes=self.notes)
        stored = None if mask is None else tiff.to_stored(mask)
        with whole_case() as files:
            for z, payload in enumerate(payloads):
                path = f"{name}{extension}" if len(payloads) == 1 else f"{name}/{z:04}{extension}"
                image = self.folder / "images" / path
                files.write(image, payload)
                if stored is not None and labelled[z]:
                    content = image_file.encode_mask(stored[z : z + 1], name=path, former=None, like=image)
                    files.write(self.folder / "masks" / path, content)

    def close(self) -> None:
        """Nothing is left to write."""
