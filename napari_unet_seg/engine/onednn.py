"""A U-Net's convolutions on a processor, by the operators of oneDNN that `torch.compile` uses too.

PyTorch's own convolution has oneDNN lay its weights out anew in every call, and each ReLU, and the joining of two
inputs, is a pass over the memory of its own. These operators take weights that were laid out once, and add and cut off
while a result is still in the cache. They are no public part of PyTorch, so they are tried first, and where they are
not there, or say something else, nothing is changed.
"""

from __future__ import annotations

import copy
from functools import cache
from itertools import zip_longest

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.bfloat16 import SignBitReLU, SplitConvolution
from napari_unet_seg.engine.blank_layers import BlankConvolution, BlankTransposed, drawn
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.packed_layers import LAID_OUT_AT_ONCE, PackedConvolution, PackedUpsampling
from napari_unet_seg.engine.paired_convolution import PairedConvolution, packed_convolution
from napari_unet_seg.engine.unet import UNet


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
        self.fine = packed_convolution(fine)
        self.coarse = packed_convolution(_part(both, slice(0, inputs)), relu=relu)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, bfloat16, channels last."""
        x = x.contiguous(memory_format=torch.channels_last)
        found: Tensor = self.coarse(x, onto=self.fine(x))
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
        self.of_skip = packed_convolution(of_skip)
        self.border = border
        self.of_upsampled = packed_convolution(of_upsampled, relu=True)

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
    up = drawn(BlankTransposed(8, 8, 2, stride=2), numbers).to(precision)
    both = drawn(BlankConvolution(16, 8, 3, padding=1), numbers).to(precision)
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
        if isinstance(layer, SplitConvolution) and layer.convolution.in_channels > LAID_OUT_AT_ONCE:
            layers.append(PackedSplit(layer, relu=taken))
        elif isinstance(layer, SplitConvolution):
            layer.convolution = packed_convolution(layer.convolution, relu=taken)  # type: ignore[assignment]
            layers.append(layer)
        else:
            layers.append(packed_convolution(layer, relu=taken) if isinstance(layer, nn.Conv2d) else layer)
    return layers


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
