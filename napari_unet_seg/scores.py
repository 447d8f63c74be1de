"""Agreement of two masks that are being edited, kept up to date slice by slice."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.metrics import Counts
from napari_unet_seg.errors import InputError

Side = Literal["y_pred", "y"]
Box = tuple[slice, slice, slice]
"""A region ``(z, y, x)`` of a mask."""


class LiveScores:
    """True positives, false positives and false negatives of every slice, without counting everything again.

    It remembers what it last saw of both masks. After an edit, `reread` is told where to look (or to look
    everywhere), and only what differs from memory is counted. So a wrong or missing hint about *where* an edit
    happened costs time, never exactness: whatever has been read is right.

    Any label above 0 is foreground.

    Parameters
    ----------
    y_pred, y : array
        Predicted and true mask, ``(Z, Y, X)`` each, any number type, lazy ones too. They are read in place and never
        written.
    labelled : ndarray, optional
        ``(Z,)`` bool: slices that the truth speaks of; all by default. Of others nothing is known, so they count
        neither as right nor as wrong.

    Raises
    ------
    InputError
        If the shapes differ.
    """

    def __init__(self, y_pred: Any, y: Any, *, labelled: NDArray[np.bool_] | None = None) -> None:
        self._masks: dict[Side, Any] = {"y_pred": y_pred, "y": y}
        self._check_shapes()
        if labelled is not None and len(labelled) != len(y_pred):
            raise InputError(f"{len(labelled)} slices are said to be labelled or not, but the mask has {len(y_pred)}")
        shape: tuple[int, int, int] = tuple(y_pred.shape)
        self.shape = shape
        """``(Z, Y, X)``."""
        self._seen: dict[Side, NDArray[np.bool_]] = {"y_pred": np.zeros(shape, bool), "y": np.zeros(shape, bool)}
        self._counts = np.zeros((shape[0], 3), np.int64)
        self._labelled = np.ones(shape[0], bool) if labelled is None else np.asarray(labelled, bool)
        self._scratch = (np.empty(shape[1:], bool), np.empty(shape[1:], bool))
        self.reread("y_pred")
        self.reread("y")

    def replace(self, side: Side, mask: Any) -> None:
        """Take another array for one of the masks.

        Raises
        ------
        InputError
            If its shape differs; the former array stays.
        """
        former = self._masks[side]
        self._masks[side] = mask
        try:
            self._check_shapes()
        except InputError:
            self._masks[side] = former
            raise
        self.reread(side)

    def reread(self, side: Side, box: Box | None = None) -> bool:
        """Look at one of the masks again.

        Parameters
        ----------
        side : {"y_pred", "y"}
            Which mask may have changed.
        box : tuple of slice, optional
            Where; everywhere if not given.

        Returns
        -------
        bool
            Whether any foreground has changed there.
        """
        planes = range(*(slice(None) if box is None else box[0]).indices(self.shape[0]))
        if box is None or box[1:] == (slice(None), slice(None)):
            # Not any(): it would stop at the first slice that has changed.
            return sum(self._reread_slice(side, z) for z in planes) > 0
        now = np.asarray(self._masks[side][box]) != 0
        seen = self._seen[side][box]
        if np.array_equal(now, seen):
            return False
        other = self._seen["y" if side == "y_pred" else "y_pred"][box]
        self._counts[box[0]] += self._count(side, now, other) - self._count(side, seen, other)
        seen[...] = now
        return True

    def slice(self, z: int) -> Counts | None:
        """Counts of slice `z`; None where it is not labelled."""
        return _as_counts(self._counts[z]) if self._labelled[z] else None

    def volume(self) -> Counts | None:
        """Counts of all labelled slices together; None where there is none."""
        return _as_counts(self._counts[self._labelled].sum(axis=0)) if self._labelled.any() else None

    def voxels(self, z: int | None = None) -> int:
        """Foreground voxels of the predicted mask, in slice `z` or in all slices, labelled or not."""
        rows = self._counts if z is None else self._counts[z : z + 1]
        return int(rows[:, :2].sum())

    def labelled(self) -> tuple[int, int]:
        """Number of labelled slices, and of slices."""
        return int(self._labelled.sum()), self.shape[0]

    def _reread_slice(self, side: Side, z: int) -> bool:
        # Most slices are unchanged, so the comparison is what costs: no array is made for it.
        now, difference = self._scratch
        np.not_equal(np.asarray(self._masks[side][z]), 0, out=now)
        np.not_equal(now, self._seen[side][z], out=difference)
        if not difference.any():
            return False
        seen = self._seen[side][z : z + 1]
        other = self._seen["y" if side == "y_pred" else "y_pred"][z : z + 1]
        self._counts[z] += (self._count(side, now[None], other) - self._count(side, seen, other))[0]
        seen[...] = now
        return True

    @staticmethod
    def _count(side: Side, mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.int64]:
        both = np.count_nonzero(mask & other, axis=(1, 2))
        this, that = np.count_nonzero(mask, axis=(1, 2)) - both, np.count_nonzero(other, axis=(1, 2)) - both
        return np.stack((both, this, that) if side == "y_pred" else (both, that, this), axis=1)

    def _check_shapes(self) -> None:
        y_pred, y = self._masks["y_pred"], self._masks["y"]
        if y_pred.ndim != 3 or tuple(y_pred.shape) != tuple(y.shape):
            raise InputError(
                f"the masks have different shapes, {tuple(y_pred.shape)} and {tuple(y.shape)}; "
                "choose a ground truth of the same scan"
            )


def _as_counts(row: NDArray[np.int64]) -> Counts:
    tp, fp, fn = (int(value) for value in row)
    return Counts(tp=tp, fp=fp, fn=fn)
