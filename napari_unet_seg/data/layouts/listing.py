"""Names in a folder, whatever its links do."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from napari_unet_seg.errors import InputError, reason

_SYSTEM = ("lost+found", "system volume information", "$recycle.bin")
"""Folders at the top of a disk that nobody but the system may list, in small letters."""

_refused: ContextVar[dict[Path, InputError] | None] = ContextVar("_refused", default=None)


class Listing(NamedTuple):
    """What lies in a folder and is not hidden, in alphabetical order."""

    files: list[str]
    """Files, and links that lead nowhere: reading such a one says so."""

    folders: list[str]


def list_folder(path: Path, *, root: Path) -> Listing:
    """Names of the files and folders in a folder; none where it may not be listed, see `refusals`.

    Parameters
    ----------
    path : Path
        The folder.
    root : Path
        The dataset. A linked folder that lies in it is left out, as it is found where it is, and so is one that the
        dataset lies in, as there is no end to it.
    """
    files: list[str] = []
    folders: list[str] = []
    top = os.path.realpath(root)
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    if not _is_special(entry):
                        files.append(entry.name)
                elif not (entry.is_symlink() and _nested(os.path.realpath(entry.path), top)):
                    folders.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return Listing([], [])
    except OSError as error:
        told = _refused.get()
        if told is not None and path.name.lower() not in _SYSTEM:
            problem = f"this folder cannot be opened ({reason(error)}), and what is in it is left out"
            told[path] = InputError(f"{problem}; allow reading it, or move it out of the dataset", path=path)
        return Listing([], [])
    return Listing(sorted(files), sorted(folders))


@contextmanager
def refusals() -> Iterator[dict[Path, InputError]]:
    """Gather the folders that may not be listed meanwhile, each with what to tell of it.

    Layouts list folders in many places, and lazily; what is refused is of use to whoever has opened the dataset alone.
    """
    told: dict[Path, InputError] = {}
    token = _refused.set(told)
    try:
        yield told
    finally:
        _refused.reset(token)


def name_key(name: str) -> str:
    """Key under which two spellings of a file name are one: capitals, and the two ways of writing an umlaut."""
    return unicodedata.normalize("NFC", name).lower()


def listed(names: Iterable[str]) -> str:
    """The first five names, for a note."""
    first = list(islice(names, 6))
    return ", ".join(first[:5]) + (", ..." if len(first) > 5 else "")


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it is a pipe or a device: one that is read is waited for, perhaps for ever."""
    if entry.is_symlink():
        # One that leads nowhere is a file to be told of.
        target = Path(entry.path)
        return target.exists() and not target.is_file()
    return not entry.is_file(follow_symlinks=False)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def _nested(one: str, other: str) -> bool:
    """Whether one of two folders lies in the other, or they are one."""
    return os.path.commonpath([one, other]) in (one, other)
