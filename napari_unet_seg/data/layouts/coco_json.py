"""A COCO file as text in which the place of every entry is known, so that the rest of it can be kept to the letter."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from napari_unet_seg.errors import InputError, reading

LISTS = ("images", "annotations", "categories")
LABELLED = "labelled"
"""Our key of an image: false if nobody has said what is in it, true if it is known to be empty."""

IN_USE = "in_use"
"""Our key of a category: true if it has a label, though no annotation has it."""

_RECENT_NS = 2_000_000_000
_SPACE = " \t\r\n"
_decoder = json.JSONDecoder()


class Member(NamedTuple):
    """A key of an object, and where it and its value stand in the text."""

    key: str
    start: int
    value: int
    end: int


class Entry(NamedTuple):
    """An element of a list: what it says and how it is written."""

    value: dict[str, Any]
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EntryList:
    """One of the lists."""

    entries: list[Entry]
    start: int
    """Where its bracket stands; as long as the text for a list that is not there."""

    end: int
    gaps: list[str] = field(default_factory=list)
    """What stands before, between and after the entries."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoText:
    """A COCO file as it is written; treat it as constant, since it is kept."""

    path: Path
    text: str
    bom: bool
    lists: Mapping[str, EntryList]

    end: int
    """Where the closing brace of the whole stands."""

    @property
    def images(self) -> list[Entry]:
        """The images."""
        return self.lists["images"].entries

    @property
    def annotations(self) -> list[Entry]:
        """The annotations of all images."""
        return self.lists["annotations"].entries

    @property
    def categories(self) -> list[Entry]:
        """The categories."""
        return self.lists["categories"].entries

    @cached_property
    def by_image(self) -> Mapping[int | str, list[Entry]]:
        """The annotations of each image that has any, under its id."""
        found: dict[int | str, list[Entry]] = {}
        for entry in self.annotations:
            number = self.image_id(entry)
            if number is not None:
                found.setdefault(number, []).append(entry)
        return found

    @cached_property
    def strays(self) -> int:
        """How many annotations are of no image in the file."""
        return len(self.annotations) - sum(map(len, self.by_image.values()))

    def image_id(self, annotation: Entry) -> int | str | None:
        """The id of the image that an annotation is of, as the image has it; None if there is no such image."""
        number: int | str = annotation.value["image_id"]
        return number if number in self._image_ids else self._ids_by_text.get(str(number))

    @cached_property
    def _image_ids(self) -> frozenset[int | str]:
        return frozenset(entry.value["id"] for entry in self.images)

    @cached_property
    def _ids_by_text(self) -> Mapping[str, int | str]:
        # Some programs write "1" in one list and 1 in the other.
        return {str(number): number for number in self._image_ids}

    @cached_property
    def by_name(self) -> Mapping[str, Entry]:
        """The first image of each file name."""
        return {entry.value["file_name"]: entry for entry in reversed(self.images)}

    @cached_property
    def label_order(self) -> list[int]:
        """Ids of the categories in use in this file, in their order; `coco_labels` numbers those of all splits."""
        kept = {entry.value["id"] for entry in self.categories if entry.value.get(IN_USE) is True}
        return sorted(kept.union(entry.value["category_id"] for entry in self.annotations))

    def labelled(self, image: Mapping[str, Any]) -> bool:
        """Whether somebody has said what is in an image: it has annotations, or is empty among others that have."""
        if image["id"] in self.by_image:
            return True
        flag = image.get(LABELLED)
        return flag if isinstance(flag, bool) else bool(self.by_image)


def load(path: Path) -> CocoText:
    """Read a COCO file, or find it among those read lately.

    Raises
    ------
    InputError
        If it cannot be read, is no JSON or no COCO.
    """
    with reading(path):
        status = path.stat()
    if abs(time.time_ns() - status.st_mtime_ns) < _RECENT_NS:
        # Clocks of file systems tick slowly: written again within the tick, it would look the same.
        return read(path)
    return _kept(path, status.st_mtime_ns, status.st_size, status.st_ino)


