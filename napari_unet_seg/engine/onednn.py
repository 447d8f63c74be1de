"""A U-Net's convolutions on a processor, by the operators of oneDNN that `torch.compile` uses too.

PyTorch's own convolution has oneDNN lay its weights out anew in every call, and each ReLU, and the joining of two
inputs, is a pass over the memory of its own. These operators take weights that were laid out once, and add and cut off
while a result is still in the cache. They are no public part of PyTorch, so they are tried first, and where they are
not there, or say something else, nothing is changed.
"""

from __future__ import annotations

import copy
import threading
import time
from abc import ABC, abstractmethod
from functools import cache
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.bfloat16 import SignBitReLU, SplitConvolution
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.unet import UNet

_LAID_OUT_AT_ONCE = 16
"""Channels of an input, or of an output, that oneDNN computes together: two convolutions of fewer cost as much as one
of them all."""

_LEAST_WIDTH = 4
"""Columns from which pairs are computed: of two, with a single input, oneDNN's result is wrong (torch 2.13)."""

_TRIES = 8
"""How often each way to compute a convolution is timed; the first time lays its weights out."""

_TIMED_ON = 64, 256
"""Rows and columns of what it is timed on: a millisecond or two for a try of both."""

_timing = threading.Lock()

_Pair = tuple[int, ...]
_Layer = TypeVar("_Layer", nn.Conv2d, nn.ConvTranspose2d)


class _Packed(nn.Module, ABC):
    """Weights laid out for the size of the input; made anew for another size, and never copied."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self._known: tuple[torch.Size, Any] | None = None

    def packed_for(self, x: Tensor) -> Any:
        """The weights, for an input ``(B, C, Y, X)``."""
        # Threads side by side may both do it: each goes on with its own.
        known = self._known
        if known is None or known[0] != x.shape[2:]:
            known = self._known = x.shape[2:], self.pack(list(x.shape))
        return known[1]

    @abstractmethod
    def pack(self, shape: list[int]) -> Any:
        """The weights as oneDNN wants them for an input of that shape."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None}


class PackedConvolution(_Packed):
    """A convolution with its weights laid out for the size of its input; for inference alone.

    Parameters
    ----------
    convolution : nn.Conv2d
        Its padding is a number of pixels.
    relu : bool
        With a ReLU behind it.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool = False) -> None:
        super().__init__(convolution.weight)
        assert not isinstance(convolution.padding, str)
        self.bias = convolution.bias
        self._shape: tuple[_Pair, _Pair, _Pair, int] = (
            tuple(convolution.padding),
            tuple(convolution.stride),
            tuple(convolution.dilation),
            convolution.groups,
        )
        self._relu = relu

    def pack(self, shape: list[int]) -> Any:
        """See `_Packed.pack`."""
        return torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self._shape, shape)

    def forward(self, x: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """``(B, C, Y, X)``; what comes out is added to `onto`, in place, before the ReLU."""
        operators = torch.ops.mkldnn
        weight = self.packed_for(x)
        if onto is None:
            relu = "relu" if self._relu else "none"
            found: Tensor = operators._convolution_pointwise(x, weight, self.bias, *self._shape, relu, [], "")
            return found
        then = "relu" if self._relu else None
        summed: Tensor = operators._convolution_pointwise_(
            onto, x, weight, self.bias, *self._shape, "add", 1.0, then, [], ""
        )
        return summed


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


class PackedSplit(nn.Module):
    """A `SplitConvolution` that reads its input twice, instead of one that has it twice; for inference alone.

    Parameters
    ----------
    split : SplitConvolution
    relu : bool
        With a ReLU behind it.
    """

    def __init__(self, split: SplitConvolution, *, relu: bool) -> None:
        super().__init__()
        both = split.convolution
        height, width = both.weight.shape[2:]
        # The input that is 1 everywhere comes last; its weight is the fine part of the bias.
        inputs = both.in_channels // 2
        fine = _part(both, slice(inputs, 2 * inputs))
        fine.bias = nn.Parameter(both.weight.detach()[:, -1, height // 2, width // 2].clone(), requires_grad=False)
        self.fine = _packed_convolution(fine)
        self.coarse = _packed_convolution(_part(both, slice(0, inputs)), relu=relu)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, bfloat16, channels last."""
        x = x.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.coarse(x, onto=self.fine(x))
        return found


