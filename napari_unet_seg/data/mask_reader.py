"""Reading the masks of a dataset as they are now, as they were, and as a correction left them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.blurred_mask import cut, is_blurred, may_be_blurred
from napari_unet_seg.data.correction_log import Correction
from napari_unet_seg.data.damaged_mask import check_damaged, damage_note
from napari_unet_seg.data.file_state import Signature, sha256_of, signature
from napari_unet_seg.data.formats.extensions import is_image, is_nifti, split_name
from napari_unet_seg.data.history import History
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.packed import unpack
from napari_unet_seg.data.scan import MaskFile, Scan
from napari_unet_seg.data.stored_mask import Plane, StoredMask, assemble
from napari_unet_seg.data.transaction import version_path
from napari_unet_seg.data.volume import Array, Mask
from napari_unet_seg.errors import InputError

SETTLED_NS = 2_000_000_000
"""A file that was written less than this before it was read may change once more without its time showing it."""


class OriginalLostError(InputError):
    """What a file held before its first correction is not known any more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """What a file holds."""

    found: Signature | None
    """The state in which it was read."""

    part: Array | None
    settled: bool = True
    blurred: bool = False
    """Whether it was cut at the middle."""

    doubtful: bool = False
    """Whether it is to be cut if another file of the scan was."""

    problem: InputError | None = None
    """Why a file that is there cannot be used."""


