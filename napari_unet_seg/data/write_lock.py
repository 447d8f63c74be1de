"""One writer at a time: a lock that ends with the process that holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from napari_unet_seg.errors import InputError, ReadOnlyError, reason

PATIENCE = 10.0
"""Seconds to wait for another writer; a save takes a fraction of one."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that has the dataset."""

    pid: int
    host: str
    since: str
    """UTC, ISO 8601."""

    @classmethod
    def this(cls) -> Holder:
        """The present process."""
        return cls(pid=os.getpid(), host=socket.gethostname(), since=now())

    @classmethod
    def read(cls, note: Path) -> Holder | None:
        """What a process wrote of itself; None where nothing can be read."""
        try:
            record = json.loads(note.read_bytes())
            return cls(pid=int(record["pid"]), host=str(record["host"]), since=str(record["since"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, note: Path) -> None:
        """Leave word for others; it is a courtesy, so failing is no fault."""
        with suppress(OSError):
            note.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def is_this(self) -> bool:
        """Whether it is the present process."""
        return (self.pid, self.host) == (os.getpid(), socket.gethostname())

    def words(self) -> str:
        """``process 4711 on aspirin since 2026-01-02 10:11``, by the clock of whoever reads it."""
        return f"process {self.pid} on {self.host} since {self._since()}"

    def _since(self) -> str:
        try:
            return f"{datetime.fromisoformat(self.since).astimezone():%Y-%m-%d %H:%M}"
        except ValueError:
            return self.since


def told_of(note: Path) -> str:
    """What is known of a lock's holder, to stand behind words in a sentence; empty where nothing can be read."""
    holder = Holder.read(note)
    return f" ({holder.words()})" if holder is not None else ""


def now() -> str:
    """The time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def write_lock(folder: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Keep every other writer of a dataset out for a moment.

    The system takes the lock back when the process ends, however it ends. Where a network drive knows no such locks,
    a file takes its place; one left by a process that is gone from this computer is not minded.

    Parameters
    ----------
    folder : Path
        Where ``lock`` lies; it exists.
    patience : float
        Seconds to wait.

    Raises
    ------
    InputError
        If another process keeps it longer, who that is; or if no lock can be made.
    """
    lock, note = FileLock(folder / "lock", timeout=patience, poll_interval=0.01, mode=0o666), folder / "lock.json"
    try:
        lock.acquire()
    except Timeout:
        problem = f"another program is saving here{told_of(note)}; try again, or close it"
        raise InputError(problem, path=folder) from None
    except (OSError, NotImplementedError) as error:
        why = reason(error) if isinstance(error, OSError) else "no locks on this drive"
        kind = ReadOnlyError if isinstance(error, PermissionError) else InputError
        raise kind(f"cannot be locked for writing ({why}); choose an overlay folder", path=folder) from error
    try:
        Holder.this().write(note)
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()
