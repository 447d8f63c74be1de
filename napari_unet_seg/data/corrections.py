"""The corrections of a dataset: written into its own mask files, logged, and taken back."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.autosave import Autosave
from napari_unet_seg.data.autosaves import Autosaves
from napari_unet_seg.data.changes_elsewhere import ChangesElsewhere
from napari_unet_seg.data.correction_log import ELSEWHERE, KINDS, REVERTED, Correction, CorrectionLog
from napari_unet_seg.data.file_plan import FilePlanner
from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.given_mask import as_given, as_labels, as_seconds, as_slices
from napari_unet_seg.data.ledger import LOG, Ledger
from napari_unet_seg.data.line_matcher import LineMatcher
from napari_unet_seg.data.mask_reader import MaskReader, mask_path
from napari_unet_seg.data.nested_states import nested_states
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.overlay_owner import check_overlay, sign_overlay
from napari_unet_seg.data.packed import pack
from napari_unet_seg.data.presence import Presence
from napari_unet_seg.data.scan import Scan, natural_key
from napari_unet_seg.data.stored_mask import Coding, Plane, StoredMask, choose_coding, mask_hash
from napari_unet_seg.data.transaction import Transaction, needs_recovery, recover, version_path
from napari_unet_seg.data.volume import Mask, foreground_values, labels_in
from napari_unet_seg.data.write_lock import now, write_lock
from napari_unet_seg.errors import InputError, ReadOnlyError, reason
from napari_unet_seg.wording import counted

_LISTED = 3
"""Names of missing cases, or of hidden files, that a note has at most."""


class CorrectionStore:
    """What `Dataset` and `Case` know of masks: read, corrected, reverted.

    Parameters
    ----------
    root : Path
        The dataset: a folder or a file.
    scans : iterable of Scan
        Its cases.
    overlay : Path, optional
        See `Places`.
    """

    def __init__(self, root: Path, scans: Iterable[Scan], overlay: Path | None = None) -> None:
        self.repair_notes: list[str] = []
        self._scans = {scan.case_id: scan for scan in scans}
        self.places = Places(root, overlay)
        check_overlay(self.places, self._scans)
        masks = (path for scan in self._scans.values() for path in scan.mask_paths[:1])
        self.places.nested = nested_states(self.places.folder, masks, notes=self.repair_notes)
        self.presence = Presence(*(state / "windows" for state in (self.places.state, *self.places.nested)))
        self._matcher = LineMatcher(root, self.places, self._scans)
        self._ledger = Ledger(self.places, self._matcher)
        self.reader = MaskReader(self.places, self._ledger.history, self._ledger.damage)
        self._autosaves = Autosaves(root, self.places, self._scans)
        self._elsewhere = ChangesElsewhere(places=self.places, ledger=self._ledger, reader=self.reader)
        self._sources: dict[str, Path] = {}

    def open(self) -> None:
        """Complete what a killed process has begun, if there is such; what was done is added to `repair_notes`."""
        nested = [Places(state.parent) for state in self.places.nested if self.places.overlay is None]
        logs = [CorrectionLog(places.state / LOG) for places in nested]
        for places, log in [*zip(nested, logs, strict=True), (self.places, self._ledger.log)]:
            try:
                if not needs_recovery(places, log):
                    continue
                if places.writable:
                    with write_lock(places.state):
                        self._recover(places, log)
                else:
                    note = "a save was interrupted here, and cannot be completed because the dataset is read-only"
                    self.repair_notes.append(note)
            except InputError as error:
                self.repair_notes.append(f"an interrupted save could not be completed: {error}")
        # A log that cannot be opened at all is told of by what asks for it.
        with suppress(InputError):
            for path, damage in self._ledger.damage():
                self.repair_notes.append(
                    f"{path}: {damage}, and what was corrected there is not known; restore the log from a backup"
                )
            self._note_missing_cases()
            self._note_hidden()

    def _note_missing_cases(self) -> None:
        """Say which corrections are of cases that are not here; a folder that was renamed has lost its own so."""
        history = self._ledger.history()
        missing = sorted({line.case for line in history.all()} - self._scans.keys(), key=natural_key)
        missing = [case_id for case_id in missing if history.shown(case_id)]
        if missing:
            listed = ", ".join(missing[:_LISTED]) + (" …" if len(missing) > _LISTED else "")
            self.repair_notes.append(
                f"corrections of {counted(len(missing), 'case')} not here any more are kept: {listed}; where one was "
                "renamed, give it its old name to have them back"
            )

    def _note_hidden(self) -> None:
        """Say which masks were corrected in the dataset itself since the overlay has copies of them."""
        self._ledger.history()
        hidden = sorted(self._ledger.hidden, key=natural_key)
        if hidden:
            listed = ", ".join(hidden[:_LISTED]) + (" …" if len(hidden) > _LISTED else "")
            self.repair_notes.append(
                f"the dataset has newer corrections of {counted(len(hidden), 'mask file')} that the overlay folder "
                f"holds copies of, and does not show them: {listed}; revert the overlay's corrections there to see them"
            )

    def corrections(self, case_id: str | None = None) -> list[Correction]:
        """The log, newest last."""
        history = self._ledger.history()
        return history.all() if case_id is None else list(history.of_case(case_id))

    def corrected_slices(self, case_id: str) -> list[int]:
        """Slices that show a standing correction."""
        return list(self._ledger.history().shown(case_id))

    def shown(self, case_id: str) -> dict[int, Correction]:
        """The correction that each slice shows; slices that show the original are not among them."""
        return self._ledger.history().shown(case_id)

    def all_corrected_slices(self) -> dict[str, list[int]]:
        """The same of every case that has such slices; the log is looked at once."""
        history = self._ledger.history()
        return {case_id: list(shown) for case_id in self._scans if (shown := history.shown(case_id))}

    def read(self, scan: Scan) -> StoredMask:
        """The mask as it is on disk now; a slice that changes afterwards is not replaced without a question."""
        try:
            stored = self.reader.read(scan)
        except InputError:
            self._elsewhere.note_unreadable(scan)
            raise
        self._elsewhere.note_read(scan.case_id, stored)
        return stored

    def note_source(self, case_id: str, source: Path | None) -> None:
        """Remember where a case's pixels came from: if that is gone, so is the place for its mask."""
        if source is not None:
            self._sources[case_id] = source

    def save(
        self,
        scan: Scan,
        mask: Any,
        slices: Iterable[int] | None,
        *,
        model: str | None,
        model_hash: str,
        annotator: str | None,
        kind: str,
        seconds: float | None,
        overwrite: bool,
    ) -> Correction:
        """See `Dataset.save_correction`."""
        self.places.check_writable()
        self._check_source(scan.case_id)
        spent = None if seconds is None else as_seconds(seconds)
        if kind not in KINDS:
            raise InputError(f"a correction cannot be of kind {kind!r}; choose one of {', '.join(KINDS)}")
        shape = scan.read_shape()
        wanted = None if slices is None else as_slices(slices, shape[0], case_id=scan.case_id)
        values = as_given(mask, shape, case_id=scan.case_id, slices=wanted)
        given = range(shape[0]) if wanted is None else wanted
        with self._writing():
            present = self.reader.read(scan, fresh=given)
            targets = dict(zip(given, as_labels(values, classes=present.several), strict=True))
            if wanted is None:
                targets = {z: plane for z, plane in targets.items() if (plane != present.labels[z]).any()}
            if not targets:
                raise InputError(
                    f"{scan.case_id}: the mask is as stored, so there is nothing to save; name the slices that are to "
                    "be accepted as they are"
                )
            _check_declared(scan, present, targets)
            if not overwrite:
                self._elsewhere.check_seen(scan, present, targets)
            line = Correction(
                id=_new_id(),
                time=now(),
                case=scan.case_id,
                slices=tuple(targets),
                kind=kind,
                annotator=_text(annotator),
                model=_text(model),
                model_hash=str(model_hash),
                seconds=spent,
            )
            history = self._ledger.history()
            # Where nothing stands in a file any more, whatever it holds is the original, and kept as that.
            begun = {
                z
                for z in targets
                if history.untouched(self.reader.name(present.files[present.place(z)[0]]), by=scan.case_id)
            }
            found = [z for z in self._elsewhere.find(scan, present, targets) if z not in begun]
            extra = [self._elsewhere.adoption(scan, present, found, line)] if found else []
            edits = {z: Plane(labels=plane) for z, plane in targets.items()}
            done = self._commit(scan, present, edits, line, extra)
        self._autosaves.forget(scan, targets, classes=present.several)
        return done

    def revert(self, correction_id: str, *, overwrite: bool) -> Correction:
        """See `Dataset.revert`."""
        self.places.check_writable()
        with self._writing():
            history = self._ledger.history()
            reverted = self._revertible(correction_id)
            scan = self._scans[reverted.case]
            self._check_source(scan.case_id)
            depth = scan.read_shape()[0]
            touched = [z for z in reverted.slices if z < depth]
            present = self.reader.read(scan, fresh=touched)
            line = replace(
                reverted, id=_new_id(), time=now(), kind=REVERTED, reverts=reverted.id, seconds=None, recorded=()
            )
            former, shown = history.shown(scan.case_id), history.followed_by(line).shown(scan.case_id)
            # A slice that shows another correction goes on doing so.
            edits = {z: self.reader.plane(scan, z, shown.get(z)) for z in touched if shown.get(z) is not former.get(z)}
            targets = {z: present.labels_of(plane) for z, plane in edits.items()}
            if not overwrite:
                self._elsewhere.check_seen(scan, present, targets)
            found = self._elsewhere.find(scan, present, targets)
            if not overwrite:
                self._elsewhere.check_all_seen(scan, found)
            extra = []
            if found:
                adoption = self._elsewhere.adoption(scan, present, found, line)
                taken_back = replace(adoption, id=f"{line.id}b", kind=REVERTED, reverts=adoption.id)
                extra = [adoption, taken_back]
            return self._commit(scan, present, edits, line, extra)

    def adopt(self, scan: Scan, line: Correction, slices: Sequence[int]) -> Correction:
        """See `Dataset.adopt_correction`."""
        self.places.check_writable()
        with self._writing():
            present = self.reader.read(scan)
            edits = {z: Plane(labels=present.labels[z]) for z in slices}
            own = replace(line, id=_new_id(), case=scan.case_id, slices=tuple(slices), reverts=None, recorded=())
            return self._commit(scan, present, edits, own, [])

    def autosave(
        self, scan: Scan, mask: Any, slices: Iterable[int], *, model: str | None, annotator: str | None
    ) -> Autosave:
        """See `Dataset.autosave`."""
        seen = self._elsewhere.seen(scan.case_id)
        return self._autosaves.write(scan, mask, slices, seen=seen, model=_text(model), annotator=_text(annotator))

    def kept_edits(self) -> frozenset[str]:
        """See `Dataset.kept_edits`."""
        return self._autosaves.kept()

    def read_autosave(self, scan: Scan) -> Autosave | None:
        """See `Dataset.read_autosave`."""
        if not self._autosaves.find(scan).exists():
            return None
        # Not with what tells of a damaged file, below: that the image is gone says nothing of the edits.
        shape = scan.read_shape()
        try:
            present = self.reader.read(scan)
        except InputError:
            # The edits are there all the same.
            present = None
        try:
            return self._autosaves.read(scan, present, shape=shape)
        except InputError as error:
            self.repair_notes.append(str(error))
            self._autosaves.set_aside(scan)
            return None

    def put_back_autosave(self, scan: Scan, autosave: Autosave) -> None:
        """See `Dataset.put_back_autosave`."""
        self._autosaves.put_back(scan, autosave)

    def drop_autosave(self, scan: Scan) -> None:
        """See `Dataset.drop_autosave`."""
        self._autosaves.drop(scan)

    def _revertible(self, correction_id: str) -> Correction:
        history, path = self._ledger.history(), self._ledger.log.path
        line = history.get(correction_id) if isinstance(correction_id, str) else None
        if line is None:
            raise InputError(f"there is no correction {correction_id!r}; the log lists them", path=path)
        if self._ledger.own.get(correction_id) is None:
            raise ReadOnlyError(
                f"correction {correction_id} lies in the dataset, which the overlay leaves as it is; save its slices "
                "as they should be instead",
                path=self.places.folder,
            )
        if not history.in_force(correction_id):
            raise InputError(
                f"correction {correction_id} is reverted already; revert the line that did it to bring it back",
                path=path,
            )
        if line.case not in self._scans:
            raise InputError(f"there is no case {line.case!r} here any more", path=self.places.folder)
        self._matcher.check_whole(line)
        return line

    def _check_source(self, case_id: str) -> None:
        source = self._sources.get(case_id)
        if source is not None and not source.exists():
            raise InputError(
                f"the scan of {case_id} is no longer there, so its mask has no place; reconnect its drive", path=source
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer, with everything on disk in order."""
        state = self.places.state
        made = not state.is_dir()
        try:
            for name in ("originals", "versions", "pending"):
                (state / name).mkdir(parents=True, exist_ok=True)
            # A window's mark or an unsaved edit may have made the folder.
            sign_overlay(self.places, self._scans)
            if made:
                atomic.sync_folder(state)
                atomic.sync_folder(self.places.top)
        except OSError as error:
            kind = InputError if self.places.overlay is not None else ReadOnlyError
            raise kind(f"cannot be made ({reason(error)}); choose an overlay folder", path=state) from error
        with write_lock(state):
            self._recover(self.places, self._ledger.log)
            yield

    def _recover(self, places: Places, log: CorrectionLog) -> None:
        """Complete what a killed process has begun; the caller holds the lock."""
        try:
            self.repair_notes += recover(places, log)
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else places.state
            raise InputError(
                f"an interrupted save cannot be completed ({reason(error)}); free the disk or the file", path=path
            ) from error

    def _commit(
        self,
        scan: Scan,
        present: StoredMask,
        edits: Mapping[int, Plane],
        line: Correction,
        extra: Sequence[Correction],
    ) -> Correction:
        """Write the edits and log them, after the extra lines; the line as it was logged."""
        labels, labelled = present.labels.copy(), present.labelled.copy()
        for z, plane in edits.items():
            new = present.labels_of(plane)
            labels[z] = 0 if new is None else new
            labelled[z] = new is not None
        after = self._ledger.history()
        for each in (*extra, line):
            after = after.followed_by(each)
        coding = self._coding(scan, present, edits)
        planner = FilePlanner(
            places=self.places,
            reader=self.reader,
            own=self._ledger.own,
            after=after,
            scan=scan,
            present=present,
            edits=edits,
            coding=coding,
            line=line,
        )
        plans = [planner.plan(index) for index in sorted({present.place(z)[0] for z in line.slices if z < len(labels)})]
        line = replace(
            line,
            files=tuple(plan.change for plan in plans),
            hash_before=present.hash(),
            hash_after=mask_hash(labels, labelled),
            pixels_changed=int(np.count_nonzero(labels != present.labels)),
            one=coding.one,
            names=present.names(line.slices),
        )
        kept = {path: content for plan in plans for path, content in plan.kept.items()}
        extra = [replace(each, names=present.names(each.slices)) for each in extra]
        for each in (*extra, line):
            if each.kind != REVERTED:
                shown = present.labels if each.kind == ELSEWHERE else labels
                kept[version_path(self.places.state, each.id)] = _pack_version(each.slices, present.labels, shown)
        writes = [plan.write for plan in plans if plan.write is not None]
        Transaction(
            places=self.places, log=self._ledger.log, id=line.id, writes=writes, lines=[*extra, line], kept=kept
        ).run()
        self._elsewhere.note_written(scan.case_id, {z: labels[z] if labelled[z] else None for z in edits})
        return line

    def _coding(self, scan: Scan, present: StoredMask, edits: Mapping[int, Plane]) -> Coding:
        """How the labels of the edits are stored."""
        history = self._ledger.history()
        values = [foreground_values(part) for part in present.parts if part is not None]
        for file in present.files:
            known = history.file(self.reader.name(file))
            original = None if known is None else self.reader.find_original(scan, file, known.first)
            if original is not None:
                values.append(foreground_values(original))
        planes = [plane.labels for plane in edits.values() if plane.labels is not None]
        return choose_coding(
            np.stack(planes) if planes else np.zeros((0, 0, 0), np.uint8),
            one=present.one,
            present=values,
            foreground=scan.foreground,
            classes=scan.classes,
            path=mask_path(present.files),
        )


def _text(value: object) -> str:
    """What the log says of a value; None is what was left out."""
    return "" if value is None else str(value)


def _check_declared(scan: Scan, present: StoredMask, targets: Mapping[int, Mask]) -> None:
    """Raise InputError for a label that would be new to its pixels, and that the dataset does not call a class.

    Label 1 stands for whatever the masks have, see `Correction.one`.
    """
    if not scan.classes:
        return
    for z, plane in targets.items():
        for label in labels_in([plane[plane != present.labels[z]]]):
            if label > 1 and label not in scan.classes:
                declared = ", ".join(map(str, sorted(scan.classes)))
                raise InputError(
                    f"label {label} in slice {z} of {scan.case_id} is none that the dataset declares ({declared}); "
                    "give these pixels one of those, or add it to dataset.json and open the dataset anew",
                    path=mask_path(present.files),
                )


def _pack_version(slices: Sequence[int], before: Mask, after: Mask) -> bytes:
    """The pixels of the slices of a correction."""
    chosen = list(slices)
    arrays: dict[str, NDArray[Any]] = {
        "slices": np.array(chosen, np.int64),
        "before": before[chosen],
        "after": after[chosen],
    }
    return pack(arrays)


def _new_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
