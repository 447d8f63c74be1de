"""A file that a command writes what it found into, where the user says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.errors import InputError, reading, reason

_ENDING = ".json"


def check_report(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Try whether `write_report_file` will work, before something that takes long.

    Parameters
    ----------
    path : Path
        The file; its folder is made if need be.
    inputs : iterable of Path
        Files that are read, and never replaced.

    Raises
    ------
    InputError
        If it cannot be written, or a file is there that is no report: a mistyped path may be a scan's.
    """
    if _is_stream(path):
        return
    if path.is_file():
        if path.suffix.lower() != _ENDING and not _is_json(path):
            raise InputError("is there, and is no report; give the report another name", path=path)
        atomic.refuse_overwriting([path], inputs=inputs)
    atomic.check_writable(atomic.resolved(path))


def write_report_file(path: Path, text: str) -> None:
    """Write a report, whole or not at all; a link stays one, and what is no file, such as a pipe, is written to.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    if not _is_stream(path):
        atomic.write_bytes(atomic.resolved(path), text.encode())
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written ({reason(error)})", path=path) from error


def _is_json(path: Path) -> bool:
    """Whether a file holds a JSON object or list, as a report does; a large scan is not read for that."""
    try:
        with path.open("rb") as file:
            head = file.read(1)
            if head in (b"{", b"["):
                json.loads(head + file.read())
                return True
    except (OSError, ValueError, RecursionError):
        pass
    return False


def _is_stream(path: Path) -> bool:
    with reading(path):
        return path.exists() and not path.is_file() and not path.is_dir()
