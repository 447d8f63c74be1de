"""Image files by themselves: each one a case, ``<stem>_mask`` or ``<stem>_seg`` beside it its mask.

Of images with one stem, ``a.png`` and ``a.jpg``, each has a mask of its own: one is made as ``<whole name>_mask``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, image_file, nifti, tiff
from napari_unet_seg.data.formats.extensions import (
    MASK_ENDINGS,
    is_image,
    is_nifti,
    split_name,
    without_mask_ending,
)
from napari_unet_seg.data.layouts.listing import list_folder, listed, name_key, refusals
from napari_unet_seg.data.layouts.writing import UNKNOWN_SPACING, Notes, file_name, refuse_name, whole_case
from napari_unet_seg.data.roles import role_suffix
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "files"
LOOKED_FOR = "image files (.tif, .tiff, .nii, .nii.gz, .png, .jpg)"


@dataclass(frozen=True, kw_only=True)
class FileScan(PlainScan):
    """One image file, with its mask if there is one."""

    case_id: str
    image: Path

    mask: Path
    """The mask, or the file that would have it."""

    has_mask: bool
    """Whether it was there."""

    notes: tuple[str, ...] = ()

    @property
    def foreground(self) -> int:
        """1 in NIfTI, 255 in pictures, where it is to be seen."""
        return 1 if is_nifti(self.mask.name) else 255

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.mask,)

    def read_image(self) -> Volume:
        """Read the file; a lone channel is named after the sequence that the file name ends on."""
        volume = image_file.read_image(self.image)
        if volume.channel_names == ("",):
            _, suffix = role_suffix(split_name(self.image.name)[0])
            volume = replace(volume, channel_names=(suffix,))
        return replace(volume, notes=volume.notes + self.notes) if self.notes else volume

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the header."""
        return image_file.read_shape(self.image)

    def mask_files(self) -> tuple[MaskFile, ...]:
        """The one file with every slice."""
        return (MaskFile(path=self.mask, slices=tuple(range(self.read_shape()[0]))),)

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """The labels, ``(Z, Y, X)``."""
        return image_file.read_labels(path, name=file.path.name, like=self.image)

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The mask like the former one, or like the image. No format here marks a slice as unlabelled: it is empty."""
        return image_file.encode_mask(np.maximum(labels, 0), name=file.path.name, former=former, like=self.image)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>_mask``: .tif for a TIFF, .nii or .nii.gz for NIfTI, .png for a picture."""
        target = Path(folder) / f"{self.case_id}_mask{image_file.mask_extension(self.image.name)}"
        used = [path for path in (self.image, self.mask) if path.exists()]
        atomic.refuse_overwriting([target], inputs=used)
        stored = mask if is_nifti(target.name) else tiff.to_stored(mask)
        atomic.write_bytes(target, image_file.encode_mask(stored, name=target.name, former=None, like=self.image))
        return target


def detect(path: Path) -> bool:
    """Whether the path is an image file, or a folder with image files that are not masks only."""
    return is_image(path.name) if path.is_file() else bool(open_cases(path))


def open_cases(path: Path) -> list[Scan]:
    """The image files of a folder, or the one file.

    Raises
    ------
    InputError
        If the file is the mask of another one.
    """
    single = path.is_file()
    folder = path.parent if single else path
    names = [name for name in list_folder(folder, root=folder).files if is_image(name)]
    by_stem: dict[tuple[str, str], list[str]] = {}
    for name in names:
        by_stem.setdefault((image_file.kind_of(name), name_key(split_name(name)[0])), []).append(name)
    images = [name for name in names if without_mask_ending(split_name(name)[0]) is None]
    masks = _match(images, by_stem)
    if single:
        stem = split_name(path.name)[0]
        owner = without_mask_ending(stem)
        if owner is not None:
            whose = [name for name in images if masks.get(name) == path.name] or _same_stem(path.name, owner, by_stem)
            if whose:
                raise InputError(f"this is the mask of {whose[0]}; open that file, or the folder", path=path)
            # By itself it is an image.
            masks = _match([path.name], by_stem)
        return [_case(folder, path.name, stem, by_stem, masks)]
    count = Counter(name_key(split_name(name)[0]) for name in images)
    cases: list[FileScan] = []
    for name in images:
        stem = split_name(name)[0]
        cases.append(_case(folder, name, stem if count[name_key(stem)] == 1 else name, by_stem, masks))
    notes: list[str] = []
    orphans = sorted(set(names).difference(images, masks.values()))
    if orphans:
        notes.append(f"masks that belong to no image are not used: {listed(orphans)}")
    # Without an image here they are not asked: a home folder may have thousands.
    beside = _folders_with_images(folder) if images else []
    # A single folder beside many images hardly holds what is meant.
    if beside and len(beside) >= len(images):
        notes.append(f"folders with images are not looked into: {listed(beside)}; open them by themselves")
    return [replace(case, notes=tuple(notes)) for case in cases]


