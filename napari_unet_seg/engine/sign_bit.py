"""ReLU and pooling of bfloat16 on a processor, by comparing the numbers as integers.

Processors multiply bfloat16 but do not compare it: PyTorch turns every number into float32 and back. The bits of a
bfloat16 number that is not negative, read as a 16-bit integer, lie in the same order as the numbers, and those of a
negative one are a negative integer; so integers do, four times as fast, with the same results to the last bit. NaN
with its sign bit set alone becomes 0.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.unet import UNet

_Network = TypeVar("_Network", bound=nn.Module)


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


def compare_as_integers(network: _Network) -> _Network:
    """Have a network from `fold_batch_norm` do so, in place; other libraries' stay as they are.

    It is for bfloat16 on the CPU. Pooling does so if at every level a ReLU wrote what it reads: a normalisation behind
    the ReLU leaves negative numbers.
    """
    if not isinstance(network, UNet):
        return network
    for blocks in (network.encoder, network.decoder):
        for block in blocks:
            assert isinstance(block, nn.Sequential)
            for position, layer in enumerate(block):
                if isinstance(layer, nn.ReLU):
                    block[position] = SignBitReLU()
    if all(isinstance(block[-1], SignBitReLU) for block in network.encoder[:-1]):  # type: ignore[index]
        network.pool = PositivePool()
    return network
