"""Writing a file so that a reader finds the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from napari_unet_seg.errors import InputError, reason

_ADVICE = "choose another folder"

_LONGEST_NAME = 255
"""Bytes that a drive has for the name of a file."""


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file through a temporary one in the same folder, which is made if need be.

    When this returns, the content is on the disk under its name; a power cut leaves the old file or the new one. The
    new file has the permissions of the one that it replaces.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.
    """
    try:
        replace(path, payload)
    except OSError as error:
        raise _unwritable(path, error) from error


def check_writable(path: Path, *, advice: str = _ADVICE) -> None:
    """Try whether `write_bytes` will work, before something that takes long; the folder is made if need be.

    Parameters
    ----------
    path : Path
    advice : str
        What to do where it will not.

    Raises
    ------
    InputError
        As `write_bytes` would.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _try_writing(path)
    except OSError as error:
        raise _unwritable(path, error, advice=advice) from error


def check_room(folder: Path, size: int, *, advice: str = _ADVICE) -> None:
    """See whether a folder's disk has room for files of `size` bytes together, before something that takes long.

    Raises
    ------
    InputError
        If it has not.
    """
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return
    # Some drives, on a network, tell nothing of their size.
    if disk.total and disk.free < size:
        needed, free = (f"{value / 1e6:.0f} MB" for value in (size, disk.free))
        raise InputError(f"the disk has not room enough ({needed} are needed, {free} are free); {advice}", path=folder)


def check_folder(folder: Path) -> None:
    """Try whether `write_bytes` will work for files in a folder, before something that takes long; nothing is left.

    Raises
    ------
    InputError
        As `write_bytes` would, but of the folder.
    """
    made: list[Path] = []
    try:
        made += [place for place in (folder, *folder.parents) if not place.exists()]
        _try_writing(folder / "file")
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def replace(path: Path, payload: bytes) -> None:
    """As `write_bytes`, for a caller who says what an OSError means."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path, secrets.token_hex(4))
    try:
        write_through(temporary, payload, mode_of=path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_through(path: Path, payload: bytes, *, mode_of: Path | None = None) -> None:
    """Write a new file, and wait until its content is on the disk; its name may not be yet, see `sync_folder`.

    Parameters
    ----------
    path : Path
        It must not exist.
    payload : bytes
        Its content.
    mode_of : Path, optional
        A file whose permissions it gets, if that exists.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left of it then.
    """
    # Not tempfile's 0600: a mask is to be as readable as any file its owner makes there.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            _write_all(descriptor, payload)
            if mode_of is not None:
                _copy_permissions(mode_of, path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def append(path: Path, payload: bytes) -> None:
    """Append to a file, which is made if need be, and wait until that is on the disk; all of it or nothing.

    Raises
    ------
    OSError
        If it cannot be written; the file is as it was then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, payload)
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if size == 0:
        sync_folder(path.parent)


def unfinished(path: Path, mark: str) -> Path:
    """A hidden name in the same folder for a file that is being written, with its own name where that leaves room."""
    name = f".{path.name}.{mark}.tmp"
    return path.with_name(name if len(os.fsencode(name)) <= _LONGEST_NAME else f".{mark}.tmp")


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; Windows has no such thing, and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_overwriting(targets: Iterable[Path], *, inputs: Iterable[Path]) -> None:
    """Raise InputError if a file to be written is one of the files read."""
    taken = {resolved(path) for path in inputs}
    for target in targets:
        if resolved(target) in taken:
            raise InputError("writing here would replace what is read; choose another name or folder", path=target)


def resolved(path: Path) -> Path:
    """Where a path leads, its links followed; one whose links go in a circle leads no further than to them."""
    # Of a circle, Path.resolve makes a RuntimeError before Python 3.13.
    return Path(os.path.realpath(path))


def _try_writing(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = unfinished(path, secrets.token_hex(4))
    # Not an empty one: that fits on a full disk.
    write_through(probe, b"\n")
    probe.unlink()


def _unwritable(path: Path, error: OSError, *, advice: str = _ADVICE) -> InputError:
    return InputError(f"cannot be written ({reason(error)}); {advice}", path=path)


def _write_all(descriptor: int, payload: bytes) -> None:
    rest = memoryview(payload)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _copy_permissions(source: Path, target: Path) -> None:
    """Permissions and, where the system lets us, the group, so that colleagues can still open the file."""
    try:
        former = source.stat()
    except FileNotFoundError:
        return
    with suppress(OSError):
        if hasattr(os, "chown") and target.stat().st_gid != former.st_gid:
            os.chown(target, -1, former.st_gid)
        target.chmod(stat.S_IMODE(former.st_mode))
