"""Datasets, and the images and masks of their cases, as they are read for the dock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_unet_seg import loading
from napari_unet_seg.case_state import LoadedCase, Reading, Stored
from napari_unet_seg.data.loose_edits import LooseEdits
from napari_unet_seg.data.overlay_memory import remember_overlay, remembered_overlay
from napari_unet_seg.data.volume import Mask, Volume, labels_in
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    from napari_unet_seg.data.autosave import Autosave
    from napari_unet_seg.data.dataset import Case, Dataset


class CaseReader:
    """Reads what a session works on.

    What is called `read_…` may take seconds and is safe on a background thread, one at a time.

    Parameters
    ----------
    open_dataset : callable, optional
        ``(path, overlay=...) -> Dataset``; by default `data.dataset.open_dataset`.
    find_own_model : callable, optional
        Hash of an image to the model that rounds for it went to, or None; by default `loading.find_own_model`.
    """

    def __init__(
        self,
        *,
        open_dataset: Callable[..., Dataset] | None = None,
        find_own_model: Callable[[str], loading.OwnModel | None] | None = None,
    ) -> None:
        self._open_dataset = open_dataset or loading.open_dataset
        self._find_own_model = find_own_model or loading.find_own_model
        self._saves: Counter[str] = Counter()
        self.loose_edits = LooseEdits()
        """Edits that no dataset can keep."""

    def read_dataset(self, path: Path, *, overlay: Path | None = None) -> Dataset:
        """The dataset at a path, its corrections in a folder of their own if one is given.

        That folder is used again when the dataset is opened the next time, if it is read-only then.

        Raises
        ------
        InputError
            If there is none.
        """
        if overlay is not None:
            dataset = self._open_dataset(path, overlay=overlay)
            remember_overlay(dataset.root, overlay)
            return dataset
        dataset = self._open_dataset(path)
        chosen = None if dataset.writable else remembered_overlay(dataset.root)
        if chosen is not None:
            # Another dataset's by now, perhaps: then the user is asked for one.
            with suppress(InputError):
                return self._open_dataset(path, overlay=chosen)
        return dataset

    def read_stored(self, dataset: Dataset) -> dict[str, Stored]:
        """What the files have of every case, by its name; empty where the log of corrections cannot be read."""
        try:
            corrected, kept = dataset.corrected_slices(), dataset.kept_edits()
            return {
                case.case_id: Stored(
                    truth=case.has_original_mask,
                    corrected=len(corrected.get(case.case_id, ())),
                    kept=case.case_id in kept,
                )
                for case in dataset.cases
            }
        except InputError:
            return {}

    def read_case(self, case: Case, *, dataset: Dataset) -> LoadedCase:
        """The image and mask of a case of a dataset; of a mask that cannot be read, why.

        Raises
        ------
        InputError
            If the image cannot be read.
        """
        volume = case.read_image()
        saves = self._saves[case.case_id]
        problem: InputError | None = None
        notes: tuple[str, ...] = ()
        truth, labelled = None, np.zeros(volume.shape[0], bool)
        try:
            reading = self.read_mask(case)
            notes = (*case.mask_notes(), *_note_of_classes(reading.mask))
        except InputError as error:
            # The image is worth being looked at, and segmented, without it.
            problem, reading = error, _unread(case, saves=saves)
        else:
            try:
                truth, labelled = case.read_truth() if reading.corrected else (reading.mask, case.labelled_slices())
            except InputError as error:
                notes = (
                    *notes,
                    f"the mask as it was before the corrections is not known, and nothing is scored: {error}",
                )
        identity = image_hash(volume)
        own = self._find_own_model(identity)
        return LoadedCase(
            case=case,
            volume=volume,
            truth=truth,
            labelled=labelled,
            reading=reading,
            autosaved=self._read_autosave(case, dataset, volume, identity=identity),
            image_hash=identity,
            adaptation=own.name if own is not None and own.in_use else "",
            own_model="" if own is None else own.name,
            mask_notes=notes,
            mask_problem=problem,
        )

    def _read_autosave(self, case: Case, dataset: Dataset, volume: Volume, *, identity: str) -> Autosave | None:
        """Edits that were not saved: beside the dataset, or, where that failed, with the user's data."""
        kept = dataset.read_autosave(case.case_id)
        try:
            elsewhere = self.loose_edits.read(self.loose_edits.of_case(identity), shape=volume.shape)
        except InputError:
            # It was put out of the way; the case is worth being opened all the same.
            elsewhere = None
        if kept is None or elsewhere is None:
            return elsewhere if kept is None else kept
        # Those beside the dataset are from before its disk was full.
        return max(kept, elsewhere, key=lambda edits: edits.time)

    def read_mask(self, case: Case) -> Reading:
        """What the dataset has of a case's mask; what it has changed is to be shown then, by `Session.take_reading`.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        saves = self._saves[case.case_id]
        mask = case.read_mask()
        # A scan may have lost slices since, and the file of one may be damaged.
        labelled = np.zeros(0, bool) if mask is None else case.labelled_slices()
        corrected = tuple(z for z in case.corrected_slices() if z < len(labelled) and labelled[z])
        return Reading(mask=mask, corrected=corrected, saves=saves)

    def note_save(self, case_id: str) -> None:
        """A case was saved from this window."""
        self._saves[case_id] += 1

    def is_outdated(self, reading: Reading, case: Case) -> bool:
        """Whether the case was saved from this window while, or after, this was read."""
        return reading.saves != self._saves[case.case_id]


def _note_of_classes(mask: Mask | None) -> tuple[str, ...]:
    """What a mask of several classes is in for."""
    labels = [] if mask is None else labels_in(mask)
    if labels in ([], [1]):
        return ()
    one = len(labels) == 1
    listed = f"label{'' if one else 's'} {', '.join(map(str, labels))}"
    return (
        f"the dataset's mask has the {listed}; where you accept or paint on what a model of one class says, that takes "
        f"{'its' if one else 'their'} place: to keep {'it' if one else 'them'}, begin with Correct the dataset's mask",
    )


def _unread(case: Case, *, saves: int) -> Reading:
    """What is known of a case's mask that cannot be read; `saves` is that of `Reading`."""
    try:
        return Reading(corrected=tuple(case.corrected_slices()), saves=saves)
    except InputError:
        return Reading(saves=saves)
