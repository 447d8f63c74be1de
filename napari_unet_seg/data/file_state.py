"""Telling whether a file is as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_unet_seg.errors import InputError, reason

Signature = tuple[str, int, int, int]
"""Path, inode, size and time of a file: another one means that it was written to."""


def signature(path: Path | None) -> Signature | None:
    """The signature of a file; None for none.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    if path is None:
        return None
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot be opened ({reason(error)})", path=path) from error
    return str(path), state.st_ino, state.st_size, state.st_mtime_ns


def sha256_of(path: Path | None) -> str | None:
    """SHA-256 of a file's content; None for no file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return None if path is None else hashlib.sha256(read_bytes(path)).hexdigest()


def read_bytes(path: Path) -> bytes:
    """The content of a file; InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be opened ({reason(error)})", path=path) from error
