"""The mask a person works on, beside the one the model says and the one the dataset has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Array, Mask

Plane = NDArray[np.uint8]
"""One slice, ``(Y, X)``."""


class SliceState(StrEnum):
    """How far a slice of a working mask has come."""

    OPEN = "open"
    """As the model has it, or empty where it has said nothing."""

    EDITED = "edited"
    """Changed by hand, not saved."""

    ACCEPTED = "accepted"
    """Found right as it is, not saved."""

    SAVED = "corrected"
    """As the dataset has it, from a correction."""


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
        self._held: dict[int, Plane] = {}
        self._saved: dict[int, Plane] = {}
        self._contested: set[int] = set()
        self._accepted: set[int] = set()
        self._interpolated: dict[int, Plane] = {}
        self._unsure: set[int] = set()
        self._known_edited: set[int] = set()

    # What there is.

    def edited(self, slices: Iterable[int] | None = None) -> list[int]:
        """Slices that a person has changed and not saved, among `slices` or all.

        Found by comparison, so it holds whatever the edit was made with, and an edit that was undone is none.
        """
        candidates = range(self.model.shape[0]) if slices is None else slices
        found = []
        for z in candidates:
            if self._is_edited(z):
                found.append(z)
                self._known_edited.add(z)
            else:
                self._known_edited.discard(z)
            self._unsure.discard(z)
        return found

    def touch(self, slices: Iterable[int] | None = None) -> None:
        """Note that these slices, or any, may have been changed; `states` compares them again."""
        self._unsure.update(range(self.model.shape[0]) if slices is None else slices)

    def states(self) -> list[SliceState]:
        """The state of every slice; only those that `touch` named are compared again."""
        self.edited(tuple(self._unsure))
        return [self._state(z) for z in range(self.model.shape[0])]

    def is_open(self, z: int) -> bool:
        """Whether nobody has edited, accepted or saved slice `z`."""
        return not self._is_kept(z)

    def is_saved(self, z: int) -> bool:
        """Whether slice `z` was shown as the dataset has it, from a correction, or was saved."""
        return z in self._saved

    def unsaved(self, *, thorough: bool = True) -> list[int]:
        """Slices edited or accepted that the dataset does not have yet.

        All are compared; or, if not `thorough`, those that `touch` named.
        """
        self.edited(None if thorough else tuple(self._unsure))
        return sorted(self._known_edited | self._accepted)

    def corrected(self, *, thorough: bool = True) -> list[int]:
        """Slices that a person has settled: edited, accepted or saved; `thorough` is that of `unsaved`."""
        return sorted({*self.unsaved(thorough=thorough), *self._saved})

    def kind(self, z: int) -> str:
        """How an unsaved slice came about: ``interpolated``, ``accepted`` or ``hand``."""
        if z in self._interpolated and np.array_equal(self.data[z], self._interpolated[z]):
            return "interpolated"
        return "accepted" if z in self._accepted and not self._is_edited(z) else "hand"

    # The model.

    def offer(self, model: Mask) -> tuple[list[int], list[int]]:
        """Take what the model says now, and show it wherever no person has painted, accepted or saved.

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
        kept = [z for z in changed if self._is_kept(z)]
        written = [z for z in changed if z not in set(kept)]
        for z in kept:
            self._held.setdefault(z, self.model[z].copy())
        for z in written:
            self.data[z] = model[z]
            self._held.pop(z, None)
        self.model = model
        self.touch(changed)
        return written, kept

    def let_follow(self) -> list[int]:
        """Show the model's mask in slices whose edit was undone after the model had changed; those slices."""
        back = [z for z in self._held if not self._is_kept(z)]
        for z in back:
            self.data[z] = self.model[z]
            del self._held[z]
        self.touch(back)
        return back

    def offer_slice(self, z: int, model: Plane) -> bool:
        """Take what the model says of slice `z`, ``(Y, X)``; whether it was written (a person's edit stays)."""
        kept = self._is_kept(z)
        if kept:
            self._held.setdefault(z, self.model[z].copy())
        else:
            self.data[z] = model
            self._held.pop(z, None)
        self.model[z] = model
        self.touch([z])
        return not kept

    # The person.

    def accept(self, z: int, *, accepted: bool = True) -> None:
        """Take slice `z` for right as it is; or no longer."""
        if accepted:
            self._accepted.add(z)
        else:
            self._accepted.discard(z)

    def is_accepted(self, z: int) -> bool:
        """Whether slice `z` was accepted and has not been saved since."""
        return z in self._accepted

    def note_interpolated(self, z: int, plane: Plane) -> None:
        """Remember that slice `z` was computed from its neighbours."""
        self._interpolated[z] = plane

    # The dataset.

    def put_saved(self, planes: Mapping[int, Plane]) -> None:
        """Show slices as the dataset has them, ``(Y, X)`` each."""
        for z, plane in planes.items():
            self.data[z] = plane
        self.note_saved(planes)

    def take_dataset(
        self, mask: Mask, corrected: Iterable[int], *, former: Mask | None = None, anew: bool = False
    ) -> list[int]:
        """Show corrections as the dataset has them now, but for slices that were edited and are not saved.

        What it has changed without being shown here is `contested` from now on.

        Parameters
        ----------
        mask : ndarray
            ``(Z, Y, X)`` uint8, as the dataset has it now.
        corrected : iterable of int
            Slices of it that were corrected and saved. One that was before, and has been reverted elsewhere since,
            follows the model again.
        former : ndarray, optional
            ``(Z, Y, X)`` uint8, as it was when it was read before, where that is known.
        anew : bool
            The case is opened with it, so of what nobody has edited nothing is contested.

        Returns
        -------
        list of int
            Slices of `data` that may show something else now.
        """
        unsaved, corrected = set(self.unsaved()), set(corrected)
        shown = {z: mask[z] for z in corrected - unsaved}
        self._contested.update(
            z for z in range(len(mask)) if z not in shown and self._is_news(z, mask, former, corrected)
        )
        if anew:
            self._contested &= unsaved
        # What another program has written is no correction, and may have been taken for one here (`note_saved`).
        reverted = {z for z in self._saved.keys() - corrected if anew or not np.array_equal(self._saved[z], mask[z])}
        for z in reverted:
            edited = self._is_edited(z)
            del self._saved[z]
            if not edited:
                self.data[z] = self._base(z)
        self.touch(reverted)
        self.put_saved(shown)
        return sorted({*shown, *reverted})

    def contested(self) -> set[int]:
        """Slices that the dataset has changed unseen: they are not replaced there without a question."""
        return set(self._contested)

    def note_saved(self, planes: Mapping[int, Plane]) -> None:
        """Remember what the dataset has of some slices now; what has been painted since stays an edit."""
        for z, plane in planes.items():
            self._saved[z] = plane
            self._contested.discard(z)
            self._interpolated.pop(z, None)
            self._accepted.discard(z)
        self.touch(planes)

    def drop_edits(self) -> list[int]:
        """Put every unsaved slice back to what the dataset has of it, or the model; the slices that this changed."""
        edited = self.edited()
        for z in edited:
            self.data[z] = self._base(z)
        self._accepted.clear()
        self._interpolated.clear()
        self.touch(edited)
        return edited

    def _is_news(self, z: int, mask: Mask, former: Mask | None, corrected: set[int]) -> bool:
        """Whether the dataset has other pixels of slice `z` now than when it was shown, saved or read last."""
        known = self._saved.get(z, None if former is None else former[z])
        return z in corrected if known is None else not np.array_equal(known, mask[z])

    def _is_edited(self, z: int) -> bool:
        return not np.array_equal(self.data[z], self._base(z))

    def _base(self, z: int) -> Plane:
        saved = self._saved.get(z)
        return self._held.get(z, self.model[z]) if saved is None else saved

    def _is_kept(self, z: int) -> bool:
        return z in self._saved or z in self._accepted or self._is_edited(z)

    def _state(self, z: int) -> SliceState:
        if z in self._accepted:
            return SliceState.ACCEPTED
        if z in self._known_edited:
            return SliceState.EDITED
        return SliceState.SAVED if z in self._saved else SliceState.OPEN
