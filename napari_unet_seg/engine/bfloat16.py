"""A network's arithmetic in bfloat16: what stays in float32, and what a processor does with the bits.

Most of what bfloat16 changes of a mask comes from the first convolution: its inputs, weights and bias rounded move all
that follows in one direction. It has the fewest inputs, so it stays in float32, which halves the change.

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


class FirstConvolution(nn.Module):
    """A convolution in float32 whose results are bfloat16."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, best in float32."""
        found: Tensor = self.convolution(x.float())
        return found.bfloat16()


def in_bfloat16(network: Network, *, on_processor: bool) -> Network:
    """A network from `fold_batch_norm` in bfloat16, in place, all but the first convolution of a `UNet`.

    Parameters
    ----------
    network : Network
        In float32, in evaluation mode.
    on_processor : bool
        Compare as integers, too.
    """
    if not isinstance(network, UNet):
        return network.bfloat16()
    if on_processor:
        compare_as_integers(network)
    block = network.encoder[0]
    assert isinstance(block, nn.Sequential)
    first = copy.deepcopy(block[0])
    network.bfloat16()
    block[0] = FirstConvolution(first)
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
