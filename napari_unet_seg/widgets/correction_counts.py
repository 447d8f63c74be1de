"""Counts the corrected slices of the open dataset, off the window's thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_unet_seg.case_state import Stored
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.saving import SaveResult
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.workers import Lane

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Dataset


class CorrectionCounts(QObject):
    """How many corrected and saved slices each case has; counted where opening did not tell, and after each save.

    Parameters
    ----------
    session : Session
    lane : Lane
        Where the log of corrections is read: the dataset may lie on a slow drive.
    """

    valueChanged = Signal()
    failed = Signal(object)
    """The log cannot be read; the error."""

    def __init__(self, *, session: Session, lane: Lane, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._lane = lane
        self._dataset: Dataset | None = None
        self._counts: dict[str, int] = {}
        self._labelled: frozenset[str] | None = None
        session.dataset_changed.connect(self._on_dataset)
        session.saved.connect(self._on_saved)

    def disconnect_all(self) -> None:
        """Count no more."""
        self._session.dataset_changed.disconnect(self._on_dataset)
        self._session.saved.disconnect(self._on_saved)

    def value(self) -> Mapping[str, int]:
        """Name of each case that has any to their number, as of the last count."""
        return self._counts

    def alone(self) -> bool:
        """Whether one patient has all the corrections, and no other case a mask; False where that is not known."""
        corrected = {case_id for case_id, count in self._counts.items() if count}
        patients = {patient_of(case_id) for case_id in corrected}
        return len(patients) == 1 and self._labelled is not None and self._labelled <= corrected

    def note(self, case_id: str, count: int) -> None:
        """Take what reading a case has shown anyway; other programs may have corrected it since the last count."""
        if self._counts.get(case_id, 0) != count:
            self._counts[case_id] = count
            self.valueChanged.emit()

    def follow(self) -> None:
        """Count anew if another dataset is open, or the same one with its corrections in another folder."""
        if self._session.dataset is not self._dataset:
            self._dataset, self._counts, self._labelled = self._session.dataset, {}, None
            self._count()
            self.valueChanged.emit()

    def _on_dataset(self, stored: Mapping[str, Stored]) -> None:
        if not stored:
            self.follow()
            return
        self._dataset = self._session.dataset
        self._counts = {case_id: each.corrected for case_id, each in stored.items() if each.corrected}
        self._labelled = frozenset(case_id for case_id, each in stored.items() if each.truth)
        self.valueChanged.emit()

    def _on_saved(self, result: SaveResult) -> None:
        self._count()

    def _count(self) -> None:
        dataset = self._dataset
        if dataset is None:
            return

        def take(corrected: Mapping[str, list[int]]) -> None:
            if self._dataset is dataset:
                self._counts = {case_id: len(slices) for case_id, slices in corrected.items()}
                self.valueChanged.emit()

        self._lane.submit(lambda task: dataset.corrected_slices(), returned=take, failed=self.failed.emit)
