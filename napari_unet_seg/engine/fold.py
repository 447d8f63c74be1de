"""Batch normalisation made part of the convolutions beside it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.unet import UNet


def fold_batch_norm(network: Network) -> Network:
    """A copy with fewer passes over its pixels and the same results; other libraries' networks stay as they are.

    In front of a ReLU, each normalisation goes into the convolution before it. Behind a ReLU, it goes into the
    convolution after it; what the padding changes is put right at the border (`Border`). There it stays at the end of
    a block, as pooling, a transposed convolution or two convolutions read it; only the last one of all goes into the
    last layer.

    Parameters
    ----------
    network : Network
        The copy is in evaluation mode.
    """
    folded = copy.deepcopy(network).eval()
    if not isinstance(folded, UNet):
        return folded
    fold = _fold_backwards if folded.config.order == "conv-norm-act" else _fold_forwards
    for blocks in (folded.encoder, folded.decoder):
        for position, block in enumerate(blocks):
            assert isinstance(block, nn.Sequential)
            blocks[position] = nn.Sequential(*fold(list(block)))
    last = folded.decoder[-1]
    assert isinstance(last, nn.Sequential)
    if isinstance(last[-1], nn.BatchNorm2d):
        # Nothing is padded for a convolution of size 1.
        folded.head, _ = _merged(last[-1], folded.head)
        del last[-1]
    return folded


class Border(nn.Module):
    """Takes back, at the border, what a 3x3 convolution's bias holds of an offset that was not padded.

    A convolution of ``x + offset``, padded with zeros, is one of ``x`` with a larger bias; but for the outermost
    pixels, where a part of the offset would lie on the padding.

    Parameters
    ----------
    taps : Tensor
        ``(C, 3, 3)``: what each place of the kernel makes of the offset.
    """

    def __init__(self, taps: Tensor) -> None:
        super().__init__()
        # Parameters, so that they go where the weights go.
        self.rows = nn.Parameter(taps[:, ::2].sum(dim=2).T[:, :, None], requires_grad=False)
        self.columns = nn.Parameter(taps[:, :, ::2].sum(dim=1).T[:, :, None], requires_grad=False)
        self.corners = nn.Parameter(taps[:, ::2, ::2].clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, changed in place."""
        for place, end in enumerate((0, -1)):
            x[:, :, end] -= self.rows[place]
            x[:, :, :, end] -= self.columns[place]
            # Taken off twice.
            x[:, :, end, 0] += self.corners[:, place, 0]
            x[:, :, end, -1] += self.corners[:, place, 1]
        return x


def _fold_backwards(block: list[nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for layer in block:
        if isinstance(layer, nn.BatchNorm2d) and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return layers


def _fold_forwards(block: list[nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for layer in block:
        if isinstance(layer, nn.Conv2d) and layers and isinstance(layers[-1], nn.BatchNorm2d):
            merged, taps = _merged(layers.pop(), layer)
            layers += [merged, Border(taps)]
        else:
            layers.append(layer)
    return layers


@torch.no_grad()
def _merged(norm: nn.Module, layer: nn.Conv2d) -> tuple[nn.Conv2d, Tensor]:
    """A convolution that does what a normalisation and it do; and what each place of its kernel makes of the offset."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # In double precision, so that the weights are rounded once.
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    offset = norm.bias.double() - norm.running_mean.double() * scale
    weight = layer.weight.double()
    taps = torch.einsum("oikl,i->okl", weight, offset)
    bias = taps.sum(dim=(1, 2)) + (0 if layer.bias is None else layer.bias.double())
    merged = copy.deepcopy(layer)
    merged.weight = nn.Parameter((weight * scale[:, None, None]).to(layer.weight.dtype))
    merged.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return merged, taps.to(layer.weight.dtype)
