"""Somebody who corrects slices: with the truth, or with less than that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import InputError
from training.simulation.patients import Patient

Plane = NDArray[np.uint8]
"""A slice of a mask, ``(Y, X)``."""


class Annotator:
    """Draws slices of one patient and saves them as corrections.

    Parameters
    ----------
    patient : Patient
        The scan and the truth about it.
    hand : callable
        Makes what the annotator draws of the truth of a slice; see `parse_hand`.
    """

    def __init__(self, patient: Patient, *, hand: Callable[[Plane], Plane]) -> None:
        self.patient = patient
        self._hand = hand
        self._drawn: dict[int, Plane] = {}

    @property
    def corrected(self) -> tuple[int, ...]:
        """Slices corrected so far, in ascending order."""
        return tuple(sorted(self._drawn))

    def correct(self, dataset: Dataset, slices: Sequence[int], *, model: str) -> None:
        """Draw slices and save them into a dataset in which the patient has the same name."""
        for z in slices:
            self._drawn[z] = self._hand(self.patient.truth[z])
        if slices:
            mask = self.put_into(np.zeros_like(self.patient.truth))
            dataset.save_correction(self.patient.case, mask, slices, model=model, annotator="simulated")

    def put_into(self, mask: Mask) -> Mask:
        """A copy of a mask ``(Z, Y, X)`` with the corrected slices in it."""
        result = mask.copy()
        for z, plane in self._drawn.items():
            result[z] = plane
        return result


def shift_border(plane: Plane, pixels: int) -> Plane:
    """Move the border of every label outwards by so many pixels, or inwards where negative."""
    if pixels < 0:
        inside = ndimage.binary_erosion(plane != 0, iterations=-pixels)
        return np.where(inside, plane, 0).astype(np.uint8)
    if pixels == 0 or not plane.any():
        return plane.copy()
    distance, nearest = ndimage.distance_transform_cdt(plane == 0, metric="taxicab", return_indices=True)
    return np.where(distance <= pixels, plane[tuple(nearest)], 0).astype(np.uint8)


def miss_component(plane: Plane) -> Plane:
    """Leave out the smallest connected piece; a single piece stays."""
    pieces, count = ndimage.label(plane != 0)
    if count < 2:
        return plane.copy()
    smallest = 1 + int(np.argmin(np.bincount(pieces.ravel())[1:]))
    return np.where(pieces == smallest, 0, plane).astype(np.uint8)


def parse_hand(text: str) -> Callable[[Plane], Plane]:
    """What ``--degrade`` names: ``"shift:N"``, ``"drop"``, or nothing for the truth itself.

    Raises
    ------
    InputError
        If it names nothing known.
    """
    if not text:
        return np.copy
    if text == "drop":
        return miss_component
    if match := re.fullmatch(r"shift:([+-]?[0-9]+)", text):
        pixels = int(match[1])
        return lambda plane: shift_border(plane, pixels)
    raise InputError(f"unknown degradation {text!r}; write shift:2, shift:-2 or drop")