class MaskReader:
    """Reads masks; those of the case that was read last stay in memory.

    Parameters
    ----------
    places : Places
    history : callable
        The corrections up to now.
    damage : callable
        The logs with lines that cannot be read, and which these are.
    """

    def __init__(
        self, places: Places, history: Callable[[], History], damage: Callable[[], Sequence[tuple[Path, str]]]
    ) -> None:
        self._places = places
        self._history = history
        self._damage = damage
        self._cache: tuple[str, dict[str, _Part]] = ("", {})
        self._originals: tuple[str, dict[Path, _Part]] = ("", {})
        self._version: tuple[str, dict[int, Mask]] = ("", {})

    def name(self, file: MaskFile) -> str:
        """A mask file as the log names it."""
        return self._places.relative(file.path)

    def has_mask(self, scan: Scan) -> bool:
        """Whether there is a mask for some slice at least."""
        if not self._history().of_case(scan.case_id):
            return scan.has_mask
        return any(self._places.source(self.name(file)) is not None for file in scan.mask_files())

    def has_original(self, scan: Scan) -> bool:
        """Whether there was one before the first correction."""
        history = self._history()
        if not history.of_case(scan.case_id):
            return scan.has_mask
        for file in scan.mask_files():
            known = history.file(self.name(file))
            if known is None and self._places.source(self.name(file)) is not None:
                return True
            if known is not None and known.first is not None:
                return True
        return False

    def read(self, scan: Scan, *, fresh: Collection[int] = ()) -> StoredMask:
        """The mask as it is on disk now; slices whose own file is damaged are not labelled.

        Parameters
        ----------
        scan : Scan
        fresh : collection of int
            Slices whose files are read whatever their time says.

        Raises
        ------
        InputError
            If none of the files that are there can be used, or one cannot be opened.
        """
        files, history, wanted = scan.mask_files(), self._history(), set(fresh)
        read = self._read_parts(scan, fresh=wanted)
        return assemble(
            files,
            [each.part for each in read],
            found=[each.found for each in read],
            shape=scan.read_shape(),
            one=history.one(scan.case_id),
            foreground=scan.foreground,
            classes=scan.classes,
            partial=self._made_here(files, history),
            known=history.shown(scan.case_id).keys(),
            damaged=frozenset(index for index, each in enumerate(read) if each.problem is not None),
            path=mask_path(files),
        )

    def notes(self, scan: Scan) -> tuple[str, ...]:
        """What had to be assumed to read the mask, in words for the user."""
        read = list(zip(scan.mask_files(), self._read_parts(scan), strict=True))
        damaged = [(file, part.problem) for file, part in read if part.problem is not None]
        notes = (damage_note(damaged), *scan.mask_notes) if damaged else scan.mask_notes
        blurred = [file.path.name for file, part in read if part.blurred]
        if not blurred:
            return notes
        if len(blurred) == 1:
            which, cut_so = f"the mask {blurred[0]} has", "it is"
        else:
            which, cut_so = f"the mask {blurred[0]} and {len(blurred) - 1} more have", "they are"
        return (f"{which} blurred edges; {cut_so} cut at the middle between black and white", *notes)

    def check(self, scan: Scan) -> None:
        """Raise InputError if a file of the mask cannot be used."""
        for each in self._read_parts(scan):
            if each.problem is not None:
                raise each.problem

    def read_original(self, scan: Scan) -> StoredMask:
        """The mask as it was before the first correction."""
        files, history, parts = scan.mask_files(), self._history(), []
        for file in files:
            known = history.file(self.name(file))
            if known is None:
                parts.append(self._read_part(scan, file).part)
            else:
                parts.append(self.decode_original(scan, file, known.first))
        return assemble(
            files,
            parts,
            found=[None] * len(files),
            shape=scan.read_shape(),
            one=None,
            foreground=scan.foreground,
            classes=scan.classes,
            path=mask_path(files),
        )

    def masked_slices(self, scan: Scan) -> NDArray[np.bool_]:
        """Which slices have a mask, ``(Z,)``; reads no pixels where the file of a slice, being there, says it."""
        files = scan.mask_files()
        if any(len(file.slices) > 1 or file.shared or file.marks_unlabelled for file in files):
            return self.read(scan).labelled
        labelled = np.zeros(len(files), bool)
        for file in files:
            labelled[file.slices[0]] = self._places.source(self.name(file)) is not None
        return labelled

    def original_path(self, name: str, sha: str) -> Path:
        """Where the content that a file had before its first correction is kept, or is to be kept."""
        base = name.rpartition("/")[2]
        # The extension stays: it is how a reader knows the format.
        known = f"{sha}{(split_name(base)[1] or Path(base).suffix).lower()}"
        for state in reversed(self._places.states):
            if (state / "originals" / known).exists():
                return state / "originals" / known
        return self._places.state / "originals" / known

    def decode_original(self, scan: Scan, file: MaskFile, first: str | None) -> Array | None:
        """What a file held before its first correction, ``(slices of the file, Y, X)``.

        None where there was none, or the file of a slice was damaged.

        Raises
        ------
        OriginalLostError
            If it is kept nowhere.
        """
        if first is None:
            return None
        original = self._read_original_file(scan, file, first)
        return self._cut_like(original, self._white(scan)).part if original.doubtful else original.part

    def _read_original_file(self, scan: Scan, file: MaskFile, first: str) -> _Part:
        """What a file by itself held before its first correction."""
        path = self.original_path(self.name(file), first)
        if not path.exists():
            present = self._places.source(self.name(file))
            if present is None or sha256_of(present) != first:
                self._raise_lost(file, path)
            return self._read_file(scan, file)
        if self._originals[0] != scan.case_id:
            self._originals = (scan.case_id, {})
        originals = self._originals[1]
        if path not in originals:
            originals[path] = _read_part(scan, file, path)
        return originals[path]

    def find_original(self, scan: Scan, file: MaskFile, first: str | None) -> Array | None:
        """What `decode_original` gives; None too where the original is lost, which is no reason not to save."""
        try:
            return self.decode_original(scan, file, first)
        except OriginalLostError:
            return None

    def _raise_lost(self, file: MaskFile, path: Path) -> NoReturn:
        for log, damage in self._damage():
            raise OriginalLostError(
                f"{damage}, so the original of {file.path.name} is not known; restore the log from a backup",
                path=log.parent,
            )
        raise OriginalLostError(f"the original of {file.path.name} is gone; restore it from a backup", path=path)

    def plane(self, scan: Scan, z: int, line: Correction | None) -> Plane:
        """What a slice shows where this correction, or none, stands."""
        if line is not None:
            return Plane(labels=self._left_by(line, z))
        file = next(file for file in scan.mask_files() if z in file.slices)
        known = self._history().file(self.name(file))
        part = self._read_part(scan, file).part if known is None else self.decode_original(scan, file, known.first)
        return Plane(stored=None if part is None else part[file.slices.index(z)])

    def _left_by(self, line: Correction, z: int) -> Mask:
        """The labels of a slice that a correction left, ``(Y, X)``."""
        paths = [version_path(state, line.id) for state in self._places.states]
        path = next((path for path in paths if path.exists()), paths[-1])
        known, planes = self._version
        if known != line.id:
            arrays, _ = unpack(path)
            try:
                planes = dict(zip(arrays["slices"].tolist(), arrays["after"], strict=True))
            except (KeyError, ValueError) as error:
                raise InputError(f"is damaged ({error}); restore it from a backup", path=path) from error
            self._version = (line.id, planes)
        recorded = line.recorded[line.slices.index(z)] if line.recorded else z
        if recorded not in planes:
            raise InputError(f"is damaged (it lacks slice {recorded}); restore it from a backup", path=path)
        return planes[recorded]

    def _made_here(self, files: Sequence[MaskFile], history: History) -> set[int]:
        """Numbers of the files that corrections made and that hold slices which nobody has spoken of."""
        made = set()
        for index, file in enumerate(files):
            known = history.file(self.name(file))
            if known is not None and known.first is None and len(file.slices) > 1 and not file.shared:
                made.add(index)
        return made

    def _read_parts(self, scan: Scan, *, fresh: Collection[int] = ()) -> list[_Part]:
        """What each file holds; those of the slices in `fresh` are read whatever their time says."""
        files = scan.mask_files()
        read = [self._read_file(scan, file, fresh=not set(fresh).isdisjoint(file.slices)) for file in files]
        problem = next((each.problem for each in read if each.problem is not None), None)
        if problem is not None and all(each.part is None for each in read):
            # What ails all files is rather something else than damage, such as a size that is not the image's.
            raise problem
        doubtful = {at for at, file in enumerate(files) if read[at].doubtful and self._is_as_first(file)}
        if not doubtful:
            return read
        white = self._white(scan)
        return [self._cut_like(part, white) if at in doubtful else part for at, part in enumerate(read)]

    def _read_part(self, scan: Scan, file: MaskFile) -> _Part:
        """What a file holds."""
        read = self._read_file(scan, file)
        return self._cut_like(read, self._white(scan)) if read.doubtful and self._is_as_first(file) else read

    def _is_as_first(self, file: MaskFile) -> bool:
        """Whether a file is not what a correction made of it: those write labels, not grays."""
        known = self._history().file(self.name(file))
        return known is None or known.last == known.first

    def _white(self, scan: Scan) -> int | None:
        """White in the files of a scan that are blurred, or were before they were corrected; None if there are none."""
        history = self._history()
        for file in scan.mask_files():
            known = history.file(self.name(file))
            try:
                if known is None or known.first is None:
                    read = self._read_file(scan, file)
                else:
                    read = self._read_original_file(scan, file, known.first)
            except OriginalLostError:
                continue
            if read.blurred and read.part is not None:
                return int(read.part.max())
        return None

    def _cut_like(self, read: _Part, white: int | None) -> _Part:
        """A doubtful part as it is where white is this in the scan's blurred files."""
        if white is None or read.part is None:
            return read
        # Not every type holds the other files' white.
        kind = np.promote_types(read.part.dtype, np.min_scalar_type(white))
        return replace(read, part=cut(read.part.astype(kind), white=white), blurred=True)

    def _read_file(self, scan: Scan, file: MaskFile, *, fresh: bool = False) -> _Part:
        """What a file by itself holds; from memory where it has not been written to since."""
        name = self.name(file)
        path = self._places.source(name)
        if self._cache[0] != scan.case_id:
            self._cache = (scan.case_id, {})
        cache = self._cache[1]
        found = signature(path)
        if path is None:
            return _Part(found=None, part=None)
        cached = cache.get(name)
        if cached is not None and cached.found == found and cached.settled and not fresh:
            return cached
        settled = found is not None and time.time_ns() - found[3] > SETTLED_NS
        read = cache[name] = replace(_read_part(scan, file, path), found=found, settled=settled)
        return read


