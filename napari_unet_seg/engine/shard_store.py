"""Labelled slices fetched from shards as they are wanted."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fsspec.utils import merge_offset_ranges
from numpy.typing import NDArray
from torch import Tensor

from napari_unet_seg.engine.prepared_case import as_half, as_soft
from napari_unet_seg.engine.shard_index import ShardedCase
from napari_unet_seg.engine.shards import filesystem, read_index, shard_path
from napari_unet_seg.engine.slice_source import SliceSource
from napari_unet_seg.errors import InputError


class RecentSlices:
    """The slices used last, as many as fit; any thread may ask.

    Parameters
    ----------
    limit : int
        Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self.size = 0
        """Bytes held."""

    def get(self, numbers: list[int]) -> dict[int, bytes]:
        """Those of the slices that are here."""
        with self._lock:
            found = {number: self._held[number] for number in numbers if number in self._held}
            for number in found:
                self._held.move_to_end(number)
        return found

    def put(self, slices: dict[int, bytes]) -> None:
        """Keep these, and let go of those not used for longest."""
        with self._lock:
            for number, content in slices.items():
                self.size += len(content) - len(self._held.pop(number, b""))
                self._held[number] = content
            while self.size > self._limit:
                self.size -= len(self._held.popitem(last=False)[1])


class ShardStore(SliceSource):
    """The slices of a folder of shards: their tables in memory, their pixels fetched, several at once where that pays.

    Batches are the same, to the last bit, as those of a `SliceStore` of the cases. May be used by several threads.

    Parameters
    ----------
    url : str or Path
        What `write_shards` wrote.
    device : torch.device
        Where batches are wanted.
    cache_bytes : int
        Slices used last stay in memory, up to this many bytes.

    Raises
    ------
    InputError
        If it cannot be reached, was never finished, or is damaged; by `batch` too.
    ValueError
        If there is no labelled slice, or the numbers of channels differ.
    """

    streamed = True

    def __init__(self, url: str | Path, *, device: torch.device, cache_bytes: int) -> None:
        self.index = read_index(url)
        cases = self.index.cases
        self._half = any(case.dtype != "uint8" for case in cases)
        super().__init__([case.table for case in cases], half=self._half, device=device)
        self._url = str(url)
        self._fs, self._root = filesystem(url)
        self._starts = np.cumsum([0, *self.depths])
        self._size = tuple(max(case.size[axis] for case in cases) for axis in (0, 1))
        self._recent = RecentSlices(cache_bytes)

    def _read(self, neighbours: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        numbers, places = torch.unique(neighbours.cpu(), return_inverse=True)
        targets = index.tolist()
        slices = self._slices(sorted({*numbers.tolist(), *targets}))
        channels = len(self.index.cases[0].table.statistics)
        pixels = np.zeros((len(numbers), channels, *self._size), np.float16 if self._half else np.uint8)
        for image, number in zip(pixels, numbers.tolist(), strict=True):
            self._put_pixels(image, number, slices[number])
        masks = np.zeros((len(targets), *self._size), np.uint8)
        for mask, number in zip(masks, targets, strict=True):
            self._put_target(mask, number, slices[number])
        # Neighbours that batches share travel to the device once, as bytes where they are.
        images = torch.from_numpy(pixels).to(self.device)[places.to(self.device)]
        return images, torch.from_numpy(masks).to(self.device)

    def _put_pixels(self, image: NDArray[Any], number: int, content: bytes) -> None:
        case, _ = self._place(number)
        rows, columns = case.size
        shape = (1, len(image), rows, columns)
        pixels = np.frombuffer(content[: case.pixel_bytes], case.dtype).reshape(shape)
        if self._half:
            image[:] = case.table.air[:, None, None]
            pixels = as_half(pixels, case.table.statistics) if case.dtype == "uint8" else pixels
        image[:, :rows, :columns] = pixels[0]

    def _put_target(self, mask: NDArray[np.uint8], number: int, content: bytes) -> None:
        case, _ = self._place(number)
        rows, columns = case.size
        target = np.frombuffer(content[case.pixel_bytes :], np.uint8).reshape(rows, columns)
        mask[:rows, :columns] = as_soft(target) if self.soft and not case.table.soft else target

    def _place(self, number: int) -> tuple[ShardedCase, int]:
        """The case of a slice, and its number there."""
        case = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.index.cases[case], number - int(self._starts[case])

    def _slices(self, numbers: list[int]) -> dict[int, bytes]:
        """Content of slices, ascending."""
        found = self._recent.get(numbers)
        if missing := [number for number in numbers if number not in found]:
            fetched = self._fetch(missing)
            self._recent.put(fetched)
            found |= fetched
        return found

    def _fetch(self, numbers: list[int]) -> dict[int, bytes]:
        ranges = []
        for number in numbers:
            case, z = self._place(number)
            start = case.offset + z * case.slice_bytes
            ranges.append((shard_path(self._root, case.shard), start, start + case.slice_bytes))
        paths, starts, ends = (list(column) for column in zip(*ranges, strict=True))
        # Neighbours in one request.
        blocks = list(zip(*merge_offset_ranges(paths, starts, ends, sort=False), strict=True))
        try:
            contents = self._fs.cat_ranges(*(list(column) for column in zip(*blocks, strict=True)), on_error="raise")
        except Exception as error:
            # Whatever the package for the protocol raises.
            raise InputError(f"{self._url}: cannot be read ({str(error) or type(error).__name__})") from error
        found: dict[int, bytes] = {}
        block = 0
        for number, (path, start, end) in zip(numbers, ranges, strict=True):
            while blocks[block][0] != path or blocks[block][2] < end:
                block += 1
            content = contents[block][start - blocks[block][1] : end - blocks[block][1]]
            case, z = self._place(number)
            if zlib.crc32(content) != case.checksums[z]:
                raise InputError(f"{path}: slice {z} of {case.case_id} is damaged; pack the cases again")
            found[number] = content
        return found