def read(path: Path) -> CocoText:
    """Read a COCO file as it is now."""
    with reading(path):
        content = path.read_bytes()
    if not content.strip():
        raise InputError("the file is empty", path=path)
    bom = content.startswith(codecs.BOM_UTF8)
    try:
        return parse(content.decode("utf-8-sig"), path, bom=bom)
    except json.JSONDecodeError as error:
        said = f"{error.msg.lower()} in line {error.lineno}, column {error.colno}"
        raise InputError(f"this is not valid JSON ({said}); export it again", path=path) from error
    except UnicodeDecodeError as error:
        raise InputError("this is not valid JSON, as it is not UTF-8; export it again", path=path) from error
    except RecursionError as error:
        raise InputError("this JSON is nested too deeply to be COCO; export it again", path=path) from error


def parse(text: str, path: Path, *, bom: bool = False) -> CocoText:
    """Find the entries in the text of a file; JSONDecodeError if it is no JSON."""
    found: dict[str, EntryList] = {}

    def value_end(key: str, at: int) -> int:
        if key in LISTS and text.startswith("[", at):
            found[key] = _list_at(text, at, path)
            return found[key].end
        if key in LISTS and text.startswith("null", at):
            found[key] = EntryList(entries=[], start=at, end=at + len("null"), gaps=[""])
            return found[key].end
        return int(_decoder.raw_decode(text, at)[1])

    start = _skip(text, 0)
    if not text.startswith("{", start):
        _decoder.decode(text)
        raise InputError("this JSON is not COCO: it is no object with images and annotations", path=path)
    _, end = _members(text, start, value_end)
    if _skip(text, end + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, end + 1)
    if "images" not in found:
        raise InputError("this JSON is not COCO: it has no list of images", path=path)
    nothing = EntryList(entries=[], start=len(text), end=len(text))
    coco = CocoText(path=path, text=text, bom=bom, lists={key: found.get(key, nothing) for key in LISTS}, end=end)
    _check(coco)
    return coco


def members(text: str) -> list[Member]:
    """The keys of an object given as text."""
    return _members(text, 0, lambda _, at: _decoder.raw_decode(text, at)[1])[0]


@lru_cache(maxsize=4)
def _kept(path: Path, mtime_ns: int, size: int, inode: int) -> CocoText:
    return read(path)


def _members(text: str, at: int, value_end: Callable[[str, int], int]) -> tuple[list[Member], int]:
    """The members of the object that starts at a place, and the place of its closing brace."""
    found: list[Member] = []
    at = _skip(text, at + 1)
    while not (text.startswith("}", at) and not found):
        if not text.startswith('"', at):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
        key, end = _decoder.raw_decode(text, at)
        value = _expect(text, _skip(text, end), ":")
        found.append(Member(key, at, value, value_end(key, value)))
        at = _skip(text, found[-1].end)
        if text.startswith("}", at):
            break
        at = _expect(text, at, ",")
    return found, at


def _list_at(text: str, start: int, path: Path) -> EntryList:
    entries: list[Entry] = []
    gaps: list[str] = []
    last = start + 1
    at = _skip(text, last)
    while not (text.startswith("]", at) and not entries):
        value, end = _decoder.raw_decode(text, at)
        if not isinstance(value, dict):
            raise InputError(f"this JSON is not COCO: {text[at:end][:40]} is no entry of a list", path=path)
        gaps.append(text[last:at])
        entries.append(Entry(value, text[at:end]))
        last, at = end, _skip(text, end)
        if text.startswith("]", at):
            break
        at = _expect(text, at, ",")
    gaps.append(text[last:at])
    return EntryList(entries=entries, start=start, end=at + 1, gaps=gaps)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> int:
    if not text.startswith(sign, at):
        raise json.JSONDecodeError(f"Expecting '{sign}' delimiter", text, at)
    return _skip(text, at + 1)


def _check(coco: CocoText) -> None:
    """What is relied on everywhere: ids are ids and names are names."""
    for image in coco.images:
        if not isinstance(image.value.get("id"), int | str) or not isinstance(image.value.get("file_name"), str):
            raise InputError(f'an image has no "id" or "file_name": {image.text[:60]}', path=coco.path)
    for entry in coco.annotations:
        known = isinstance(entry.value.get("image_id"), int | str) and isinstance(entry.value.get("category_id"), int)
        if not known:
            raise InputError(f'an annotation has no "image_id" or "category_id": {entry.text[:60]}', path=coco.path)
    for entry in coco.categories:
        if not isinstance(entry.value.get("id"), int):
            raise InputError(f'a category has no "id": {entry.text[:60]}', path=coco.path)
