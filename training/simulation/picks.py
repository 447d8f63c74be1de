"""Which slices an annotator corrects next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.postprocess import any_class
from training.simulation.patients import Patient

PICKS = ("suggested", "random", "random-all", "largest", "worst")
"""As the plugin suggests; at random among the slices with tumour in truth or mask; at random among all; the largest
area of the mask first; the most wrong pixels first, which only one who knows the truth can do."""

BY_CHANCE = ("random", "random-all")


class Suggested(Protocol):
    """What is needed of a `Suggestion`."""

    @property
    def slice(self) -> int:
        """The slice to correct."""


class SuggestSlices(Protocol):
    """`engine.suggest.suggest_slices`."""

    def __call__(
        self,
        volume: Volume,
        probability: NDArray[np.float32],
        *,
        case: str,
        mask: Mask | None = None,
        corrected: Collection[int] = (),
        threshold: float = 0.5,
        flair: int | None,
    ) -> Sequence[Suggested]:
        """Slices worth correcting, worst first."""


def pick_slices(
    how: str,
    patient: Patient,
    *,
    count: int,
    probability: NDArray[np.float32],
    mask: Mask,
    corrected: Collection[int],
    threshold: float,
    rng: np.random.Generator,
    suggest_slices: SuggestSlices,
) -> list[int]:
    """Choose slices that have not been corrected yet.

    Parameters
    ----------
    how : str
        One of `PICKS`.
    patient : Patient
        The scan.
    count : int
        How many; fewer come back where there are no more.
    probability : ndarray
        What the present model says, ``(Z, Y, X)`` or ``(K, Z, Y, X)``.
    mask : ndarray
        ``(Z, Y, X)``, the present model's mask with the corrected slices put in.
    corrected : collection of int
        Slices corrected before.
    threshold : float
        The model's.
    rng : Generator
        For what goes by chance.
    suggest_slices : callable
        For ``"suggested"``.

    Returns
    -------
    list of int
        The first one is the most wanted.

    Raises
    ------
    ValueError
        If there is no such way to choose.
    """
    left = np.array([int(z) for z in np.flatnonzero(patient.labelled) if int(z) not in corrected], dtype=int)
    area = np.count_nonzero(mask, axis=(1, 2))
    true_area = np.count_nonzero(patient.truth, axis=(1, 2))
    chosen: Sequence[Any]
    if how == "suggested":
        suggestions = suggest_slices(
            patient.volume,
            any_class(probability),
            case=patient.case,
            mask=mask,
            corrected=corrected,
            threshold=threshold,
            flair=flair_index(patient.volume.channel_names),
        )
        chosen = [item.slice for item in suggestions if item.slice in left]
    elif how == "largest":
        # Where nothing is predicted the annotator still sees the tumour.
        chosen = left[np.lexsort((-true_area[left], -area[left]))]
    elif how == "worst":
        wrong = np.count_nonzero((mask != 0) != (patient.truth != 0), axis=(1, 2))
        chosen = left[np.argsort(-wrong[left], kind="stable")]
    elif how in BY_CHANCE:
        chosen = rng.permutation(left if how == "random-all" else left[(area[left] > 0) | (true_area[left] > 0)])
    else:
        raise ValueError(f"unknown pick {how!r}; there are {', '.join(PICKS)}")
    return [int(z) for z in chosen[:count]]
