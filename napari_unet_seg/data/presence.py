"""Marks of the windows that have a dataset open for correcting."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_unet_seg.data.write_lock import Holder


class Presence:
    """Says who else has a dataset open, and says it to others.

    A mark is a lock that its process holds, so that of a process that was killed is known to be stale.

    Parameters
    ----------
    folder : Path
        Where the marks lie; made by the first `claim`.
    *others : Path
        Where those of windows may lie that have a part of it open, or what it is part of.
    """

    def __init__(self, folder: Path, *others: Path) -> None:
        self.folder = folder
        self._folders = (folder, *others)
        self._mark: FileLock | None = None

    def claim(self) -> str | None:
        """Leave a mark; who else has one, in words, or None.

        Where no mark can be left, because the disk is full or read-only, none is, and who else is there is told all
        the same.
        """
        others = self._others()
        if self._mark is None:
            with suppress(OSError, NotImplementedError):
                self.folder.mkdir(parents=True, exist_ok=True)
                mark = FileLock(self.folder / f"{secrets.token_hex(6)}.lock", blocking=False, mode=0o666)
                mark.acquire()
                self._mark = mark
                Holder.this().write(_note(Path(mark.lock_file)))
        return "; ".join(others) or None

    def release(self) -> None:
        """Take the mark away, and folders that are empty then."""
        if self._mark is None:
            return
        mark, self._mark = self._mark, None
        path = Path(mark.lock_file)
        with suppress(OSError):
            _note(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            mark.release()
        with suppress(OSError):
            self.folder.rmdir()
            self.folder.parent.rmdir()

    def _others(self) -> list[str]:
        """Live processes and windows with a mark; marks of dead ones are taken away."""
        found = []
        own = Path(self._mark.lock_file) if self._mark is not None else None
        try:
            paths = [path for folder in self._folders for path in sorted(folder.glob("*.lock"))]
        except OSError:
            return []
        for path in paths:
            if path == own:
                continue
            lock = FileLock(path, blocking=False, mode=0o666)
            try:
                lock.acquire()
            except Timeout:
                holder = Holder.read(_note(path))
                words = "another program" if holder is None else holder.words()
                found.append("another dock of this program" if holder is not None and holder.is_this() else words)
            except (OSError, NotImplementedError):
                continue
            else:
                with suppress(OSError):
                    _note(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                lock.release()
        return found


def _note(mark: Path) -> Path:
    return mark.with_suffix(".json")
