"""Taking the unsaved slices of a scan to its dataset: what is saved, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import ChangedElsewhereError
from napari_unet_seg.working_mask import Plane

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Dataset
    from napari_unet_seg.working_mask import WorkingMask


@dataclass(frozen=True, kw_only=True, eq=False)
class SaveJob:
    """A copy of a case's unsaved slices, which painting on does not change."""

    dataset: Dataset
    case_id: str
    work: WorkingMask
    """Where the slices come from; nothing of it is read in the background."""

    planes: Mapping[int, Plane]
    """Slice number to its pixels ``(Y, X)``."""

    kinds: Mapping[int, str]
    """How each slice came about: ``hand``, ``accepted`` or ``interpolated``."""

    model: str
    model_hash: str
    annotator: str
    seconds: float
    """Time that a person has spent on them."""

    contested: tuple[int, ...] = ()
    """Those that the dataset has changed unseen; see `WorkingMask.contested`."""

    hidden: tuple[int, ...] = ()
    """Those that the dataset has a mask of which no part was shown where they were drawn."""

    @classmethod
    def of(cls, mask: WorkingMask, *, thorough: bool, **told: Any) -> SaveJob | None:
        """The job of saving what is not saved of a mask; None where that is nothing.

        Parameters
        ----------
        mask : WorkingMask
        thorough : bool
            See `WorkingMask.unsaved`.
        **told
            The fields that the mask does not know.
        """
        slices = mask.unsaved(thorough=thorough)
        if not slices:
            return None
        return cls(
            work=mask,
            # A layer of more bits takes labels that a mask has no room for: they are no holes.
            planes={z: np.clip(mask.data[z], 0, 255).astype(np.uint8) for z in slices},
            kinds={z: mask.kind(z) for z in slices},
            contested=tuple(sorted(mask.contested() & set(slices))),
            **told,
        )

    def mask(self) -> Mask:
        """``(Z, Y, X)`` with the slices in their places and nothing elsewhere."""
        mask: Mask = np.zeros(self.work.model.shape, np.uint8)
        for z, plane in self.planes.items():
            mask[z] = plane
        return mask

    def save(self, *, overwrite: bool = False) -> SaveResult:
        """Write them into the dataset, a correction for each kind of edit; what fails is told in the result."""
        unseen = tuple(sorted({*self.contested, *self.hidden}))
        if unseen and not overwrite:
            problem = f"the dataset has other pixels of {listed_slices(unseen)} by now, which you have not seen"
            if not self.contested:
                problem = f"the dataset has a mask of {listed_slices(unseen)}, and what you drew would take its place"
            return SaveResult(job=self, saved=[], error=ChangedElsewhereError(problem, slices=unseen))
        mask = self.mask()
        saved: list[int] = []
        seconds: float | None = self.seconds
        for kind in sorted(set(self.kinds.values())):
            slices = [z for z in self.planes if self.kinds[z] == kind]
            try:
                self.dataset.save_correction(
                    self.case_id,
                    mask,
                    slices,
                    model=self.model,
                    model_hash=self.model_hash,
                    annotator=self.annotator,
                    kind=kind,
                    seconds=seconds,
                    overwrite=overwrite,
                )
            except Exception as error:
                return SaveResult(job=self, saved=saved, error=error)
            # The time is that of all slices together: it is counted once.
            seconds = None
            saved += slices
        return SaveResult(job=self, saved=sorted(saved), error=None)

    def autosave(self, others: Mapping[int, Plane]) -> None:
        """Keep them beside the dataset, in case the program ends before they are saved; `others` as well.

        Raises
        ------
        InputError
            If they cannot be written.
        """
        mask = self.mask()
        for z, plane in others.items():
            if z not in self.planes:
                mask[z] = plane
        self.dataset.autosave(
            self.case_id, mask, sorted({*self.planes, *others}), model=self.model, annotator=self.annotator
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SaveResult:
    """What came of a `SaveJob`."""

    job: SaveJob
    saved: list[int]
    """Slices that the dataset has now."""

    error: Exception | None
    """Why the others are not there."""


class ActiveTime:
    """Counts the seconds that somebody works, with pauses left out."""

    PAUSE = 30.0
    """Seconds without an edit after which the clock stops."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._last: float | None = None

    def tick(self) -> None:
        """Something was edited."""
        now = time.monotonic()
        if self._last is not None and now - self._last <= self.PAUSE:
            self._seconds += now - self._last
        self._last = now

    def take(self) -> float:
        """The seconds since the last call, and start anew."""
        seconds, self._seconds, self._last = self._seconds, 0.0, None
        return round(seconds, 1)
