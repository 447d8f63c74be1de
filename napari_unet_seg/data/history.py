"""What the lines of the log add up to: which corrections stand, and what each file was like at first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from napari_unet_seg.data.correction_log import REVERTED, Correction


@dataclass(kw_only=True)
class FileHistory:
    """What became of one file, as far as corrections did it.

    Where all corrections in the file of one case have been taken back, the next one is a first one again: until then
    the file is anyone's, and what is found in it is the original.
    """

    first: str | None
    """SHA-256 of the content before the first correction; None where there was no file."""

    last: str | None
    """SHA-256 of the content after the last one."""

    written: set[str] = field(default_factory=set)
    """SHA-256 of every content that a correction wrote."""

    unbroken: bool = True
    """Whether each correction found what the one before it had left."""

    folders: list[str] = field(default_factory=list)
    """Folders that were made for it, outermost first."""

    cases: set[str] = field(default_factory=set)
    """Cases whose corrections concerned it."""


class History:
    """The corrections in the order of the log, and what they add up to.

    A slice shows its newest standing correction, or the original where none stands. A line of kind ``reverted`` takes
    a correction back; reverting that line brings the correction back, in its old place in the order.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Correction] = {}
        self._in_force: dict[str, bool] = {}
        self._by_case: dict[str, list[Correction]] = {}
        self._files: dict[str, FileHistory] = {}

    def add(self, corrections: Iterable[Correction]) -> None:
        """Take in further lines."""
        for line in corrections:
            begun = {change.file for change in line.files if self.untouched(change.file, by=line.case)}
            self._by_id[line.id] = line
            # Before it is listed, as another thread may be reading. Of several logs, one that was written by another
            # clock may have reverted it already.
            self._set(line.id, self._in_force.get(line.id, True))
            self._by_case.setdefault(line.case, []).append(line)
            for change in line.files:
                known = self._files.get(change.file)
                if known is None or change.file in begun:
                    before = FileHistory(first=change.before, last=change.before)
                    if known is not None:
                        before = replace(before, written=known.written, folders=known.folders)
                    known = self._files[change.file] = before
                known.unbroken &= known.last == change.before
                known.last = change.after
                known.folders += [folder for folder in change.folders if folder not in known.folders]
                known.cases.add(line.case)
                if change.after is not None and change.after != change.before:
                    known.written.add(change.after)

    def all(self) -> list[Correction]:
        """Every line, oldest first."""
        return list(self._by_id.values())

    def get(self, correction_id: str) -> Correction | None:
        """The line with an id."""
        return self._by_id.get(correction_id)

    def in_force(self, correction_id: str) -> bool:
        """Whether the line has not been reverted."""
        return self._in_force[correction_id]

    def of_case(self, case_id: str) -> list[Correction]:
        """The lines of a case, oldest first."""
        return self._by_case.get(case_id, [])

    def shown(self, case_id: str) -> dict[int, Correction]:
        """The correction that each slice of a case shows; slices that show the original are not among them."""
        shown: dict[int, Correction] = {}
        for line in self.of_case(case_id):
            if line.kind != REVERTED and self._in_force[line.id]:
                shown.update(dict.fromkeys(line.slices, line))
        return dict(sorted(shown.items()))

    def one(self, case_id: str) -> int | None:
        """Stored value of label 1 where corrections gave a case classes; see `Correction.one`."""
        lines = self.of_case(case_id)
        return lines[-1].one if lines and self.shown(case_id) else None

    def files(self) -> Mapping[str, FileHistory]:
        """What became of each file that a correction concerned."""
        return self._files

    def file(self, name: str) -> FileHistory | None:
        """What became of a file; None where no correction concerned it."""
        return self._files.get(name)

    def file_in_force(self, name: str) -> bool:
        """Whether a standing correction of any case concerns a file."""
        known = self._files.get(name)
        return known is not None and any(
            any(change.file == name for change in line.files) for case in known.cases for line in self._standing(case)
        )

    def untouched(self, name: str, *, by: str) -> bool:
        """Whether no correction stands in a file that none but this case's concerned."""
        known = self._files.get(name)
        return known is None or (known.cases <= {by} and not self.file_in_force(name))

    def followed_by(self, line: Correction) -> History:
        """The history as it would be with this line at its end; what it does to files is left open."""
        # The lines are shared, and what is not looked at for planning is left behind.
        copy = History()
        copy._by_id = self._by_id | {line.id: line}
        copy._in_force = dict(self._in_force)
        copy._by_case = self._by_case | {line.case: [*self.of_case(line.case), line]}
        copy._files = self._files
        copy._set(line.id, True)
        return copy

    def _standing(self, case_id: str) -> list[Correction]:
        return [line for line in self.of_case(case_id) if line.kind != REVERTED and self._in_force[line.id]]

    def _set(self, correction_id: str, in_force: bool) -> None:
        self._in_force[correction_id] = in_force
        line = self._by_id.get(correction_id)
        passed = {correction_id}
        # A line names an older one; in a log that somebody edited it may not.
        while line is not None and line.kind == REVERTED and line.reverts not in (None, *passed):
            assert line.reverts is not None
            in_force = not in_force
            self._in_force[line.reverts] = in_force
            passed.add(line.reverts)
            line = self._by_id.get(line.reverts)
