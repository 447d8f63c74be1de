"""One scan of one patient, whatever the layout of its dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.correction_log import Correction
from napari_unet_seg.data.corrections import CorrectionStore
from napari_unet_seg.data.scan import Scan
from napari_unet_seg.data.volume import Mask, Volume


class Case:
    """One scan of one patient. Making one reads no pixels; a broken file shows when it is read.

    Parameters
    ----------
    scan : Scan
        What the layout gives of it.
    store : CorrectionStore
        The corrections of its dataset.
    """

    def __init__(self, scan: Scan, store: CorrectionStore) -> None:
        self.scan = scan
        self._store = store

    def __repr__(self) -> str:
        return f"Case({self.case_id!r})"

    @property
    def case_id(self) -> str:
        """Name of the case, unique in its dataset."""
        return self.scan.case_id

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask for some slice at least; known without reading pixels."""
        return self._store.reader.has_mask(self.scan)

    @property
    def has_original_mask(self) -> bool:
        """Whether there was one before the first correction; known without reading pixels."""
        return self._store.reader.has_original(self.scan)

    def read_image(self) -> Volume:
        """Read the pixels; InputError names the file at fault."""
        volume = self.scan.read_image()
        self._store.note_source(self.case_id, volume.source)
        return volume

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from headers alone."""
        return self.scan.read_shape()

    def read_mask(self) -> Mask | None:
        """Read the mask, ``(Z, Y, X)`` on the grid of the image; None if there is none.

        Slices without a mask of their own are 0; see `labelled_slices`. So are those whose own file is damaged, while
        others can be used; see `check_mask`. What is read is remembered: a slice that another program changes
        afterwards is not replaced by `Dataset.save_correction` without a question.
        """
        stored = self._store.read(self.scan)
        return stored.labels.copy() if stored.labelled.any() else None

    def mask_notes(self) -> tuple[str, ...]:
        """What had to be assumed to read the mask, in words for the user; InputError if it cannot be read."""
        return self._store.reader.notes(self.scan)

    def read_original_mask(self) -> Mask | None:
        """Read the mask as it was before the first correction, ``(Z, Y, X)``; None if there was none."""
        stored = self._store.reader.read_original(self.scan)
        return stored.labels if stored.labelled.any() else None

    def check_mask(self) -> None:
        """Raise InputError if a file of the mask is damaged: for what speaks of a case as a whole."""
        self._store.reader.check(self.scan)

    def labelled_slices(self) -> NDArray[np.bool_]:
        """Which slices have a mask that can be used, ``(Z,)`` bool."""
        return self._store.reader.read(self.scan).labelled.copy()

    def masked_slices(self) -> NDArray[np.bool_]:
        """Which slices have a mask, ``(Z,)`` bool; where each is a file, those that are there, without reading them."""
        return self._store.reader.masked_slices(self.scan).copy()

    def originally_labelled(self) -> NDArray[np.bool_]:
        """Which slices had a mask before the first correction, ``(Z,)`` bool."""
        return self._store.reader.read_original(self.scan).labelled

    def read_truth(self) -> tuple[Mask | None, NDArray[np.bool_]]:
        """The mask to score against: as it came with the dataset, without corrections; and which slices it speaks of.

        Returns
        -------
        mask : ndarray or None
            ``(Z, Y, X)`` uint8; None where the dataset came without one.
        labelled : ndarray
            ``(Z,)`` bool.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        # Without corrections the present mask is the original, and quicker to read: in COCO all pictures share a file.
        if self.corrected_slices():
            return self.read_original_mask(), self.originally_labelled()
        return self.read_mask(), self.labelled_slices()

    def corrected_slices(self) -> list[int]:
        """Slices whose mask is that of a standing correction, in ascending order; from the log alone."""
        return self._store.corrected_slices(self.case_id)

    def shown_corrections(self) -> dict[int, Correction]:
        """The correction that each of these slices shows."""
        return self._store.shown(self.case_id)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write a mask ``(Z, Y, X)`` in the case's own format and geometry under a folder.

        Returns the file, or the folder of files, that was written. InputError if a file of the dataset would be
        replaced or the folder cannot be written.
        """
        return self.scan.write_prediction(mask, folder)
