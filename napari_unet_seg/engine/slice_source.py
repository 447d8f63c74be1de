"""What every store of labelled slices has in common, wherever their pixels lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from napari_unet_seg.engine.prepared_case import SliceTable


class SliceSource(ABC):
    """Slices numbered through from the first one of the first case; their tables are in memory.

    Parameters
    ----------
    tables : sequence of SliceTable
        Of the cases, in order.
    half : bool
        Whether the pixels are normalised float16, not bytes.
    device : torch.device
        Where batches are wanted.

    Raises
    ------
    ValueError
        If there is no labelled slice, or the numbers of channels differ.
    """

    streamed: ClassVar[bool]
    """Whether a batch has to be fetched from elsewhere, so that reading it ahead pays."""

    def __init__(self, tables: Sequence[SliceTable], *, half: bool, device: torch.device) -> None:
        if not any(table.labelled.any() for table in tables):
            raise ValueError("there is no labelled slice to train on")
        if len({len(table.statistics) for table in tables}) > 1:
            raise ValueError("the cases have different numbers of channels")
        self.device = device
        self.depths = tuple(len(table.labelled) for table in tables)
        """Slices of each case."""
        self.soft = any(table.soft for table in tables)
        """Whether targets are probabilities; they are kept in steps of 1/255."""
        ends = np.cumsum(self.depths)
        statistics = np.stack([table.statistics for table in tables])
        if half:
            statistics[:] = 0, 1
        self.statistics = torch.from_numpy(np.repeat(statistics, self.depths, axis=0)).to(device)
        self.first = torch.from_numpy(np.repeat(ends - self.depths, self.depths)).to(device)
        self.last = torch.from_numpy(np.repeat(ends - 1, self.depths)).to(device)
        centres = np.array([table.centre for table in tables], np.float32)
        self.centre = torch.from_numpy(np.repeat(centres, self.depths, axis=0)).to(device)
        self.weights = torch.from_numpy(np.concatenate([table.weight for table in tables])).to(device)
        self.labelled = torch.from_numpy(np.flatnonzero(np.concatenate([table.labelled for table in tables])))
        with_tumour = torch.from_numpy(np.concatenate([table.tumour for table in tables]))[self.labelled]
        self.tumour = self.labelled[with_tumour]
        self.empty = self.labelled[~with_tumour]

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
        pixels, masks = self._read(neighbours, index)
        statistics = self.statistics[index][:, None, :, :, None, None]
        image = (pixels.float() - statistics[:, :, :, 0]) / statistics[:, :, :, 1]
        masks = masks[:, None]
        return image, masks.float() / 255 if self.soft else (masks > 0).float(), self.centre[index]

    @abstractmethod
    def _read(self, neighbours: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels of the slices `neighbours` ``(B, S)`` as they are held, and targets of `index` ``(B,)``.

        Returns
        -------
        pixels : Tensor
            ``(B, S, C, Y, X)`` uint8 or float16, on the device.
        masks : Tensor
            ``(B, Y, X)`` uint8, on the device.
        """
