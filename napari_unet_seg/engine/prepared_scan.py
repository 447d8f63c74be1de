"""A scan ready to be predicted: what any of its slices needs is worked out once."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.roles import channel_order
from napari_unet_seg.data.volume import Array, Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.head_box import head_box
from napari_unet_seg.engine.normalise import CLIP, statistics_for
from napari_unet_seg.engine.working_grid import working_factor

_GLANCED_AT = 1 << 16
"""Pixels, spread over a scan, that tell whether it has changed."""


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """The channels of a volume as a model wants them, and how the network is to see them."""

    channels: tuple[Array, ...]
    """``(Z, Y, X)`` each, in the model's order; views of the volume's pixels."""

    statistics: NDArray[np.float32]
    """``(C, 2)``; see `statistics_for`."""

    context: int
    """Neighbouring slices on each side that the network sees."""

    rows: slice
    columns: slice
    """The cut-out that is looked at."""

    size: tuple[int, int]
    """Height and width at which the network sees the cut-out."""

    @property
    def seen(self) -> tuple[int, int]:
        """Height and width of the cut-out in the scan's own pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def stack(self, part: Sequence[int], *, device: torch.device, precision: torch.dtype) -> Tensor:
        """What the network takes for some slices: ``(B, input_channels, *size)``, normalised, channels last."""
        depth = len(self.channels[0])
        offsets = range(-self.context, self.context + 1)
        neighbours = [[min(max(z + offset, 0), depth - 1) for offset in offsets] for z in part]
        needed = sorted({z for around in neighbours for z in around})
        place = {z: position for position, z in enumerate(needed)}
        pixels = np.stack([channel[needed, self.rows, self.columns] for channel in self.channels], axis=1)
        if pixels.dtype not in (np.uint8, np.float32):
            pixels = pixels.astype(np.float32)
        image = torch.from_numpy(pixels).to(device).float()
        statistics = torch.from_numpy(self.statistics).to(device)[:, :, None, None]
        # In place: the pixels are a copy.
        image.sub_(statistics[:, 0]).div_(statistics[:, 1]).clamp_(-CLIP, CLIP)
        if self.size != self.seen:
            image = functional.interpolate(image, size=self.size, mode="bilinear", antialias=True)
        # In its last form already: it is shorter, and each slice is turned into that once.
        image = image.to(dtype=precision)
        wanted = [place[z] for around in neighbours for z in around]
        if wanted != list(range(len(needed))):
            image = image[torch.tensor(wanted, device=device)]
        height, width = image.shape[-2:]
        return image.reshape(len(part), -1, height, width).contiguous(memory_format=torch.channels_last)

    def restore(self, probability: Tensor) -> Tensor:
        """Probabilities ``(B, K, *size)`` at the scan's own pixels: ``(B, K, *seen)``."""
        if self.size == self.seen:
            return probability
        return functional.interpolate(probability, size=self.seen, mode="bilinear")


def glance(data: Array) -> int:
    """A number that changes with the pixels ``(C, Z, Y, X)`` as a whole, in less than a millisecond.

    Some 100,000 of them are looked at: a change that is smaller than the distance between those may be missed.
    """
    _, _, height, width = data.shape
    step = max(1, math.isqrt(data.size // _GLANCED_AT))
    # Where so many slices leave but one pixel of each, it is the middle one.
    return zlib.crc32(data[:, :, height // 2 % step :: step, width // 2 % step :: step].tobytes())


def prepare_scan(volume: Volume, description: Description) -> PreparedScan:
    """Look a volume over, and settle how a model's network is to see it.

    Parameters
    ----------
    volume : Volume
        Its channels are brought into the model's order by name; see `channel_order`.
    description : Description
        Of the model.

    Raises
    ------
    InputError
        If the volume cannot be used: NaN, constant, too small, wrong channels, pixels of a metre.
    """
    check_usable(volume)
    order, _ = channel_order(volume, description.channel_names)
    channels = tuple(volume.data[index] for index in order)
    known: dict[int, NDArray[np.float32]] = {}
    for index in order:
        if index not in known:
            known[index] = statistics_for(volume.data[index : index + 1], description.normalisation)[0]
    rows, columns, size = _seen(volume, [volume.data[index] for index in known], description)
    return PreparedScan(
        channels=channels,
        statistics=np.stack([known[index] for index in order]),
        context=description.network.context,
        rows=rows,
        columns=columns,
        size=size,
    )


def _seen(volume: Volume, channels: Sequence[Array], description: Description) -> tuple[slice, slice, tuple[int, int]]:
    """Rows and columns that the network sees, and the height and width it sees them at."""
    _, height, width = volume.shape
    if description.resize is not None:
        return slice(0, height), slice(0, width), description.resize
    rows, columns = head_box(channels, multiple=description.network.multiple)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    factors = [working_factor(volume, axis) for axis in (1, 2)]
    return rows, columns, (max(8, round(height * factors[0])), max(8, round(width * factors[1])))
