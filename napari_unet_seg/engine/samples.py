"""Labelled slices held ready for training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.config import Normalisation
from napari_unet_seg.engine.prepared_case import PreparedCase, alike, prepare
from napari_unet_seg.engine.slice_source import SliceSource


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


class SliceStore(SliceSource):
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

    streamed = False

    def __init__(
        self,
        cases: Iterable[LabelledVolume],
        *,
        device: torch.device,
        normalisation: Normalisation = "head-zscore",
        resize: tuple[int, int] | None = None,
    ) -> None:
        self._take([prepare(case, normalisation=normalisation, resize=resize) for case in cases], device)

    @classmethod
    def of(cls, cases: list[PreparedCase], *, device: torch.device) -> SliceStore:
        """A store of prepared cases; the list is empty then, so that nothing is held twice."""
        store = cls.__new__(cls)
        store._take(cases, device)
        return store

    def _take(self, cases: list[PreparedCase], device: torch.device) -> None:
        half = any(case.pixels.dtype != np.uint8 for case in cases)
        super().__init__([case.table for case in cases], half=half, device=device)
        channels = cases[0].pixels.shape[1]
        height, width = (max(case.target.shape[axis] for case in cases) for axis in (1, 2))
        dtype = torch.float16 if half else torch.uint8
        # Not zeros: what nothing is written to takes no memory yet.
        self.images = torch.empty((sum(self.depths), channels, height, width), dtype=dtype, device=device)
        self.masks = torch.empty((sum(self.depths), height, width), dtype=torch.uint8, device=device)
        cases.reverse()
        start = 0
        while cases:
            case = alike(cases.pop(), half=half, soft=self.soft)
            depth, rows, columns = case.target.shape
            here = slice(start, start + depth)
            if (rows, columns) != (height, width):
                air = torch.from_numpy(case.table.air).to(device, dtype) if half else torch.zeros((), dtype=dtype)
                self.images[here] = air[:, None, None] if half else air
                self.masks[here] = 0
            self.images[here, :, :rows, :columns] = torch.from_numpy(case.pixels).to(device)
            self.masks[here, :rows, :columns] = torch.from_numpy(case.target).to(device)
            start += depth

    def _read(self, neighbours: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[neighbours], self.masks[index]
