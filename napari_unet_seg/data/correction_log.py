"""The log of corrections: a line of JSON each, only ever appended to."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.errors import InputError, reason

T = TypeVar("T")

KINDS = ("hand", "accepted", "interpolated")
"""How a correction came about, as a caller may say."""

REVERTED = "reverted"
"""Kind of the line that takes a correction back."""

ELSEWHERE = "elsewhere"
"""Kind of the line that keeps what another program had written, before it is replaced."""


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """What a correction did to one file of the dataset."""

    file: str
    """Relative to the dataset's folder, with ``/``."""

    before: str | None
    """SHA-256 of the bytes that the file had; None where it did not exist."""

    after: str | None
    """SHA-256 of the bytes that it has since; None where it was removed. Equal to `before` where nothing changed."""

    folders: tuple[str, ...] = ()
    """Folders that had to be made for it, outermost first, relative to the dataset's folder."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One saved edit of a mask: a line of the log."""

    id: str
    time: str
    """When it was saved: UTC, ISO 8601."""

    case: str
    slices: tuple[int, ...]
    """Slices that it set, in ascending order."""

    kind: str
    """``"hand"``, ``"accepted"``, ``"interpolated"``; ``"reverted"`` for a line that takes another one back;
    ``"elsewhere"`` for pixels of another program that were found, and kept, when they were about to be replaced."""

    annotator: str = ""
    model: str = ""
    """Name of the model whose mask was corrected."""

    model_hash: str = ""
    """SHA-256 of its file; empty where that is not known."""

    files: tuple[FileChange, ...] = ()
    hash_before: str = ""
    """SHA-256 of the case's mask before: its labels as `Case.read_mask` gives them and which slices have any."""

    hash_after: str = ""
    pixels_changed: int = 0
    seconds: float | None = None
    """What the annotator spent on it."""

    reverts: str | None = None
    """Id of the correction that this line takes back."""

    one: int | None = None
    """Stored value that stands for label 1, where the case has classes: other labels are stored as they are. None
    where the case has but one class, whose value the files show."""

    names: tuple[str, ...] = ()
    """What its slices are called in their file, where that names them."""

    recorded: tuple[int, ...] = ()
    """The slices as the log has them, where files of the scan came or went since and `slices` are others by now."""

    def to_json(self) -> str:
        """The line, without its line break; what says nothing is left out."""
        record: dict[str, Any] = {
            "id": self.id,
            "time": self.time,
            "case": self.case,
            "slices": list(self.slices),
            "kind": self.kind,
            "annotator": self.annotator,
            "model": self.model,
            "model_hash": self.model_hash,
            "files": [_change_to_json(change) for change in self.files],
            "hash_before": self.hash_before,
            "hash_after": self.hash_after,
            "pixels_changed": self.pixels_changed,
            "seconds": self.seconds,
        }
        record |= {key: value for key in ("reverts", "one") if (value := getattr(self, key)) is not None}
        record |= {"names": list(self.names)} if self.names else {}
        line = json.dumps(record, ensure_ascii=False)
        # A file's name need not be text; written as \\udcfc, it is given back, and the log stays UTF-8.
        return json.dumps(record) if any("\ud800" <= letter <= "\udfff" for letter in line) else line

    @classmethod
    def from_json(cls, line: str | bytes) -> Correction:
        """Parse a line; keys that are not known are left to those who know them.

        Raises
        ------
        ValueError
            If it is no correction.
        """
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("not an object")
        try:
            return cls(
                id=str(record["id"]),
                time=str(record["time"]),
                case=str(record["case"]),
                slices=_slices_from_json(record["slices"]),
                kind=str(record["kind"]),
                annotator=str(record.get("annotator") or ""),
                model=str(record.get("model") or ""),
                model_hash=str(record.get("model_hash") or ""),
                files=tuple(map(_change_from_json, record.get("files", ()))),
                hash_before=str(record.get("hash_before") or ""),
                hash_after=str(record.get("hash_after") or ""),
                pixels_changed=int(record.get("pixels_changed") or 0),
                seconds=None if record.get("seconds") is None else float(record["seconds"]),
                reverts=_checked(record.get("reverts"), str),
                one=_checked(record.get("one"), int),
                names=tuple(map(str, record.get("names", ()))),
            )
        except (KeyError, OverflowError, TypeError) as error:
            raise ValueError(f"lacks {error}") from error


