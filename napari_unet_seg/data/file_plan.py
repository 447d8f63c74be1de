"""Working out what a mask file is to become: its new content, its original one, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_unet_seg.data.correction_log import REVERTED, Correction, FileChange
from napari_unet_seg.data.file_state import read_bytes, sha256_of, signature
from napari_unet_seg.data.history import FileHistory, History
from napari_unet_seg.data.mask_reader import MaskReader, decode
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.scan import MaskFile, Scan
from napari_unet_seg.data.stored_mask import Coding, Plane, StoredMask
from napari_unet_seg.data.transaction import FileWrite
from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import ChangedElsewhereError, InputError


@dataclass(frozen=True, kw_only=True)
class FilePlan:
    """What is to become of a file."""

    change: FileChange
    """For the log."""

    write: FileWrite | None
    """None where its pixels are as they should be already."""

    kept: Mapping[Path, bytes]
    """What is to be kept of its present content."""


@dataclass(frozen=True, kw_only=True)
class FilePlanner:
    """Plans the files of one correction, or of one line that takes one back.

    A file that has changed since the present mask was read is not planned.
    """

    places: Places
    reader: MaskReader
    own: History
    """The corrections written to the same log, without this one."""

    after: History
    """All corrections, with this one."""

    scan: Scan
    present: StoredMask
    edits: Mapping[int, Plane]
    """What slices are to be."""

    coding: Coding
    line: Correction

    def plan(self, index: int) -> FilePlan:
        """The plan for one file of the present mask.

        Raises
        ------
        InputError
            If its content cannot be read or made.
        """
        file, part = self.present.files[index], self.present.parts[index]
        name = self.reader.name(file)
        path = self.places.source(name)
        found = signature(path)
        if found != self.present.found[index]:
            raise ChangedElsewhereError("another program is writing this mask; try again", path=path or file.path)
        content = None if path is None else read_bytes(path)
        before = None if content is None else hashlib.sha256(content).hexdigest()
        target = self._target(file, name, part)
        known = self.own.file(name)
        begun = self.own.untouched(name, by=self.line.case)
        first = before if known is None or begun else known.first
        original = None if first is None else path if first == before else self.reader.original_path(name, first)
        lost = original is not None and not original.exists()
        original = None if lost else original
        as_first = False
        if known is not None and not begun and not lost:
            as_first = self._is_original(file, name, target, known, before)
        # A file that is to go, or to be a damaged one again, holds the right pixels already where its slices are empty.
        goes = as_first and (original is None or self._original_part(file, name) is None)
        if part is not None and np.array_equal(part, target) and not goes:
            return FilePlan(change=FileChange(file=name, before=before, after=before), write=None, kept={})

        kept = {}
        if content is not None and before is not None and (known is None or begun or before not in known.written):
            # Nothing that another program wrote is lost, its header and all.
            kept[self.reader.original_path(name, before)] = content
        payload, check = None, None
        if as_first and original is not None:
            payload = read_bytes(original)
        elif not as_first:
            former = None if index in self.present.damaged else path
            payload = self.scan.encode_mask(file, target, former=former, original=original)
            check = _check(self.scan, file, target)
        below = self.places.below(name)
        if payload is not None and below is not None:
            # The file of the dataset shows through again; also where it has become another one meanwhile.
            undone = as_first and not self.own.followed_by(self.line).file_in_force(name)
            payload = None if undone or payload == read_bytes(below) else payload
        if payload is None:
            after = sha256_of(below)
            folders: tuple[str, ...] = ()
            emptied = tuple(self.places.top / folder for folder in known.folders) if known is not None else ()
        else:
            after = hashlib.sha256(payload).hexdigest()
            folders, emptied = self._folders_to_make(name), ()
        write = FileWrite(
            file=name, payload=payload, before=before, after=after, found=found, check=check, folders=emptied
        )
        change = FileChange(file=name, before=before, after=after, folders=folders)
        return FilePlan(change=change, write=write, kept=kept)

    def _target(self, file: MaskFile, name: str, part: Array | None) -> Array:
        """What a file is to hold, ``(slices of the file, Y, X)`` as stored."""
        coding = self.coding.in_file(part, self._original_part(file, name))
        planes = self._known_planes(file, name, coding) if part is None else list(part)
        for place, z in enumerate(file.slices):
            edit = self.edits.get(z)
            if edit is None:
                continue
            if edit.labels is not None:
                planes[place] = coding.to_stored(edit.labels, like=planes[place])
            else:
                planes[place] = self._nothing(file) if edit.stored is None else edit.stored
        return np.stack(planes)

    def _original_part(self, file: MaskFile, name: str) -> Array | None:
        """What a file held before its first correction; None where it was not there, damaged or is lost."""
        known = self.own.file(name)
        return None if known is None else self.reader.find_original(self.scan, file, known.first)

    def _nothing(self, file: MaskFile) -> Array:
        """A slice that nobody has drawn on."""
        # In a file of many scans the slices of this one that nobody has looked at are told from empty ones.
        shape = self.present.labels.shape[1:]
        return np.full(shape, -1, np.int16) if file.shared else np.zeros(shape, np.uint8)

    def _known_planes(self, file: MaskFile, name: str, coding: Coding) -> list[Array]:
        """The slices of a file that says nothing of the scan: as they were where it was there once, and is gone."""
        planes = [self._nothing(file)] * len(file.slices)
        known = self.own.file(name)
        if known is None or file.shared or not self.own.file_in_force(name):
            return planes
        original = self._original_part(file, name)
        planes = planes if original is None else list(original)
        for z, line in self.own.shown(self.line.case).items():
            labels = self.reader.plane(self.scan, z, line).labels if z in file.slices else None
            if labels is not None:
                place = file.slices.index(z)
                planes[place] = coding.to_stored(labels, like=planes[place])
        return planes

    def _is_original(self, file: MaskFile, name: str, target: Array, known: FileHistory, before: str | None) -> bool:
        """Whether a file is to be what it was before its first correction."""
        standing = self.line.kind != REVERTED or self.after.file_in_force(name)
        if file.shared:
            # It speaks of other cases too: none of them may have a correction in it, nor an edit of another program.
            return not standing and known.unbroken and known.last == before
        if known.first is None:
            return not standing and not (target > 0).any()
        original = self._original_part(file, name)
        if original is None:
            # A damaged file, which has but one slice: that shows it again, or labels.
            return all(z in self.edits and self.edits[z].labels is None for z in file.slices)
        return np.array_equal(original, target)

    def _folders_to_make(self, name: str) -> tuple[str, ...]:
        folder = self.places.target(name).parent
        missing: list[str] = []
        while not folder.exists() and folder.is_relative_to(self.places.top):
            missing.insert(0, folder.relative_to(self.places.top).as_posix())
            folder = folder.parent
        return tuple(missing)


def _check(scan: Scan, file: MaskFile, target: Array) -> Callable[[Path], None]:
    """A check that a written file holds what it is to hold."""
    refused = InputError(
        "this format cannot hold the mask exactly, so nothing was saved; convert the dataset", path=file.path
    )

    def check(copy: Path) -> None:
        try:
            again, _ = decode(scan, file, copy)
        except InputError as error:
            # It names the copy, which nobody has heard of.
            raise refused from error
        if again is None or not np.array_equal(again, target):
            raise refused

    return check
