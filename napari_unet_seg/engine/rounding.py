"""Weights in bfloat16 whose errors cancel in each output.

Rounded to the nearest number each, the weights of one output together err to one side by chance. Behind a ReLU no input
is negative, so its value moves to that side at every pixel, and all probabilities with it. Here the errors of each
output's weights and of its bias add up to nearly nothing, so that inputs that are all 1 move nothing: of the weights
that lie almost half-way between two numbers, as many are rounded to the other one as it takes. (In the spirit of the
bias correction of Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction"; biases
in bfloat16 are too coarse for it.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MOST_FLIPPED = 256
"""Weights of one output that may be rounded to the farther number; some tens are needed."""


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Round the weights of convolutions to numbers that bfloat16 has, in place; they stay in float32.

    Those of a transposed convolution in groups are left as they are.

    Parameters
    ----------
    network : nn.Module
        In float32; its biases are left as they are, and are taken to be rounded to the nearest number later.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d) and module.groups == 1:
            # (inputs, outputs, Y, X): with a stride, each place of the kernel makes a pixel of its own.
            weight = module.weight.permute(1, 2, 3, 0)
            error = _bias_lost(module)[:, None, None].expand(weight.shape[:3])
            rounded = rounded_to_cancel(weight.flatten(0, 2), error.flatten()).view(weight.shape)
            module.weight.copy_(rounded.permute(3, 0, 1, 2))
        elif isinstance(module, nn.Conv2d):
            rounded = rounded_to_cancel(module.weight.flatten(1), _bias_lost(module))
            module.weight.copy_(rounded.view(module.weight.shape))


def lost_in_bfloat16(number: Tensor) -> Tensor:
    """What rounding float32 to the nearest number of bfloat16 takes away; any shape."""
    return number - number.bfloat16().float()


def bias_of(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """``(outputs,)``: the bias of a convolution, 0 where it has none."""
    if convolution.bias is None:
        return convolution.weight.new_zeros(convolution.out_channels)
    return convolution.bias.detach()


def _bias_lost(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    return lost_in_bfloat16(bias_of(convolution))


def rounded_to_cancel(weight: Tensor, error: Tensor) -> Tensor:
    """Weights as bfloat16 has them, the sums of whose errors are nearly the negative of other errors.

    Parameters
    ----------
    weight : Tensor
        ``(outputs, inputs)`` float32.
    error : Tensor
        ``(outputs,)``: what each output lacks apart from its weights.

    Returns
    -------
    Tensor
        ``(outputs, inputs)`` float32: each weight rounded to one of the two numbers around it.
    """
    nearest, lost = weight.bfloat16(), lost_in_bfloat16(weight)
    # The bits of a number, read as an integer, count its size: the neighbours are one more and one less.
    step = torch.where(weight.abs() > nearest.float().abs(), 1, -1).to(torch.int16)
    farther = (nearest.view(torch.int16) + step).view(torch.bfloat16).float()
    nearest = nearest.float()
    change = farther - nearest
    missing = error + lost.sum(dim=1)
    # How much more a weight loses by being rounded to the farther number, in parts of the distance of the two.
    price = (change - 2 * lost).abs() / change.abs().clamp_min(torch.finfo(torch.float32).tiny)
    price = torch.where((change * missing[:, None] > 0) & (lost != 0), price, torch.inf)
    cheapest, place = price.topk(min(_MOST_FLIPPED, weight.shape[1]), dim=1, largest=False)
    gained = torch.where(cheapest.isfinite(), change.gather(1, place), 0)
    # After none, one, two … of them.
    after = torch.cat([missing[:, None], missing[:, None] - gained.cumsum(dim=1)], dim=1)
    count = after.abs().argmin(dim=1, keepdim=True)
    flipped = (torch.arange(place.shape[1], device=weight.device) < count) & cheapest.isfinite()
    chosen = torch.where(flipped, farther.gather(1, place), nearest.gather(1, place))
    return nearest.scatter(1, place, chosen)
