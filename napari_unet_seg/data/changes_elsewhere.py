"""What other programs and windows wrote into the masks: noticed before it is replaced, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from napari_unet_seg.data.correction_log import ELSEWHERE, Correction, FileChange
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.data.ledger import Ledger
from napari_unet_seg.data.mask_reader import MaskReader, OriginalLostError
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.scan import Scan, slice_numbers
from napari_unet_seg.data.stored_mask import StoredMask, plane_fingerprint
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import ChangedElsewhereError


class ChangesElsewhere:
    """Compares what lies on the disk with what was read or written here, and with what the log says.

    Parameters
    ----------
    places : Places
    ledger : Ledger
        The log.
    reader : MaskReader
    """

    def __init__(self, *, places: Places, ledger: Ledger, reader: MaskReader) -> None:
        self._places = places
        self._ledger = ledger
        self._reader = reader
        self._seen: dict[str, dict[int, bytes]] = {}

    def seen(self, case_id: str) -> Mapping[int, bytes]:
        """Fingerprints of the slices of a case, as this dataset has read or written them last."""
        return self._seen.get(case_id, {})

    def note_read(self, case_id: str, stored: StoredMask) -> None:
        """The whole mask was read."""
        self._seen[case_id] = stored.fingerprints()

    def note_unreadable(self, scan: Scan) -> None:
        """It could not be read: what turns out to be there once it can be was seen by nobody."""
        self._seen.setdefault(scan.case_id, dict.fromkeys(range(scan.read_shape()[0]), b""))

    def note_written(self, case_id: str, planes: Mapping[int, Mask | None]) -> None:
        """Slices were written, ``(Y, X)`` each; None where a slice has no mask any more."""
        seen = self._seen.setdefault(case_id, {})
        for z, plane in planes.items():
            seen[z] = _fingerprint(plane)

    def check_seen(self, scan: Scan, present: StoredMask, targets: Mapping[int, Mask | None]) -> None:
        """Raise ChangedElsewhereError if a slice to be replaced is not as it was read or written here.

        Parameters
        ----------
        scan : Scan
        present : StoredMask
            What is on the disk.
        targets : mapping of int to ndarray or None
            What is to be written, ``(Y, X)`` by slice; None for no mask.
        """
        seen, changed = self.seen(scan.case_id), []
        for z in targets.keys() & seen.keys():
            there = present.fingerprint(z)
            if there not in (seen[z], _fingerprint(targets[z])):
                changed.append(z)
        if changed:
            raise _changed_elsewhere(scan, sorted(changed))

    def check_all_seen(self, scan: Scan, slices: Iterable[int]) -> None:
        """Raise ChangedElsewhereError if one of these slices was never read here."""
        unseen = [z for z in slices if z not in self.seen(scan.case_id)]
        if unseen:
            raise _changed_elsewhere(scan, unseen)

    def find(self, scan: Scan, present: StoredMask, targets: Mapping[int, Mask | None]) -> list[int]:
        """Slices with pixels that no correction left there, and that are about to be replaced."""
        history = self._ledger.history()
        shown = history.shown(scan.case_id)
        found = []
        for z, target in targets.items():
            name = self._reader.name(present.files[present.place(z)[0]])
            # Before its first correction, whatever a file holds is the original.
            if not present.labelled[z] or history.file(name) is None:
                continue
            if target is not None and np.array_equal(present.labels[z], target):
                continue
            try:
                logged = present.labels_of(self._reader.plane(scan, z, shown.get(z)))
            except OriginalLostError:
                # Kept, as nothing says that it was.
                logged = None
            if logged is None or not np.array_equal(present.labels[z], logged):
                found.append(z)
        return found

    def adoption(self, scan: Scan, present: StoredMask, slices: Sequence[int], line: Correction) -> Correction:
        """The line, before `line`, that keeps what another program wrote into these slices."""
        history = self._ledger.history()
        changes = []
        for index in sorted({present.place(z)[0] for z in slices}):
            name = self._reader.name(present.files[index])
            there = sha256_of(self._places.source(name))
            changes.append(FileChange(file=name, before=there, after=there))
        return Correction(
            id=f"{line.id}a",
            time=line.time,
            case=scan.case_id,
            slices=tuple(slices),
            kind=ELSEWHERE,
            files=tuple(changes),
            hash_before=history.of_case(scan.case_id)[-1].hash_after,
            hash_after=present.hash(),
            one=present.one,
        )


def _fingerprint(plane: Mask | None) -> bytes:
    return b"" if plane is None else plane_fingerprint(plane)


def _changed_elsewhere(scan: Scan, slices: Sequence[int]) -> ChangedElsewhereError:
    file = next(file for file in scan.mask_files() if slices[0] in file.slices)
    return ChangedElsewhereError(
        f"another program or window has changed slice {slice_numbers(slices)} since it was read; read the mask anew, "
        "or save with overwriting",
        path=file.path,
        slices=slices,
    )
