"""Replacing the mask files of a correction and noting it in the log: all of it or nothing, whatever happens meanwhile.

What is to be written is laid out under ``pending/<id>`` first, with a record of what goes where. From the moment the
record is there, the correction will be: whoever opens the dataset next completes what a killed process has begun.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_unet_seg.data.correction_log import Correction, CorrectionLog
from napari_unet_seg.data.file_state import Signature, sha256_of, signature
from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError, reason


@dataclass(frozen=True, kw_only=True)
class FileWrite:
    """What is to become of one file."""

    file: str
    """As the log names it."""

    payload: bytes | None
    """Its new content; None to remove it."""

    before: str | None
    after: str | None
    """SHA-256 as in `FileChange`."""

    found: Signature | None
    """The file as it was when the new content was made; None if there was none."""

    check: Callable[[Path], None] | None = None
    """Called with a copy of the content; raises if it does not say what it should."""

    folders: tuple[Path, ...] = ()
    """Of a file to be removed: folders that were made for it, outermost first; they go once they are empty."""


@dataclass(frozen=True, kw_only=True)
class Transaction:
    """Files to be written and lines to be logged, which belong together."""

    places: Places
    log: CorrectionLog
    id: str
    writes: Sequence[FileWrite]
    lines: Sequence[Correction]
    kept: Mapping[Path, bytes] = field(default_factory=dict)
    """Files beside the data that the lines need: versions and originals. One that exists stays as it is."""

    def run(self) -> None:
        """Do it; the caller holds the lock.

        Raises
        ------
        InputError
            If it cannot be done, naming the file; the mask files are as they were then.
        """
        made: list[Path] = []
        pending = self.places.state / "pending" / self.id
        changes = [_Change.of(write, self.places, self.id, pending, number) for number, write in enumerate(self.writes)]
        # What the user knows by name is the mask.
        at = changes[0].target if changes else self.log.path
        try:
            pending.mkdir(parents=True)
            for path, payload in self.kept.items():
                if not path.exists():
                    made.append(path)
                    atomic.replace(path, payload)
            for write, change in zip(self.writes, changes, strict=True):
                at = change.target
                self._stage(write, change)
            if changes:
                at = changes[0].target
                _write_record(pending, changes, self.lines)
            for write, change in zip(self.writes, changes, strict=True):
                at = change.target
                change.prepare()
                self._check_unchanged(write)
            for change in changes:
                at = change.target
                change.apply()
            for folder in {change.target.parent for change in changes}:
                at = folder
                if folder.is_dir():
                    atomic.sync_folder(folder)
            at = self.log.path
            self.log.append(self.lines)
        except BaseException as error:
            undone = self._undo(changes, made, pending)
            if isinstance(error, OSError):
                raise _cannot_save(at, error, undone, overlaid=self.places.overlay is not None) from error
            raise
        for change in changes:
            change.remove_empty_folders()
        shutil.rmtree(pending, ignore_errors=True)

    def _stage(self, write: FileWrite, change: _Change) -> None:
        if write.payload is None:
            return
        source = self.places.source(write.file)
        atomic.write_through(change.staged, write.payload, mode_of=source)
        if write.check is not None:
            write.check(change.staged)

    def _check_unchanged(self, write: FileWrite) -> None:
        if signature(self.places.source(write.file)) != write.found:
            raise ChangedElsewhereError(
                "another program is writing this mask; nothing was saved, try again",
                path=self.places.target(write.file),
            )

    def _undo(self, changes: Sequence[_Change], made: Sequence[Path], pending: Path) -> bool:
        """Have the files as they were; whether that worked."""
        try:
            for change in reversed(changes):
                change.revoke()
            (pending / "record.json").unlink(missing_ok=True)
        except OSError:
            # With its record the save is completed when the dataset is opened next, from what lies here.
            return False
        for path in made:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        shutil.rmtree(pending, ignore_errors=True)
        return True


@dataclass(kw_only=True)
class _Change:
    """One file's way from what it is to what it is to be, in steps that can be taken back or repeated."""

    file: str
    target: Path
    staged: Path
    """New content, under ``pending``."""

    former: Path
    """Another name for the present file, under ``pending``, where the drive knows such; or a copy."""

    temporary: Path
    """New content, in the folder of the file."""

    before: str | None
    after: str | None
    removes: bool
    folders: list[Path]
    """Folders to be made, outermost first; or that may be removed, once they are empty."""

    applied: bool = False

    @classmethod
    def of(cls, write: FileWrite, places: Places, name: str, pending: Path, number: int) -> _Change:
        target = places.target(write.file)
        # The extension stays: it is how a reader knows the format.
        ending = "".join(target.suffixes[-2:]) if target.suffix.lower() == ".gz" else target.suffix
        return cls(
            file=write.file,
            target=target,
            staged=pending / f"{number}{ending}",
            former=pending / f"{number}.former",
            temporary=atomic.unfinished(target, f"{name}-{number}"),
            before=write.before,
            after=write.after,
            removes=write.payload is None,
            folders=missing_folders(target.parent) if write.payload is not None else list(write.folders),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "staged": self.staged.name,
            "temporary": self.temporary.name,
            "before": self.before,
            "after": self.after,
            "removes": self.removes,
            "folders": [str(folder) for folder in self.folders] if self.removes else [],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], places: Places, pending: Path) -> _Change:
        target = places.target(str(record["file"]))
        staged = pending / str(record["staged"])
        return cls(
            file=str(record["file"]),
            target=target,
            staged=staged,
            former=staged.with_suffix(".former"),
            temporary=target.with_name(str(record["temporary"])),
            before=record["before"],
            after=record["after"],
            removes=bool(record["removes"]),
            folders=[Path(folder) for folder in record["folders"]],
        )

    def prepare(self) -> None:
        """Have everything in the file's own folder, so that only a renaming is left to do."""
        if self.removes:
            return
        self.target.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(self.staged, self.temporary)
        if self.target.exists():
            _link_or_copy(self.target, self.former)

    def can_apply(self) -> bool:
        """Whether the new content is still there."""
        return self.removes or self.temporary.exists() or self.staged.exists()

    def apply(self) -> None:
        """Put the new content, or nothing, in the place of the file."""
        if self.removes:
            if self.target.exists():
                _link_or_copy(self.target, self.former)
            self.target.unlink(missing_ok=True)
        else:
            self.temporary.replace(self.target)
        self.applied = True

    def revoke(self) -> None:
        """Take back what was done, however far it has come."""
        with suppress(OSError):
            self.temporary.unlink(missing_ok=True)
        if self.applied:
            if self.former.exists():
                try:
                    # A disk that is full has room for this.
                    self.former.replace(self.target)
                except OSError:
                    # It may lie on another drive.
                    _link_or_copy(self.former, self.temporary)
                    self.temporary.replace(self.target)
            else:
                self.target.unlink(missing_ok=True)
            self.applied = False
        for folder in reversed(self.folders):
            with suppress(OSError):
                folder.rmdir()

    def remove_empty_folders(self) -> None:
        """Where the file was removed, remove the folders that it alone was in."""
        if self.removes:
            for folder in reversed(self.folders):
                with suppress(OSError):
                    folder.rmdir()


