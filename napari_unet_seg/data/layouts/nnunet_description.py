"""nnU-Net's ``dataset.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_unet_seg.data.formats.extensions import split_name
from napari_unet_seg.errors import InputError, reading


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `dataset.json` says of all cases."""

    channel_names: tuple[str, ...] = ()
    """In order of their numbers; empty where it names none."""

    ending: str = ".nii.gz"
    """Extension of every file."""

    classes: frozenset[int] = frozenset()
    """The labels that are neither background nor "ignore"."""

    ignore: int | None = None
    """The label of voxels that nobody has labelled."""

    @property
    def foreground(self) -> int:
        """The lowest class; 1 where none is named."""
        return min(self.classes, default=1)


def read_description(path: Path) -> Description:
    """Read a `dataset.json` of nnU-Net 1 or 2.

    Raises
    ------
    InputError
        If it is no such file, or names a type of file that is not read.
    """
    with reading(path):
        payload = path.read_bytes()
    try:
        content = json.loads(payload)
    except UnicodeDecodeError as error:
        raise InputError("this JSON file is not UTF-8; save it as UTF-8", path=path) from error
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg.lower()}" if isinstance(error, json.JSONDecodeError) else "too deep"
        raise InputError(f"this is no valid JSON ({where}); mend it", path=path) from error
    if not isinstance(content, dict):
        raise InputError('this describes no dataset; it must be an object with "channel_names" and "labels"', path=path)
    ending = content.get("file_ending", ".nii.gz")
    if not isinstance(ending, str) or split_name(f"x{ending}") != ("x", ending):
        raise InputError(f"files ending in {ending} are not read; convert them to .nii.gz", path=path)
    classes, ignore = _labels(content.get("labels", {}), path)
    return Description(
        channel_names=_channel_names(content.get("channel_names", content.get("modality", {})), path),
        ending=ending,
        classes=frozenset(classes - {0, ignore}),
        ignore=ignore,
    )


def _channel_names(names: Any, path: Path) -> tuple[str, ...]:
    """Names in the order of their numbers: an object in the files that nnU-Net knows, a list in some."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    try:
        return tuple(str(name) for _, name in sorted((int(number), name) for number, name in names.items()))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError('"channel_names" must give each channel\'s name by its number', path=path) from error


def _labels(labels: Any, path: Path) -> tuple[set[int], int | None]:
    """Values of the classes, and that of "ignore"; nnU-Net 1 has them as keys, 2 as values, a region has several."""
    try:
        values: set[int] = set()
        ignore: int | None = None
        for key, value in labels.items():
            if str(key).isdecimal():
                values.add(int(key))
            elif str(key).lower() == "ignore":
                ignore = int(value)
            else:
                values.update(int(one) for one in (value if isinstance(value, list) else [value]))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError('"labels" must give each class\'s number by its name', path=path) from error
    return values, ignore
