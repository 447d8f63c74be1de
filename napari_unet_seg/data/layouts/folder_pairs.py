"""Which folders of a dataset hold images, and which the masks of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from napari_unet_seg.data.formats.extensions import is_image, split_name, without_mask_ending
from napari_unet_seg.data.layouts.listing import Listing, list_folder, name_key

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "label", "segmentations", "segmentation")
SPLITS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))
"""Names of the splits; those that stand together mean the same."""

_MASK_FOLDER = re.compile(rf"(?P<split>.+)[_-](?:{'|'.join(MASKS)})")
_SUBFOLDERS_LOOKED_AT = 20


class FolderPair(NamedTuple):
    """A folder with images, and the one that has their masks, or would have them."""

    split: str
    """Name of the split's folder; ``""`` where there are no splits."""

    images: Path
    masks: Path


def is_split(name: str) -> bool:
    """Whether a folder's name is that of a split."""
    return _split_of(name) is not None


def is_mask_folder(name: str) -> bool:
    """Whether a folder's name is that of one with masks."""
    return name_key(name) in MASKS or _split_of_masks(name) is not None


def find_pairs(path: Path) -> list[FolderPair]:
    """The pairs in a dataset's folder that have an image; none where it is laid out otherwise."""
    return [pair for pair in _pairs(path) if _usable(pair)]


def _pairs(path: Path) -> Iterator[FolderPair]:
    folders = _folders(path)
    images = _first(IMAGES, folders)
    if images is not None:
        yield from _beside(path / images, _mask_folder(path, folders))
        return
    masks = {split: name for name in folders.values() if (split := _split_of_masks(name)) is not None}
    for name in folders.values():
        split = _split_of(name)
        if split is None:
            continue
        inner = _folders(path / name)
        images = _first(IMAGES, inner)
        if images is not None:
            yield FolderPair(name, path / name / images, _mask_folder(path / name, inner))
        else:
            yield FolderPair(name, path / name, path / masks.get(split, f"{name}_mask"))


def _beside(images: Path, masks: Path) -> Iterator[FolderPair]:
    """The two folders themselves, or ``images/train`` and ``masks/train``."""
    inner = _folders(images)
    if not inner or not all(map(is_split, inner)):
        yield FolderPair("", images, masks)
        return
    of_split = {_split_of(name): name for name in _folders(masks).values()}
    for name in inner.values():
        yield FolderPair(name, images / name, masks / of_split.get(_split_of(name), name))


def _usable(pair: FolderPair) -> bool:
    """Whether a pair has an image and, where there are no masks, is not of another layout with masks of its own."""
    here = list_folder(pair.images, root=pair.images)
    if pair.masks.is_dir():
        return any(map(is_image, here.files)) or any(any(map(is_image, names)) for names in _inner_files(pair, here))
    if any(map(is_image, here.files)):
        return not _has_own_masks(here.files)
    inner = [names for names in _inner_files(pair, here) if any(map(is_image, names))]
    return bool(inner) and not any(map(_has_own_masks, inner))


def _inner_files(pair: FolderPair, here: Listing) -> Iterator[list[str]]:
    for folder in islice(here.folders, _SUBFOLDERS_LOOKED_AT):
        yield list_folder(pair.images / folder, root=pair.images).files


def _has_own_masks(names: Iterable[str]) -> bool:
    return any(is_image(name) and without_mask_ending(split_name(name)[0]) is not None for name in names)


def _mask_folder(path: Path, folders: dict[str, str]) -> Path:
    """The folder with masks; one of text files, as a detector's ``labels/`` is, has none."""
    for word in MASKS:
        if word in folders:
            here = list_folder(path / folders[word], root=path)
            if not here.files or any(map(is_image, here.files)):
                return path / folders[word]
    return path / MASKS[0]


def _folders(path: Path) -> dict[str, str]:
    """Sub-folders under the key of their names."""
    return {name_key(name): name for name in list_folder(path, root=path).folders}


def _first(words: Iterable[str], folders: dict[str, str]) -> str | None:
    return next((folders[word] for word in words if word in folders), None)


def _split_of(name: str) -> str | None:
    """The split that a name means, by its first name; None if it means none."""
    return next((names[0] for names in SPLITS if name_key(name) in names), None)


def _split_of_masks(name: str) -> str | None:
    match = _MASK_FOLDER.fullmatch(name_key(name))
    return _split_of(match["split"]) if match else None
