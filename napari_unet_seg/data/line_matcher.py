"""Which case a line of a log is of, and which of its slices, by the files that it changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from napari_unet_seg.data.correction_log import Correction, FileChange
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.scan import Scan
from napari_unet_seg.errors import InputError


class LineMatcher:
    """Gives lines the case names and slice numbers of the dataset as it is open now.

    What a line says of itself may be out of date: files of slices come and go, and the same mask has another case's
    name where a folder above, a folder inside or a single file was open when it was corrected.

    Parameters
    ----------
    root : Path
        The dataset: a folder or a file.
    places : Places
    scans : mapping
        Its cases by name.
    """

    def __init__(self, root: Path, places: Places, scans: Mapping[str, Scan]) -> None:
        self._is_file = root.is_file()
        self._places = places
        self._scans = scans
        self._files: dict[str, dict[str, int]] = {}
        self._cases: dict[str, set[str]] | None = None
        self._single: dict[str, bool] = {}
        self._moved: dict[str, str] = {}

    def match(self, lines: Iterable[Correction], folder: Path) -> list[Correction]:
        """Lines as they read here, without those that are of nothing that is open.

        In the dataset's own log, a line of a case that is gone stays as it is, and one of a mask file that is no
        longer its case's loses its slices.

        Parameters
        ----------
        lines : iterable of Correction
            As logged, in order.
        folder : Path
            What their file names start from.
        """
        lines = list(lines)
        if folder == self._places.folder:
            self._find_moves(lines)
        return [found for line in lines if (found := self._match(line, folder)) is not None]

    def _match(self, line: Correction, folder: Path) -> Correction | None:
        if folder != self._places.folder:
            line = replace(line, files=tuple(self._from_here(change, folder) for change in line.files))
        else:
            line = self._moved_on(line)
        case_id = self._case_of(line)
        if case_id is not None:
            return self._renumbered(line if line.case == case_id else replace(line, case=case_id))
        if folder != self._places.folder or self._is_file:
            return None
        return replace(line, slices=()) if line.case in self._scans and line.files else line

    def files(self, case_id: str) -> Mapping[str, int]:
        """The mask files of a case, as the log names them, and the number of each."""
        if case_id not in self._files:
            paths = self._scans[case_id].mask_paths
            self._files[case_id] = {self._places.relative(path): number for number, path in enumerate(paths)}
        return self._files[case_id]

    def without(self, line: Correction, files: Collection[str]) -> Correction | None:
        """A line without what it did to some files, as the log names them; None where it did nothing else."""
        left = tuple(change for change in line.files if change.file not in files)
        if len(left) == len(line.files):
            return line
        if not left:
            return None
        if line.case not in self._scans:
            return replace(line, files=left)
        gone: set[int] = set()
        with suppress(InputError):
            for file in self._scans[line.case].mask_files():
                if self._places.relative(file.path) in files:
                    gone.update(file.slices)
        kept = [place for place, z in enumerate(line.slices) if z not in gone]
        return replace(
            line,
            files=left,
            slices=tuple(line.slices[place] for place in kept),
            recorded=tuple(line.recorded[place] for place in kept) if line.recorded else (),
        )

    def check_whole(self, line: Correction) -> None:
        """Raise InputError for a line that cannot be taken back as a whole, or not at all, because of its files."""
        own = self.files(line.case)
        for change in line.files:
            path = self._places.source(change.file)
            if path is not None and change.file not in own:
                raise InputError(
                    f"correction {line.id} of {line.case} changed this file, which is no mask of it as it is open "
                    "here; open the folder that was open then, or give the file its old name",
                    path=path,
                )
        if not line.slices:
            raise InputError(
                f"the slices of correction {line.id} are no longer there; put their files back",
                path=self._places.folder,
            )

    def _find_moves(self, lines: Sequence[Correction]) -> None:
        """Find mask files that lie in a folder of another name by now: of the same case, name and content."""
        first: dict[str, str | None] = {}
        last: dict[str, str | None] = {}
        for change in (change for line in lines for change in line.files):
            first.setdefault(change.file, change.before)
            last[change.file] = change.after
        for line in lines:
            own = self.files(line.case) if line.case in self._scans else {}
            for file in {change.file for change in line.files} - own.keys() - self._moved.keys() if own else ():
                there = [name for name in own if PurePosixPath(name).name == PurePosixPath(file).name]
                if last[file] is None or len(there) != 1 or self._places.source(file) is not None:
                    continue
                (new,) = there
                with suppress(InputError):
                    # What it was before it was corrected under its new name, if it was.
                    if last[file] == (first[new] if new in first else sha256_of(self._places.source(new))):
                        self._moved[file] = new

    def _moved_on(self, line: Correction) -> Correction:
        if self._moved.keys().isdisjoint(change.file for change in line.files):
            return line
        moved = (replace(change, file=self._moved.get(change.file, change.file)) for change in line.files)
        return replace(line, files=tuple(moved))

    def _from_here(self, change: FileChange, folder: Path) -> FileChange:
        folders = tuple(self._places.relative(folder / made) for made in change.folders)
        return replace(change, file=self._places.relative(folder / change.file), folders=folders)

    def _case_of(self, line: Correction) -> str | None:
        names = [change.file for change in line.files]
        if line.case in self._scans and any(name in self.files(line.case) for name in names):
            return line.case
        if self._cases is None:
            self._cases = {}
            for case_id in self._scans:
                for name in self.files(case_id):
                    self._cases.setdefault(name, set()).add(case_id)
        found = {case_id for name in names for case_id in self._cases.get(name, ())}
        if len(found) > 1:
            # One file for all cases, which names the slices of each.
            found = {case_id for case_id in found if not set(line.names).isdisjoint(self._slice_names(case_id))}
        return found.pop() if len(found) == 1 else None

    def _renumbered(self, line: Correction) -> Correction:
        """A line with the numbers that its slices have now, without those that are gone."""
        numbers: list[int | None]
        if line.names:
            places = {name: number for number, name in enumerate(self._slice_names(line.case))}
            numbers = [places.get(name) for name in line.names]
        elif len(line.files) == len(line.slices) and self._has_file_a_slice(line):
            numbers = [self.files(line.case).get(change.file) for change in line.files]
        else:
            return line
        there = sorted((new, old) for new, old in zip(numbers, line.slices, strict=False) if new is not None)
        slices = tuple(new for new, _ in there)
        return line if slices == line.slices else replace(line, slices=slices, recorded=tuple(old for _, old in there))

    def _has_file_a_slice(self, line: Correction) -> bool:
        """Whether each mask file of a line's case holds one slice; where all agree anyway, that is left open."""
        if len(self.files(line.case)) > 1 or line.slices == (0,):
            return True
        if line.case not in self._single:
            try:
                self._single[line.case] = [len(file.slices) for file in self._scans[line.case].mask_files()] == [1]
            except InputError:
                # What is wrong with its files is said when they are read.
                self._single[line.case] = False
        return self._single[line.case]

    def _slice_names(self, case_id: str) -> tuple[str, ...]:
        try:
            return tuple(name for file in self._scans[case_id].mask_files() for name in file.names)
        except InputError:
            return ()