def _read_part(scan: Scan, file: MaskFile, path: Path) -> _Part:
    try:
        part, blurred = decode(scan, file, path)
    except InputError as error:
        check_damaged(error, scan, path)
        return _Part(found=None, part=None, problem=error)
    if part is not None and part.dtype == bool:
        part = part.astype(np.uint8)
    doubtful = part is not None and not blurred and _may_be_picture(file) and may_be_blurred(part)
    return _Part(found=None, part=part, blurred=blurred, doubtful=doubtful)


def decode(scan: Scan, file: MaskFile, path: Path) -> tuple[Array | None, bool]:
    """What `Scan.decode_mask` gives, without the grays of a picture that by itself shows that it was blurred.

    Returns
    -------
    ndarray or None, bool
        The labels, and whether they were cut at the middle.
    """
    part = scan.decode_mask(file, path)
    if part is None or not _may_be_picture(file) or not is_blurred(part):
        return part, False
    return cut(part), True


def _may_be_picture(file: MaskFile) -> bool:
    """Whether a file may hold grays: other formats hold labels."""
    return is_image(file.path.name) and not is_nifti(file.path.name)


def mask_path(files: Sequence[MaskFile]) -> Path | None:
    """What to name where a mask is at fault: its file, or the folder of its files."""
    if not files:
        return None
    return files[0].path if len(files) == 1 else files[0].path.parent
