"""The JSON files of a COCO dataset, and where the images lie that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from napari_unet_seg.data.layouts import coco_json
from napari_unet_seg.data.layouts.coco_json import CocoText
from napari_unet_seg.data.layouts.coco_new import ANNOTATIONS
from napari_unet_seg.data.layouts.listing import list_folder
from napari_unet_seg.errors import InputError

ENDING = ".coco.json"
INSTANCES = "instances_"
FOLDER = "annotations"

_SPLIT = re.compile(r"(train(ing)?|val(id(ation)?)?|test(ing)?)[-_]?[0-9]*", re.IGNORECASE)
_TRIED = 8
"""So many images are looked for in each folder."""

_LARGEST = 64 * 2**20
"""Bytes of a file that is read for its categories alone."""


class Split(NamedTuple):
    """A JSON file, and the folders that its file names may start from, the likeliest first."""

    name: str
    json: Path
    places: tuple[Path, ...]


def find_splits(path: Path) -> list[Split]:
    """The splits in a folder, or the one of a JSON file, by names alone; none if it is no such dataset."""
    if path.is_file():
        if _is_instances(path.name):
            return [_instances(path)]
        return [Split("", path, (path.parent,))] if path.name.endswith(ENDING) else []
    here = list_folder(path, root=path)
    found = [Split("", path / ANNOTATIONS, (path,))] if ANNOTATIONS in here.files else []
    closed: list[Split] = []
    for folder in here.folders:
        split = Split(folder, path / folder / ANNOTATIONS, (path / folder,))
        try:
            if S_ISREG(split.json.stat().st_mode):
                found.append(split)
        except PermissionError:
            # It says so when it is read, if it is a split at all.
            closed += [split] if _SPLIT.fullmatch(folder) else []
        except OSError:
            continue
    if FOLDER in here.folders:
        names = list_folder(path / FOLDER, root=path).files
        found += [_instances(path / FOLDER / name) for name in names if _is_instances(name)]
    return found + closed if found else []


def find_others(path: Path, splits: Sequence[Split]) -> Iterator[CocoText]:
    """The other splits of a dataset of which one split was opened, as far as they can be told and read quickly.

    A folder called like a split belongs to the folder above, as does one called ``annotations``.
    """
    opened = {split.json for split in splits}
    folder = path.parent if path.is_file() else path
    around: list[Path] = []
    if path.is_file() and _is_instances(path.name):
        around += [folder / name for name in list_folder(folder, root=folder).files if _is_instances(name)]
        belongs = folder.name == FOLDER
    else:
        belongs = folder / ANNOTATIONS in opened and _SPLIT.fullmatch(folder.name) is not None
    if belongs:
        around += [split.json for split in find_splits(folder.parent)]
    for other in dict.fromkeys(around):
        if other in opened:
            continue
        try:
            if other.stat().st_size <= _LARGEST:
                yield coco_json.load(other)
        except (InputError, OSError):
            # What cannot be read has no say.
            continue


def image_folder(split: Split, coco: CocoText) -> Path:
    """The folder that file names start from: the first in which one of the first images lies, or that is there."""
    if len(split.places) == 1:
        return split.places[0]
    names = [entry.value["file_name"].replace("\\", "/") for entry in islice(coco.images, _TRIED)]
    for place in split.places:
        if any(_exists(place / name) for name in names):
            return place
    return next((place for place in split.places if _exists(place)), split.places[-1])


def _is_instances(name: str) -> bool:
    return name.startswith(INSTANCES) and name.endswith(".json")


def _instances(path: Path) -> Split:
    name = path.name[len(INSTANCES) : -len(".json")]
    # The folder "annotations" lies beside those of the images; any other one may hold them.
    roots = [path.parent, path.parent.parent]
    if path.parent.name == FOLDER:
        roots.reverse()
    places = [place for root in roots for place in (root / name, root / "images" / name, root / "images", root)]
    return Split(name, path, tuple(places))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