def recover(places: Places, log: CorrectionLog) -> list[str]:
    """Complete or discard what killed processes have begun; what was done, in words. The caller holds the lock."""
    notes = []
    said = log.mend()
    if said is not None:
        notes.append(said)
    pending = places.state / "pending"
    if not pending.is_dir():
        return notes
    logged = {line.id for line in log.lines()}
    for folder in sorted(path for path in pending.iterdir() if path.is_dir()):
        notes += _recover_one(folder, places, log, logged)
        shutil.rmtree(folder, ignore_errors=True)
    return notes


def needs_recovery(places: Places, log: CorrectionLog) -> bool:
    """Whether a process was interrupted here, or is just saving; writes nothing.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    pending = places.state / "pending"
    try:
        return log.is_torn() or (pending.is_dir() and any(pending.iterdir()))
    except OSError as error:
        raise InputError(f"cannot be opened ({reason(error)})", path=pending) from error


def _recover_one(folder: Path, places: Places, log: CorrectionLog, logged: set[str]) -> list[str]:
    try:
        record = json.loads((folder / "record.json").read_bytes())
        changes = [_Change.from_json(each, places, folder) for each in record["files"]]
        lines = [Correction.from_json(line) for line in record["lines"]]
    except FileNotFoundError:
        if folder.name in logged:
            # All that was left to do was to tidy up.
            return []
        # Without its record, no file was touched.
        _remove_leftovers(places, folder.name)
        return ["a save was interrupted before it changed anything; what it was to save is not in the dataset"]
    except (ValueError, KeyError, TypeError):
        aside = places.state / "damaged" / folder.name
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
        return [f"a save was interrupted and its record is damaged; what there is of it is kept in {aside}"]
    notes = []
    for change in changes:
        if lines and lines[-1].id not in logged:
            present = sha256_of(places.source(change.file))
            if present == change.before != change.after and change.can_apply():
                if not change.temporary.exists():
                    change.prepare()
                change.apply()
                if change.target.parent.is_dir():
                    atomic.sync_folder(change.target.parent)
                change.remove_empty_folders()
            elif present != change.after:
                notes.append(
                    f"{change.target} was changed by something else while a save was interrupted; it stays as it is, "
                    f"and what was saved is kept as correction {lines[-1].id}: save these slices again if they lack it"
                )
        with suppress(OSError):
            change.temporary.unlink(missing_ok=True)
    missing = [line for line in lines if line.id not in logged]
    if missing:
        log.append(missing)
        last = missing[-1]
        numbers = ", ".join(map(str, last.slices[:8])) + (" …" if len(last.slices) > 8 else "")
        notes.append(f"a save of {last.case} that was interrupted has been completed: slice {numbers}")
    return notes


def missing_folders(folder: Path) -> list[Path]:
    """The folders above and including this one that do not exist, outermost first."""
    missing: list[Path] = []
    while not folder.exists() and folder != folder.parent:
        missing.insert(0, folder)
        folder = folder.parent
    return missing


def version_path(state: Path, correction_id: str) -> Path:
    """Where the pixels of a correction are kept."""
    return state / "versions" / f"{correction_id}.npz"


def _write_record(pending: Path, changes: Sequence[_Change], lines: Sequence[Correction]) -> None:
    record = {"files": [change.to_json() for change in changes], "lines": [line.to_json() for line in lines]}
    part = pending / "record.part"
    atomic.write_through(part, json.dumps(record).encode())
    part.replace(pending / "record.json")
    atomic.sync_folder(pending)
    atomic.sync_folder(pending.parent)


def _link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name, or copy it through to the disk where the drive has no such names."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        atomic.write_through(target, source.read_bytes(), mode_of=source)


def _remove_leftovers(places: Places, name: str) -> None:
    """Remove the pixels of corrections that never came to be, named after their transaction, and unfinished files."""
    leftovers = [*(places.state / "versions").glob(f"{name}*.npz")]
    leftovers += [path for kept in ("versions", "originals") for path in (places.state / kept).glob(".*.tmp")]
    for path in leftovers:
        with suppress(OSError):
            path.unlink()


def _cannot_save(path: Path, error: OSError, undone: bool, *, overlaid: bool) -> InputError:
    outcome = "nothing was changed" if undone else "it will be completed when the dataset is opened again"
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        advice = "free some space, then save again"
    elif forbidden:
        advice = "choose an overlay folder, or ask for the right to write"
    else:
        advice = "save again when its folder can be reached"
        path = Path(error.filename) if isinstance(error.filename, str) else path
    kind = ReadOnlyError if forbidden and not overlaid else InputError
    return kind(f"cannot be saved ({reason(error)}); {outcome}; {advice}", path=path)
