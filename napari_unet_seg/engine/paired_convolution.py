"""Convolutions of few outputs, two pixels at a time where that is quicker; see `engine/onednn.py`."""

from __future__ import annotations

import copy
import threading
import time
from functools import cache

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.blank_layers import BlankConvolution, drawn
from napari_unet_seg.engine.packed_layers import LAID_OUT_AT_ONCE, PackedConvolution

_LEAST_WIDTH = 4
"""Columns from which pairs are computed: of two, with a single input, oneDNN's result is wrong (torch 2.13)."""

_TRIES = 8
"""How often each way to compute a convolution is timed; the first time lays its weights out."""

_TIMED_ON = 64, 256
"""Rows and columns of what it is timed on: a millisecond or two for a try of both."""

_timing = threading.Lock()


class PairedConvolution(nn.Module):
    """A 3x3 convolution of few outputs, two neighbouring pixels at a time; for inference alone.

    oneDNN computes 16 outputs together, wanted or not. The weights of two pixels side by side fill these, and read four
    columns where two convolutions read three each: a third less work. In memory their outputs lie where they belong.

    Parameters
    ----------
    convolution : nn.Conv2d
        For which `is_of_few_outputs` holds.
    relu : bool
        With a ReLU behind it.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool = False) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        outputs, inputs = weight.shape[:2]
        both = weight.new_zeros(2 * outputs, inputs, 3, 4)
        both[:outputs, :, :, :3], both[outputs:, :, :, 1:] = weight, weight
        pairs = copy.deepcopy(convolution)
        pairs.out_channels, pairs.kernel_size, pairs.stride = 2 * outputs, (3, 4), (1, 2)
        pairs.weight = nn.Parameter(both.contiguous(memory_format=torch.channels_last), requires_grad=False)
        if bias is not None:
            pairs.bias = nn.Parameter(bias.detach().repeat(2), requires_grad=False)
        self.of_pairs = PackedConvolution(pairs, relu=relu)
        self.alone = PackedConvolution(convolution, relu=relu)

    def forward(self, x: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """See `PackedConvolution.forward`; where columns do not pair, each pixel is computed alone."""
        if x.shape[3] % 2 or x.shape[3] < _LEAST_WIDTH:
            alone: Tensor = self.alone(x, onto=onto)
            return alone
        found: Tensor = self.of_pairs(x, onto=None if onto is None else _columns_at_a_time(onto, 2, 1))
        return _columns_at_a_time(found, 1, 2)


def packed_convolution(convolution: nn.Conv2d, *, relu: bool = False) -> PackedConvolution | PairedConvolution:
    """A convolution with its weights laid out, in whichever of the two ways is the quicker one here.

    Parameters
    ----------
    convolution : nn.Conv2d
        As for `PackedConvolution`.
    relu : bool
        With a ReLU behind it.
    """
    if is_of_few_outputs(convolution):
        # One at a time: two that are timed beside each other are timed wrongly.
        with _timing:
            paired = pairs_are_quicker(convolution.weight.dtype, convolution.in_channels, convolution.out_channels)
        if paired:
            return PairedConvolution(convolution, relu=relu)
    return PackedConvolution(convolution, relu=relu)


@cache
@torch.inference_mode()
def pairs_are_quicker(precision: torch.dtype, inputs: int, outputs: int) -> bool:
    """Whether a `PairedConvolution` of so many inputs and outputs is quicker than a `PackedConvolution` here.

    Timed once in a process, so that all its networks compute alike.
    """
    numbers = torch.Generator().manual_seed(0)
    convolution = drawn(BlankConvolution(inputs, outputs, 3, padding=1), numbers).to(precision)
    x = torch.randn(1, inputs, *_TIMED_ON, generator=numbers).to(precision)
    x = x.contiguous(memory_format=torch.channels_last)
    return _seconds(PairedConvolution(convolution), x) < _seconds(PackedConvolution(convolution), x)


def is_of_few_outputs(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is one of 3x3 pixels whose outputs for two pixels are computed together."""
    return (
        2 * convolution.out_channels <= LAID_OUT_AT_ONCE
        and convolution.kernel_size == (3, 3)
        and (convolution.padding, convolution.stride, convolution.dilation) == ((1, 1), (1, 1), (1, 1))
        and convolution.groups == 1
    )


def _columns_at_a_time(x: Tensor, now: int, then: int) -> Tensor:
    """Pixels ``(B, C, Y, X)``: `now` columns become `then` of them, whose channels lie in a row.

    Nothing is copied of pixels whose channels come last, as these operators give them.
    """
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch, height, width * then // now, channels * now // then)
    return rows.permute(0, 3, 1, 2)


def _seconds(way: nn.Module, x: Tensor) -> float:
    """How long a convolution takes at its best."""
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        way(x)
        times.append(time.perf_counter() - start)
    return min(times)
