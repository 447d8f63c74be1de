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
    convolution after it; what the padding changes is put right at the border (`Border`). At the end of a block of the
    encoder these are two: one behind the pooling, which takes the same pixels before a normalisation as after it if
    that turns no sign, and one of the decoder. What a transposed convolution reads stays normalised before it, but for
    the last layer.

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
        folded.head, _ = _merged(*_scale_and_offset(last[-1]), folded.head)
        del last[-1]
    for level, block in enumerate(folded.encoder[:-1]):
        assert isinstance(block, nn.Sequential)
        if isinstance(block[-1], nn.BatchNorm2d):
            _fold_into_readers(folded, level, block)
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
        # Parameters, so that they go where the weights go. What the padding takes from the upper and the lower row,
        # from the left and the right column, and what the corners, which lie in both, have lost but once.
        self.rows = nn.Parameter(taps[:, ::2].sum(dim=2)[:, :, None], requires_grad=False)
        self.columns = nn.Parameter(taps[:, :, ::2].sum(dim=1)[:, None], requires_grad=False)
        self.corners = nn.Parameter(taps[:, ::2, ::2].clone(), requires_grad=False)
        self._rows: tuple[tuple[int, torch.dtype, torch.device], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``, changed in place."""
        height, width = x.shape[2:]
        if min(height, width) < 2:
            return self._forward_of_line(x)
        # Two passes, each of both ends, as each costs more than what it computes: the corners are the rows'. An
        # assignment (-=) would copy the result once more onto itself.
        x[:, :, :: height - 1].sub_(self._whole_rows(x))
        x[:, :, 1:-1, :: width - 1].sub_(self.columns)
        return x

    def _whole_rows(self, x: Tensor) -> Tensor:
        """``(C, 2, X)``: what is taken from both rows, their corners included."""
        known = x.shape[3], x.dtype, x.device
        # Threads side by side may both make it: each goes on with its own.
        rows = self._rows
        if rows is None or rows[0] != known:
            whole = self.rows.expand(-1, -1, x.shape[3]).clone()
            whole[:, :, :: x.shape[3] - 1] += self.columns - self.corners
            rows = self._rows = known, whole.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        return rows[1]

    def _forward_of_line(self, x: Tensor) -> Tensor:
        """As `forward`, of an image whose first row, or column, is its last one too."""
        for place, end in enumerate((0, -1)):
            x[:, :, end] -= self.rows[:, place]
            x[:, :, :, end] -= self.columns[:, :, place]
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
            merged, taps = _merged(*_scale_and_offset(layers.pop()), layer)
            layers += [merged, Border(taps)]
        else:
            layers.append(layer)
    return layers


def _fold_into_readers(network: UNet, level: int, block: nn.Sequential) -> None:
    """Move the normalisation at the end of an encoder's block into both convolutions that read it."""
    scale, offset = _scale_and_offset(block[-1])
    if (scale < 0).any():
        return
    below, beside = network.encoder[level + 1], network.decoder[len(network.decoder) - 1 - level]
    assert isinstance(below, nn.Sequential)
    assert isinstance(beside, nn.Sequential)
    # The decoder reads as many channels from below, which stay as they are, in front of these.
    both = torch.cat([torch.ones_like(scale), scale]), torch.cat([torch.zeros_like(offset), offset])
    for reader, change in ((below, (scale, offset)), (beside, both)):
        assert isinstance(reader[0], nn.Conv2d)
        merged, taps = _merged(*change, reader[0])
        reader[0] = merged
        reader.insert(1, Border(taps))
    del block[-1]


def _scale_and_offset(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a normalisation multiplies each channel by, and adds then; in double precision, so as to round once."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


@torch.no_grad()
def _merged(scale: Tensor, offset: Tensor, layer: nn.Conv2d) -> tuple[nn.Conv2d, Tensor]:
    """A convolution that does what a normalisation and it do; and what each place of its kernel makes of the offset."""
    weight = layer.weight.double()
    taps = torch.einsum("oikl,i->okl", weight, offset)
    bias = taps.sum(dim=(1, 2)) + (0 if layer.bias is None else layer.bias.double())
    merged = copy.deepcopy(layer)
    merged.weight = nn.Parameter((weight * scale[:, None, None]).to(layer.weight.dtype))
    merged.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return merged, taps.to(layer.weight.dtype)
