"""Ways to make a mask of probabilities: rules about pieces, the mirror image, the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_unet_seg.engine.checkpoint import Description

GRID = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
"""Thresholds to choose from, 0.2 to 0.8."""

_FRACTIONS = {0.1: "a tenth", 0.25: "a quarter", 0.5: "half"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a mask comes out of a network; the fields are those of a checkpoint's `Description`."""

    threshold: float
    min_fraction: float
    largest_component: bool
    flip: bool

    @classmethod
    def of(cls, description: Description) -> Setting:
        """A checkpoint's own."""
        return cls(
            threshold=description.threshold,
            # Where one piece is left, no rule about smaller ones matters.
            min_fraction=0.0 if description.largest_component else description.min_fraction,
            largest_component=description.largest_component,
            flip=description.flip,
        )

    def __str__(self) -> str:
        if self.largest_component:
            rule = "the largest piece alone"
        elif self.min_fraction:
            part = _FRACTIONS.get(self.min_fraction, f"{self.min_fraction:g}")
            rule = f"without pieces under {part} of the largest"
        else:
            rule = "the mask as it comes"
        return f"{rule}, with the mirror image" if self.flip else rule


def rules(own: Setting) -> list[Setting]:
    """Every rule about pieces at the checkpoints' own threshold, plain and with the mirror image."""
    plain = replace(own, min_fraction=0.0, largest_component=False, flip=False)
    pieces = [plain, *(replace(plain, min_fraction=fraction) for fraction in _FRACTIONS)]
    pieces.append(replace(plain, largest_component=True))
    if (other := replace(own, flip=False)) not in pieces:
        pieces.append(other)
    return [replace(rule, flip=flip) for flip in (False, True) for rule in pieces]


def thresholds(own: Setting, *, flip: bool) -> list[Setting]:
    """The checkpoints' own rule about pieces at every threshold of `GRID`."""
    return [replace(own, threshold=threshold, flip=flip) for threshold in GRID]


def chosen_thresholds(folds: Sequence[Mapping[float, Sequence[float]]], *, fixed: float) -> list[float]:
    """For each fold the threshold with the best mean over the patients of all the others.

    Parameters
    ----------
    folds : sequence of mapping
        At least two. Volume Dice of a fold's patients by threshold; the same thresholds everywhere.
    fixed : float
        Of equally good thresholds, the one nearest to this is taken.
    """

    def best(left_out: int) -> float:
        others = [fold for number, fold in enumerate(folds) if number != left_out]
        mean = {each: float(np.mean([dice for fold in others for dice in fold[each]])) for each in folds[0]}
        return max(mean, key=lambda each: (mean[each], -abs(each - fixed)))

    return [best(number) for number in range(len(folds))]