def _change_to_json(change: FileChange) -> dict[str, Any]:
    record: dict[str, Any] = {"file": change.file, "before": change.before, "after": change.after}
    if change.folders:
        record["folders"] = list(change.folders)
    return record


def _change_from_json(record: Mapping[str, Any]) -> FileChange:
    return FileChange(
        file=str(record["file"]),
        before=_checked(record["before"], str),
        after=_checked(record["after"], str),
        folders=tuple(map(str, record.get("folders", ()))),
    )


def _slices_from_json(values: Iterable[Any]) -> tuple[int, ...]:
    slices = tuple(map(int, values))
    if min(slices, default=0) < 0:
        raise ValueError("slices are numbered from 0")
    return slices


def _checked(value: Any, kind: type[T]) -> T | None:
    """A value that must be of a kind, or none at all; TypeError if it is not."""
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"a {kind.__name__} in place of {value!r}")


class CorrectionLog:
    """The lines of one file; read when first asked for, and from then on only what was appended. Any thread may ask.

    Parameters
    ----------
    path : Path
        ``corrections.jsonl``; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable: dict[int, bytes] = {}
        """The lines that are no corrections, by their numbers; they are left where they are."""
        self.generation = 0
        """Counts how often the file was found to be another one, or cut, so that what was read of it is void."""
        self._lines: list[Correction] = []
        self._read_to = 0
        self._count = 0
        self._inode: int | None = None
        # A save looks at the log in the background, without the lock of the `Ledger` that the window goes by.
        self._lock = threading.Lock()

    def lines(self) -> list[Correction]:
        """Every correction, oldest first; what other processes have appended meanwhile is among them.

        Raises
        ------
        InputError
            If the file is there and cannot be read.
        """
        with self._lock:
            return self._up_to_date()

    def _up_to_date(self) -> list[Correction]:
        try:
            state = self.path.stat()
        except FileNotFoundError:
            if self._inode is not None:
                self._forget()
            return self._lines
        except OSError as error:
            raise InputError(f"cannot be opened ({reason(error)})", path=self.path) from error
        if state.st_ino != self._inode or state.st_size < self._read_to:
            self._forget()
            self._inode = state.st_ino
        if state.st_size > self._read_to:
            self._read_tail()
        return self._lines

    def damage(self) -> str | None:
        """Which lines cannot be read, as of the last call of `lines`: ``line 3 of corrections.jsonl is damaged``."""
        if not self.unreadable:
            return None
        plural = len(self.unreadable) > 1
        numbers = ", ".join(map(str, list(self.unreadable)[:8])) + (" …" if len(self.unreadable) > 8 else "")
        return f"line{'s' * plural} {numbers} of {self.path.name} {'are' if plural else 'is'} damaged"

    def is_torn(self) -> bool:
        """Whether the last line breaks off."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) == 0:
                    return False
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"cannot be opened ({reason(error)})", path=self.path) from error

    def mend(self) -> str | None:
        """Cut off a last line that breaks off, and keep it beside the log; what was done, in words.

        Only for the holder of the lock: a line that is being appended looks the same.

        Raises
        ------
        OSError
            If that cannot be done.
        """
        if not self.is_torn():
            return None
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        torn = content[whole:]
        try:
            Correction.from_json(torn)
        except ValueError:
            aside = self.path.with_name(f"{self.path.stem}.torn-{time.time_ns()}.txt")
            atomic.replace(aside, torn)
            _truncate(self.path, whole)
            with self._lock:
                self._forget()
            return f"the last line of the log of corrections broke off; it is kept in {aside.name}"
        atomic.append(self.path, b"\n")
        return "the last line of the log of corrections lacked its end; it is complete again"

    def append(self, corrections: Iterable[Correction]) -> None:
        """Append lines, and wait until they are on the disk; on failure the log is as it was.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        payload = "".join(f"{correction.to_json()}\n" for correction in corrections).encode()
        atomic.append(self.path, payload)

    def _read_tail(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                content = file.read()
        except OSError as error:
            raise InputError(f"cannot be opened ({reason(error)})", path=self.path) from error
        # A line without its end is being written, or broke off: it is none yet.
        content = content[: content.rfind(b"\n") + 1]
        self._read_to += len(content)
        for line in content.splitlines():
            self._count += 1
            try:
                self._lines.append(Correction.from_json(line))
            except ValueError:
                if line.strip():
                    self.unreadable[self._count] = line

    def _forget(self) -> None:
        self.generation += 1
        self._lines, self.unreadable = [], {}
        self._read_to, self._count, self._inode = 0, 0, None


def _truncate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