def _folders_with_images(folder: Path) -> list[str]:
    """The folders in this one with images that are no masks: those of the patients, if a stray image lies beside."""
    # What may not be listed is not missed: the images here are what was opened.
    with refusals():
        inside = {
            name: list_folder(folder / name, root=folder).files for name in list_folder(folder, root=folder).folders
        }
    return [
        name
        for name, found in inside.items()
        if any(is_image(file) and without_mask_ending(split_name(file)[0]) is None for file in found)
    ]


def _match(images: Sequence[str], by_stem: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, str]:
    """The mask of each image that has one: the one whose name is nearest, and no file is that of two."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    claims = sorted((far, image, mask) for image in images for far, mask in _claims(image, by_stem))
    for _, name, mask in claims:
        if name not in found and mask not in taken:
            found[name] = mask
            taken.add(mask)
    return found


def _claims(
    name: str, by_stem: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[tuple[tuple[bool, int, bool, bool, bool, int], str]]:
    """Masks that may be an image's, and how far fetched each is."""
    stem, extension = split_name(name)
    kind = image_file.kind_of(name)
    # A TIFF beside a PNG of the same name has a mask of its own.
    others = {image_file.kind_of(image) for image in _same_stem(name, stem, by_stem)} - {kind}
    # The whole name is one image's alone, unless it is another one's stem, as beside a.tif that of a.tif.tif.
    ranks = {name: 2 if _same_stem(name, name, by_stem) else 0, stem: 1}
    for head, rank in ranks.items():
        for order, ending in enumerate(MASK_ENDINGS):
            for mask in _same_stem(name, head + ending, by_stem):
                if head == stem and image_file.kind_of(mask) in others:
                    continue
                base, other = split_name(mask)
                yield (
                    (
                        not base.startswith(head),
                        rank,
                        image_file.kind_of(mask) != kind,
                        other.lower() != extension.lower(),
                        other != extension,
                        order,
                    ),
                    mask,
                )


def _case(
    folder: Path,
    name: str,
    case_id: str,
    by_stem: Mapping[tuple[str, str], Sequence[str]],
    masks: Mapping[str, str],
) -> FileScan:
    mask = masks.get(name) or _new_mask(name, by_stem)
    return FileScan(case_id=case_id, image=folder / name, mask=folder / mask, has_mask=name in masks)


def _new_mask(name: str, by_stem: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Name of an image's new mask, which is no other image's now, nor when the folder is opened again."""
    stem = split_name(name)[0]
    extension = image_file.mask_extension(name)
    if len(by_stem.get((image_file.kind_of(name), name_key(stem)), ())) < 2:
        return f"{stem}_mask{extension}"
    return f"{name}{'_seg' if _same_stem(name, name, by_stem) else '_mask'}{extension}"


def _same_stem(name: str, stem: str, by_stem: Mapping[tuple[str, str], Sequence[str]]) -> list[str]:
    """Files with a stem, of a kind that can belong to a file: a NIfTI to a NIfTI, a picture or a TIFF to either."""
    kinds = ("nifti",) if is_nifti(name) else ("tiff", "picture")
    return [found for kind in kinds for found in by_stem.get((kind, name_key(stem)), [])]


def create(folder: Path) -> FilesWriter:
    """A writer of such a dataset, with NIfTI files."""
    return FilesWriter(folder)


class FilesWriter:
    """Writes a NIfTI file a case, its channels on the fourth axis, and the mask beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write ``<case>.nii.gz`` and ``<case>_mask.nii.gz``."""
        if without_mask_ending(case_id) is not None:
            raise refuse_name(case_id, why="a file of that name is taken for a mask")
        self.notes.say(UNKNOWN_SPACING, when=not volume.spacing_known)
        self.notes.say("a lone file has no names for the channels", when=any(volume.channel_names))
        self.notes.say(
            "a lone mask cannot say which slices are unlabelled: they are written as empty",
            when=mask is not None and not labelled.all(),
        )
        stem = file_name(case_id)
        with whole_case() as files:
            payload = nifti.encode_image(volume, volume.data, compressed=True)
            files.write(self.folder / f"{stem}.nii.gz", payload)
            if mask is not None:
                payload = nifti.encode_image(volume, mask[np.newaxis], compressed=True)
                files.write(self.folder / f"{stem}_mask.nii.gz", payload)

    def close(self) -> None:
        """Nothing is left to write."""
