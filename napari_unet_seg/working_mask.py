"""The mask a person works on, beside the one the model says."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Array, Mask


class WorkingMask:
    """A mask that the model fills and a person corrects, in which the model never overwrites the person.

    Parameters
    ----------
    shape : tuple of int
        ``(Z, Y, X)``.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.data: Array = np.zeros(shape, np.uint8)
        """``(Z, Y, X)``: what is shown and painted on. Another array of that shape may be put in its place."""
        self.model: Mask = np.zeros(shape, np.uint8)
        """``(Z, Y, X)``: what the model says under the present threshold."""
        self._held: dict[int, NDArray[np.uint8]] = {}

    def edited(self, slices: Iterable[int] | None = None) -> list[int]:
        """Slices that a person has changed, among `slices` or all.

        Found by comparison, so it holds whatever the edit was made with, and an edit that was undone is none.
        """
        candidates = range(self.model.shape[0]) if slices is None else slices
        return [z for z in candidates if not np.array_equal(self.data[z], self._held.get(z, self.model[z]))]

    def offer(self, model: Mask) -> tuple[list[int], list[int]]:
        """Take what the model says now, and show it wherever no person has painted.

        Parameters
        ----------
        model : ndarray
            ``(Z, Y, X)`` uint8; it is kept, not copied.

        Returns
        -------
        written, kept : list of int
            Slices of `data` that now show the model's mask, and slices that keep a person's edit instead.
        """
        changed = [z for z in range(model.shape[0]) if not np.array_equal(model[z], self.model[z])]
        # A slice held back earlier whose edit has since been undone follows the model again.
        changed += [z for z in self._held if z not in set(changed)]
        kept = self.edited(changed)
        written = [z for z in changed if z not in set(kept)]
        for z in kept:
            self._held.setdefault(z, self.model[z].copy())
        for z in written:
            self.data[z] = model[z]
            self._held.pop(z, None)
        self.model = model
        return written, kept

    def offer_slice(self, z: int, model: NDArray[np.uint8]) -> bool:
        """Take what the model says of slice `z`, ``(Y, X)``; whether it was written (a person's edit stays)."""
        kept = bool(self.edited([z]))
        if kept:
            self._held.setdefault(z, self.model[z].copy())
        else:
            self.data[z] = model
            self._held.pop(z, None)
        self.model[z] = model
        return not kept
