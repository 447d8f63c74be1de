"""Labelled slices held ready for training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.config import Normalisation
from napari_unet_seg.engine.normalise import statistics_for
from napari_unet_seg.engine.whole_slices import resized_image, resized_target


@dataclass(frozen=True, kw_only=True)
class LabelledVolume:
    """A volume with the mask it is to be learned from."""

    volume: Volume
    mask: Mask
    labelled: NDArray[np.bool_]
    """``(Z,)``: slices whose mask counts; the others serve as neighbours alone."""

    soft: NDArray[np.float32] | None = None
    """``(Z, Y, X)`` in 0..1: probabilities to be learned in place of the mask, where a model has said them."""

    weight: NDArray[np.float32] | None = None
    """``(Z,)``: how much each slice counts in a weighted loss; 1 if left out."""


class SliceStore:
    """Every slice of a training set in one tensor, as uint8 where the scans are.

    Parameters
    ----------
    cases : iterable of LabelledVolume
        All with the same channels; sizes may differ, smaller slices are padded.
    device : torch.device
        Where the tensors live.
    normalisation : {"head-zscore", "unit"}
        How intensities are brought to one scale.
    resize : (int, int), optional
        Height and width that whole slices are resized to; by default they keep theirs.

    Raises
    ------
    ValueError
        If there is no labelled slice, or the numbers of channels differ.
    """

    def __init__(
        self,
        cases: Iterable[LabelledVolume],
        *,
        device: torch.device,
        normalisation: Normalisation = "head-zscore",
        resize: tuple[int, int] | None = None,
    ) -> None:
        held = list(cases)
        if not held or not any(case.labelled.any() for case in held):
            raise ValueError("there is no labelled slice to train on")
        channels = held[0].volume.data.shape[0]
        if any(case.volume.data.shape[0] != channels for case in held):
            raise ValueError("the cases have different numbers of channels")
        height, width = resize or tuple(max(case.volume.shape[axis] for case in held) for axis in (1, 2))
        total = sum(case.volume.shape[0] for case in held)
        as_bytes = all(case.volume.data.dtype == np.uint8 for case in held)
        self.images = torch.zeros((total, channels, height, width), dtype=torch.uint8 if as_bytes else torch.float16)
        self.masks = torch.zeros((total, height, width), dtype=torch.uint8)
        self.soft = any(case.soft is not None for case in held)
        """Whether targets are probabilities; they are kept in steps of 1/255."""
        self.weights = torch.ones(total)
        self.statistics = torch.zeros((total, channels, 2))
        self.first = torch.zeros(total, dtype=torch.long)
        self.last = torch.zeros(total, dtype=torch.long)
        self.centre = torch.zeros((total, 2))
        labelled: list[int] = []
        start = 0
        for case in held:
            # Measured before the resizing, as `Segmenter` does.
            statistics = statistics_for(case.volume.data, normalisation)
            data = resized_image(case.volume.data, resize)
            depth, rows, columns = data.shape[1:]
            here = slice(start, start + depth)
            if as_bytes:
                self.images[here, :, :rows, :columns] = torch.from_numpy(np.ascontiguousarray(data.swapaxes(0, 1)))
                self.statistics[here] = torch.from_numpy(statistics)
            else:
                scaled = (data.astype(np.float32) - statistics[:, 0, None, None, None]) / statistics[
                    :, 1, None, None, None
                ]
                air = torch.from_numpy(scaled.reshape(channels, -1).min(axis=1)).half()
                self.images[here] = air[None, :, None, None]
                self.images[here, :, :rows, :columns] = torch.from_numpy(
                    np.clip(scaled.swapaxes(0, 1), -60000, 60000)
                ).half()
                self.statistics[here, :, 1] = 1.0
            target = resized_target(_target(case, soft=self.soft), resize, soft=self.soft)
            self.masks[here, :rows, :columns] = torch.from_numpy(target)
            if case.weight is not None:
                self.weights[here] = torch.from_numpy(case.weight)
            self.first[here], self.last[here] = start, start + depth - 1
            self.centre[here] = torch.tensor(head_centre(data))
            labelled += [start + int(z) for z in np.flatnonzero(case.labelled)]
            start += depth
        self.labelled = torch.tensor(labelled)
        # A probability below 0.3 is no tumour to speak of.
        with_tumour = (self.masks[self.labelled] > (76 if self.soft else 0)).flatten(1).any(dim=1)
        self.tumour = self.labelled[with_tumour]
        self.empty = self.labelled[~with_tumour]
        for name in ("images", "masks", "statistics", "first", "last", "centre", "weights"):
            setattr(self, name, getattr(self, name).to(device))
        self.device = device

    def draw(self, count: int, *, tumour_fraction: float, generator: torch.Generator) -> Tensor:
        """Random slice numbers ``(count,)``, the wanted share of them with tumour."""
        with_tumour = int((torch.rand(count, generator=generator) < tumour_fraction).sum())
        if not len(self.tumour):
            with_tumour = 0
        elif not len(self.empty):
            with_tumour = count
        parts = []
        for pool, number in ((self.tumour, with_tumour), (self.empty, count - with_tumour)):
            if number:
                parts.append(pool[torch.randint(len(pool), (number,), generator=generator)])
        return torch.cat(parts)

    def batch(self, index: Tensor, *, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised slices with their neighbours, and their targets.

        Parameters
        ----------
        index : Tensor
            ``(B,)`` slice numbers.
        context : int
            Neighbouring slices on each side; at the ends of a scan the last slice is repeated.

        Returns
        -------
        image : Tensor
            ``(B, 2 * context + 1, C, Y, X)`` float32.
        mask : Tensor
            ``(B, 1, Y, X)`` float32, 0 or 1; where the store is soft, in 0..1.
        centre : Tensor
            ``(B, 2)`` row and column of the middle of the head.
        """
        index = index.to(self.device)
        offsets = torch.arange(-context, context + 1, device=self.device)
        first, last = self.first[index, None], self.last[index, None]
        neighbours = torch.minimum(torch.maximum(index[:, None] + offsets, first), last)
        image = self.images[neighbours].float()
        statistics = self.statistics[index][:, None, :, :, None, None]
        image = (image - statistics[:, :, :, 0]) / statistics[:, :, :, 1]
        masks = self.masks[index, None]
        return image, masks.float() / 255 if self.soft else (masks > 0).float(), self.centre[index]


def _target(case: LabelledVolume, *, soft: bool) -> NDArray[np.uint8]:
    """What is to be learned, ``(Z, Y, X)``: the mask, or probabilities in steps of 1/255."""
    if not soft:
        return case.mask
    if case.soft is not None:
        return np.rint(case.soft * 255).astype(np.uint8)
    return np.where(case.mask > 0, 255, 0).astype(np.uint8)


def head_centre(data: NDArray[Any]) -> tuple[float, float]:
    """Row and column of the middle of the head in ``data`` ``(C, Z, Y, X)``."""
    flat = data.mean(axis=(0, 1), dtype=np.float64)
    flat = np.clip(flat - np.percentile(flat, 10), 0, None)
    total = flat.sum()
    if total <= 0:
        return (data.shape[2] - 1) / 2, (data.shape[3] - 1) / 2
    rows, columns = np.arange(data.shape[2]), np.arange(data.shape[3])
    return float((flat.sum(axis=1) * rows).sum() / total), float((flat.sum(axis=0) * columns).sum() / total)
