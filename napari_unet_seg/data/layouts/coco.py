"""COCO: images, and one JSON file for all of a split with the outlines of what is in them.

``_annotations.coco.json`` lies among the images of its split, as Roboflow exports it, or
``annotations/instances_<split>.json`` beside their folder. An image is a case called after its file; images whose names
have a sub-folder are the slices of one case called after that, unless it is called ``images`` or like a split. Where
two cases of a file have the same name, the whole file name is used, where two splits have it, ``train/<name>``. What
the labels are says `coco_labels`, which images are unlabelled `coco_masks`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from napari_unet_seg.data.layouts import coco_json
from napari_unet_seg.data.layouts.coco_json import CocoText, Entry
from napari_unet_seg.data.layouts.coco_labels import Numbering
from napari_unet_seg.data.layouts.coco_new import ANNOTATIONS, CocoWriter
from napari_unet_seg.data.layouts.coco_scan import CocoScan, Picture
from napari_unet_seg.data.layouts.coco_splits import Split, find_others, find_splits, image_folder
from napari_unet_seg.data.layouts.unreadable import UnreadableScan
from napari_unet_seg.data.scan import Scan, natural_key
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted

NAME = "coco"
LOOKED_FOR = ANNOTATIONS
NO_CASE = ("", "image", "images", "img", "imgs", "train", "val", "valid", "validation", "test")
"""Folders that images lie in whatever they show."""

_ROOT = re.compile(r"^(?:[A-Za-z]:)?/+")


def detect(path: Path) -> bool:
    """Whether there is such a JSON file, by its name alone."""
    return bool(find_splits(path))


def open_cases(path: Path) -> list[Scan]:
    """The cases of all splits, from the JSON files alone.

    Raises
    ------
    InputError
        If a JSON file cannot be read, is no COCO, or none of them lists an image.
    """
    splits = find_splits(path)
    read: list[tuple[Split, CocoText]] = []
    broken: list[tuple[Split, InputError]] = []
    for split in splits:
        try:
            read.append((split, coco_json.load(split.json)))
        except InputError as error:
            broken.append((split, error))
    numbering = Numbering.of([*(coco for _, coco in read), *find_others(path, splits)])
    found = [(split, case) for split, coco in read for case in _cases_of(split, coco, numbering)]
    if broken and not found:
        raise broken[0][1]
    if splits and not found:
        raise InputError("lists no images; export the dataset again", path=splits[0].json)
    times = Counter(case.case_id for _, case in found)
    cases: list[Scan] = [
        case if times[case.case_id] == 1 or not split.name else replace(case, case_id=f"{split.name}/{case.case_id}")
        for split, case in found
    ]
    # One split that is broken leaves the others usable.
    return cases + [
        UnreadableScan(case_id=f"{split.name or 'all'} (cannot be read)", problem=error.problem, path=split.json)
        for split, error in broken
    ]


def _cases_of(split: Split, coco: CocoText, numbering: Numbering) -> Iterator[CocoScan]:
    groups: dict[str, list[Entry]] = {}
    for entry in coco.images:
        # What a case is called becomes a path of its own, where its mask is written: never one from the root.
        name = PurePosixPath(_ROOT.sub("", entry.value["file_name"].replace("\\", "/")))
        groups.setdefault(f"{name.parent.as_posix()}/" if _is_of_a_case(name) else name.as_posix(), []).append(entry)
    stems = Counter(_stem(key) for key in groups)
    ids = Counter(entry.value["id"] for entry in coco.images)
    folder = image_folder(split, coco)
    for key, entries in groups.items():
        stem = _stem(key)
        case_id = stem if stems[stem] == 1 or key.endswith("/") else key
        yield _case(split, coco, case_id, entries, ids=ids, folder=folder, numbering=numbering)


def _is_of_a_case(name: PurePosixPath) -> bool:
    """Whether the folder of an image is that of its case, and not just the one that all images lie in."""
    return name.parent.name.lower() not in NO_CASE


def _stem(key: str) -> str:
    return key[:-1] if key.endswith("/") else PurePosixPath(key).stem


def _case(
    split: Split,
    coco: CocoText,
    case_id: str,
    entries: list[Entry],
    *,
    ids: Counter[int | str],
    folder: Path,
    numbering: Numbering,
) -> CocoScan:
    entries = sorted(entries, key=lambda entry: natural_key(entry.value["file_name"]))
    names = Counter(entry.value["file_name"] for entry in entries)
    problem = ""
    name, times = names.most_common(1)[0]
    if times > 1:
        problem = f"lists {name} {times} times; remove all entries but one"
    for entry in entries:
        if ids[entry.value["id"]] > 1:
            problem = f"gives the id {entry.value['id']} to several images, {entry.value['file_name']} among them"
        if ".." in PurePosixPath(entry.value["file_name"]).parts:
            problem = f"names {entry.value['file_name']}, which lies outside of the dataset"
    own = [coco.by_image.get(entry.value["id"], []) for entry in entries]
    notes = []
    if len({one.value["category_id"] for each in own for one in each}) > 1:
        notes.append(f"{case_id} has outlines of several categories; where they overlap, the later one counts")
    if coco.strays and not all(own):
        some = counted(coco.strays, "annotation")
        notes.append(
            f"{split.json.name} has {some} whose image_id is that of no image and which count for nothing; "
            f"{case_id} may lack them"
        )
    return CocoScan(
        case_id=case_id,
        json=split.json,
        pictures=tuple(_picture(folder, entry.value) for entry in entries),
        has_mask=any(coco.labelled(entry.value) for entry in entries),
        numbering=numbering,
        notes=tuple(notes),
        problem=problem,
    )


def _picture(folder: Path, image: dict[str, Any]) -> Picture:
    name = image["file_name"]
    height, width = image.get("height"), image.get("width")
    size = None
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        size = height, width
    return Picture(name, folder / name.replace("\\", "/"), size)


def create(folder: Path) -> CocoWriter:
    """A writer of one split."""
    return CocoWriter(folder)