class PackedUpsampling(_Packed):
    """As `PackedConvolution`, of a transposed one."""

    def __init__(self, convolution: nn.ConvTranspose2d) -> None:
        super().__init__(convolution.weight)
        self.bias = convolution.bias
        self._shape: tuple[_Pair, _Pair, _Pair, _Pair, int] = (
            tuple(convolution.padding),  # type: ignore[arg-type]
            tuple(convolution.output_padding),
            tuple(convolution.stride),
            tuple(convolution.dilation),
            convolution.groups,
        )

    def pack(self, shape: list[int]) -> Any:
        """See `_Packed.pack`."""
        return torch.ops.mkldnn._reorder_convolution_transpose_weight(self.weight, *self._shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``."""
        found: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self.packed_for(x), self.bias, *self._shape, "none", [], ""
        )
        return found


class JoiningConvolution(nn.Module):
    """A convolution of two inputs, and a ReLU, without laying them side by side first; for inference alone.

    Parameters
    ----------
    convolution : nn.Conv2d
        Of both inputs, the upsampled one first.
    upsampled : int
        Channels of that.
    border : nn.Module, optional
        What is done to the sum before the ReLU; something that is added, since it comes between the two.
    """

    def __init__(self, convolution: nn.Conv2d, *, upsampled: int, border: nn.Module | None) -> None:
        super().__init__()
        of_skip, of_upsampled = _apart(convolution, upsampled=upsampled)
        self.of_skip = _packed_convolution(of_skip)
        self.border = border
        self.of_upsampled = _packed_convolution(of_upsampled, relu=True)

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """The upsampled input and the one beside it, ``(B, C, Y, X)`` both."""
        upsampled, skip = inputs
        summed = self.of_skip(skip)
        if self.border is not None:
            summed = self.border(summed)
        found: Tensor = self.of_upsampled(upsampled, onto=summed)
        return found


def pack_convolutions(network: Network) -> Network:
    """Have a network use these operators, in place, if they can be used.

    Parameters
    ----------
    network : Network
        On the CPU, in evaluation mode, channels last, from `fold_batch_norm` and `in_bfloat16`. Others than the U-Net
        stay as they are.
    """
    if not isinstance(network, UNet) or not can_pack(next(network.parameters()).dtype):
        return network
    for position, block in enumerate(network.encoder):
        assert isinstance(block, nn.Sequential)
        network.encoder[position] = nn.Sequential(*_packed(list(block)))
    for position, (up, block) in enumerate(zip(network.up, network.decoder, strict=True)):
        assert isinstance(up, nn.ConvTranspose2d)
        assert isinstance(block, nn.Sequential)
        network.up[position] = PackedUpsampling(up)
        first, *rest = block
        assert isinstance(first, nn.Conv2d)
        border = None if _is_relu(rest[0]) else rest.pop(0)
        assert _is_relu(rest.pop(0))
        joining = JoiningConvolution(first, upsampled=up.out_channels, border=border)
        network.decoder[position] = nn.Sequential(joining, *_packed(rest))
    network.head = PackedConvolution(network.head)  # type: ignore[assignment]
    network.join = _together
    return network


@cache
def can_pack(precision: torch.dtype) -> bool:
    """Whether the operators are there, and say what PyTorch's own convolution says in that precision, on the CPU."""
    if precision not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        return _agree(precision)
    except (RuntimeError, AttributeError, TypeError):
        # Not there, not for this processor, or called otherwise in another version of PyTorch.
        return False


@torch.inference_mode()
def _agree(precision: torch.dtype) -> bool:
    """Whether a tiny network of packed convolutions says what the plain ones say."""
    numbers = torch.Generator().manual_seed(0)
    up = _drawn(_BlankTransposed(8, 8, 2, stride=2), numbers).to(precision)
    both = _drawn(_BlankConvolution(16, 8, 3, padding=1), numbers).to(precision)
    below, skip = (torch.randn(1, 8, side, side, generator=numbers).to(precision) for side in (4, 8))
    expected = both(torch.cat([up(below), skip], dim=1)).relu()
    above, skip = PackedUpsampling(up)(below), skip.contiguous(memory_format=torch.channels_last)
    of_skip, of_upsampled = _apart(both, upsampled=8)
    # Either may be the quicker one here.
    for form in (PackedConvolution, PairedConvolution):
        found = form(of_upsampled, relu=True)(above, onto=form(of_skip)(skip))
        if not torch.allclose(found.float(), expected.float(), atol=0.05 if precision == torch.bfloat16 else 1e-5):
            return False
    return True


class _BlankConvolution(nn.Conv2d):
    """One whose weights nobody has drawn: PyTorch would take them from the numbers that all threads share."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class _BlankTransposed(nn.ConvTranspose2d):
    """As `_BlankConvolution`."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


def _drawn(layer: _Layer, numbers: torch.Generator) -> _Layer:
    """A blank layer with weights from these numbers."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.1, generator=numbers)
    return layer


def _packed(block: list[nn.Module]) -> list[nn.Module]:
    """A block's layers, each ReLU right behind a convolution taken into it."""
    layers: list[nn.Module] = []
    taken = False
    for layer, following in zip_longest(block, block[1:]):
        if taken:
            taken = False
            continue
        if isinstance(layer, nn.Conv2d | SplitConvolution):
            taken = _is_relu(following)
        if isinstance(layer, SplitConvolution) and layer.convolution.in_channels > _LAID_OUT_AT_ONCE:
            layers.append(PackedSplit(layer, relu=taken))
        elif isinstance(layer, SplitConvolution):
            layer.convolution = _packed_convolution(layer.convolution, relu=taken)  # type: ignore[assignment]
            layers.append(layer)
        else:
            layers.append(_packed_convolution(layer, relu=taken) if isinstance(layer, nn.Conv2d) else layer)
    return layers


def _packed_convolution(convolution: nn.Conv2d, *, relu: bool = False) -> PackedConvolution | PairedConvolution:
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
    convolution = _drawn(_BlankConvolution(inputs, outputs, 3, padding=1), numbers).to(precision)
    x = torch.randn(1, inputs, *_TIMED_ON, generator=numbers).to(precision)
    x = x.contiguous(memory_format=torch.channels_last)
    return _seconds(PairedConvolution(convolution), x) < _seconds(PackedConvolution(convolution), x)


def is_of_few_outputs(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is one of 3x3 pixels whose outputs for two pixels are computed together."""
    return (
        2 * convolution.out_channels <= _LAID_OUT_AT_ONCE
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


def _is_relu(layer: nn.Module | None) -> bool:
    return isinstance(layer, nn.ReLU | SignBitReLU)


def _apart(convolution: nn.Conv2d, *, upsampled: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A convolution of two inputs as one of the second input, and one of the first without a bias."""
    of_upsampled = _part(convolution, slice(0, upsampled))
    of_upsampled.bias = None
    return _part(convolution, slice(upsampled, None)), of_upsampled


def _part(convolution: nn.Conv2d, channels: slice) -> nn.Conv2d:
    """A convolution of some of the inputs of another, with its bias."""
    part = copy.deepcopy(convolution)
    weight = convolution.weight.detach()[:, channels].contiguous(memory_format=torch.channels_last)
    part.weight, part.in_channels = nn.Parameter(weight, requires_grad=False), weight.shape[1]
    return part


def _together(upsampled: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
    return upsampled, skip
