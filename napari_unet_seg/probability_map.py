"""The model's probabilities, kept so that another threshold costs no prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.postprocess import mask_from_probability

FLOOR = 0.02
"""Lowest threshold a `MaskRule` takes: what lies below is never looked at again."""


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """How probabilities become a mask."""

    threshold: float = 0.5
    """Probability from which a voxel belongs to the mask, ``FLOOR`` to ``1 - FLOOR``."""

    largest_component: bool = False
    """Keep only the largest connected region of the volume."""

    min_fraction: float = 0.0
    """Leave out connected regions smaller than this fraction of the largest."""

    def __post_init__(self) -> None:
        if not FLOOR <= self.threshold <= 1 - FLOOR:
            raise ValueError(f"threshold must lie in {FLOOR}..{1 - FLOOR}, got {self.threshold}")

    @property
    def looks_across_slices(self) -> bool:
        """Whether a slice's mask depends on other slices."""
        return self.largest_component or self.min_fraction > 0

    def of_model(self, min_fraction: float | None) -> MaskRule:
        """The rule for what one model said, whose own fraction is known: no user sets another."""
        return self if min_fraction is None else replace(self, min_fraction=min_fraction)


class ProbabilityMap:
    """Probabilities of a volume, whole or of some slices, with the rectangle of each slice that can hold a mask.

    A tumour fills a small part of a scan. The rectangles around all probabilities above `FLOOR`, found once,
    make every later threshold a matter of those few pixels.

    Parameters
    ----------
    shape : tuple of int
        ``(Z, Y, X)`` of the volume.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.data: NDArray[np.float32] = np.zeros(shape, np.float32)
        """``(Z, Y, X)``, or ``(K, Z, Y, X)`` for several classes; 0 where nothing was predicted."""
        self.known: NDArray[np.bool_] = np.zeros(shape[0], bool)
        """``(Z,)``: slices that were predicted."""
        self._rectangles: dict[int, tuple[slice, slice]] = {}

    @classmethod
    def of(cls, probability: NDArray[np.float32]) -> ProbabilityMap:
        """The map of a whole volume's probabilities, ``(Z, Y, X)`` or ``(K, Z, Y, X)``; not copied."""
        depth, height, width = probability.shape[-3:]
        result = cls((depth, height, width))
        result.data = probability
        for z in range(depth):
            result._learn(z)
        return result

    def put(self, z: int, probability: NDArray[np.float32]) -> None:
        """Take the probabilities of slice `z`, ``(Y, X)`` or ``(K, Y, X)``; those of other classes are forgotten."""
        classes = probability.shape[:-2]
        if self.data.shape[:-3] != classes:
            # What a model of other classes said of other slices has no place beside it.
            self.data = np.zeros((*classes, *self.shape), np.float32)
            self.known = np.zeros(self.shape[0], bool)
            self._rectangles.clear()
        self.data[..., z, :, :] = probability
        self._learn(z)

    def mask(self, rule: MaskRule) -> Mask:
        """The whole mask under a rule, ``(Z, Y, X)`` uint8."""
        result = np.zeros(self.shape, np.uint8)
        if rule.looks_across_slices:
            box = self.box()
            if box is not None:
                result[box] = self._threshold(box, rule)
        else:
            for z, (rows, columns) in self._rectangles.items():
                box = (slice(z, z + 1), rows, columns)
                result[box] = self._threshold(box, rule)
        return result

    def slice_mask(self, z: int, rule: MaskRule) -> NDArray[np.uint8]:
        """The mask of slice `z` by threshold alone, ``(Y, X)`` uint8."""
        result = np.zeros(self.shape[1:], np.uint8)
        if z in self._rectangles:
            rows, columns = self._rectangles[z]
            alone = MaskRule(threshold=rule.threshold)
            result[rows, columns] = self._threshold((slice(z, z + 1), rows, columns), alone)[0]
        return result

    def box(self) -> tuple[slice, slice, slice] | None:
        """The smallest box around everything above `FLOOR`; None if there is nothing."""
        if not self._rectangles:
            return None
        z = sorted(self._rectangles)
        rows, columns = zip(*self._rectangles.values(), strict=True)
        return slice(z[0], z[-1] + 1), _hull(rows), _hull(columns)

    def cost(self, rule: MaskRule) -> int:
        """Voxels that have to be looked at for a mask under `rule`."""
        if rule.looks_across_slices:
            box = self.box()
            return 0 if box is None else int(np.prod([part.stop - part.start for part in box]))
        return sum((r.stop - r.start) * (c.stop - c.start) for r, c in self._rectangles.values())

    def _threshold(self, box: tuple[slice, slice, slice], rule: MaskRule) -> Mask:
        result: Any = mask_from_probability(
            self.data[(..., *box)],
            threshold=rule.threshold,
            largest_component=rule.largest_component,
            min_fraction=rule.min_fraction,
        )
        return np.asarray(result, np.uint8)

    def _learn(self, z: int) -> None:
        self.known[z] = True
        plane: NDArray[np.bool_] = np.asarray(self.data[..., z, :, :] >= FLOOR)
        if plane.ndim == 3:
            plane = np.asarray(plane.any(axis=0))
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        if rows.size:
            self._rectangles[z] = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        else:
            self._rectangles.pop(z, None)


def _hull(parts: tuple[slice, ...]) -> slice:
    return slice(min(part.start for part in parts), max(part.stop for part in parts))
