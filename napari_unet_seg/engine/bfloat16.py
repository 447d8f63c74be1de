"""A network's arithmetic in bfloat16: how its weights are rounded, and what a processor does with the bits.

What bfloat16 changes of a mask is no noise: weights rounded once move every probability the same way. So they are
rounded with errors that cancel (`engine/rounding.py`), but for the first convolution: what it reads is as often
negative as positive, and has too few weights for that. It has them in two halves.

Processors multiply bfloat16 but do not compare it: PyTorch turns every number into float32 and back. The bits of a
bfloat16 number that is not negative, read as a 16-bit integer, lie in the same order as the numbers, and those of a
negative one are a negative integer; so integers do, four times as fast, with the same results to the last bit. NaN
with its sign bit set alone becomes 0.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.rounding import bias_of, lost_in_bfloat16, round_weights
from napari_unet_seg.engine.unet import UNet


class SignBitReLU(nn.Module):
    """ReLU of bfloat16, in place; for inference alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x.view(torch.int16).clamp_(min=0)
        return x


class PositivePool(nn.Module):
    """The largest of each 2x2 pixels of bfloat16 numbers none of which is negative; for inference alone."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)`` with even Y and X."""
        bits = x.view(torch.int16)
        upper, lower = bits[:, :, ::2], bits[:, :, 1::2]
        rows = torch.maximum(upper, lower)
        return torch.maximum(rows[..., ::2], rows[..., 1::2]).view(torch.bfloat16)


class SplitConvolution(nn.Module):
    """A convolution in bfloat16 by weights of twice its digits; for inference alone.

    Each weight is the sum of two numbers of bfloat16, a coarse and a fine one, and the input is read twice; the fine
    part of the bias is the weight of one more input, which is 1 everywhere. The sums are in float32 in any case.

    Parameters
    ----------
    convolution : nn.Conv2d
        In float32, of an odd size, of all its inputs at once.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        bias = bias_of(convolution)
        height, width = weight.shape[2:]
        of_one = torch.zeros_like(weight[:, :1])
        of_one[:, 0, height // 2, width // 2] = lost_in_bfloat16(bias)
        self.convolution = copy.deepcopy(convolution)
        fine = lost_in_bfloat16(weight)
        self.convolution.weight = nn.Parameter(torch.cat([weight, fine, of_one], dim=1).bfloat16())
        self.convolution.bias = nn.Parameter(bias.bfloat16())
        self.convolution.in_channels = self.convolution.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, bfloat16."""
        twice = torch.cat([x, x, torch.ones_like(x[:, :1])], dim=1)
        found: Tensor = self.convolution(twice.contiguous(memory_format=torch.channels_last))
        return found


def in_bfloat16(network: Network, *, on_processor: bool) -> Network:
    """A network from `fold_batch_norm` in bfloat16, in place.

    Parameters
    ----------
    network : Network
        In float32, in evaluation mode.
    on_processor : bool
        Compare as integers, too.
    """
    if not isinstance(network, UNet):
        round_weights(network)
        return network.bfloat16()
    if on_processor:
        compare_as_integers(network)
    block = network.encoder[0]
    assert isinstance(block, nn.Sequential)
    assert isinstance(block[0], nn.Conv2d)
    first = SplitConvolution(block[0])
    round_weights(network)
    network.bfloat16()
    block[0] = first
    return network


def compare_as_integers(network: UNet) -> None:
    """Have a network from `fold_batch_norm` do so, in place.

    It is for bfloat16 on the CPU. Pooling does so if at every level a ReLU wrote what it reads: a normalisation behind
    the ReLU leaves negative numbers.
    """
    for blocks in (network.encoder, network.decoder):
        for block in blocks:
            assert isinstance(block, nn.Sequential)
            for position, layer in enumerate(block):
                if isinstance(layer, nn.ReLU):
                    block[position] = SignBitReLU()
    if all(isinstance(block[-1], SignBitReLU) for block in network.encoder[:-1]):  # type: ignore[index]
        network.pool = PositivePool()
