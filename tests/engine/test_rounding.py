import copy

import pytest
import torch
from torch import nn

from napari_unet_seg.engine.rounding import round_weights, rounded_to_cancel


def test_each_weight_is_one_of_the_two_numbers_around_it() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 200) * torch.logspace(-6, 2, 16)[:, None]
    weight[:, :5] = 0
    rounded = rounded_to_cancel(weight, torch.zeros(16))
    assert torch.equal(rounded.bfloat16().float(), rounded)
    assert torch.equal(rounded[:, :5], weight[:, :5])
    # A number of bfloat16 and the next one lie less than 1/128 of it apart.
    assert ((rounded - weight).abs() <= weight.abs() / 128).all()
    assert (rounded.sign() == weight.sign()).all()


def test_errors_cancel() -> None:
    torch.manual_seed(0)
    weight, error = torch.randn(32, 9 * 24) / 10, torch.randn(32) / 1000
    nearest = weight.bfloat16().float()
    rounded = rounded_to_cancel(weight, error)
    before, after = ((error + (weight - each).sum(dim=1)).abs() for each in (nearest, rounded))
    # At most half of the distance between two numbers of the size of the largest weights.
    assert weight.abs().max() < 0.5
    assert after.max() <= 1 / 1024
    assert after.mean() < before.mean() / 8
    # Those that were flipped lay nearly half-way, so that each alone errs little more than before.
    assert (weight - rounded).pow(2).mean() < 1.2 * (weight - nearest).pow(2).mean()


def test_where_there_is_nothing_to_round() -> None:
    weight = torch.randn(4, 6).bfloat16().float()
    assert torch.equal(rounded_to_cancel(weight, torch.full((4,), 0.1)), weight)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(24, 16, kernel_size=3, padding=1), nn.ConvTranspose2d(24, 16, kernel_size=2, stride=2)],
    ids=["convolution", "transposed"],
)
@torch.inference_mode()
def test_what_positive_inputs_move(layer: nn.Module) -> None:
    torch.manual_seed(0)
    layer.reset_parameters()
    expected = layer(torch.ones(1, 24, 8, 8))[..., 1:-1, 1:-1]

    def moved(other: nn.Module) -> float:
        other.bias.copy_(layer.bias.bfloat16())
        return float((other(torch.ones(1, 24, 8, 8))[..., 1:-1, 1:-1] - expected).abs().mean())

    nearest, cancelling = copy.deepcopy(layer), copy.deepcopy(layer)
    nearest.weight.copy_(layer.weight.bfloat16())
    round_weights(cancelling)
    assert torch.equal(cancelling.bias, layer.bias)
    assert torch.equal(cancelling.weight.bfloat16().float(), cancelling.weight)
    assert moved(cancelling) < moved(nearest) / 3


def test_a_transposed_convolution_in_groups_is_left_alone() -> None:
    layer = nn.ConvTranspose2d(4, 8, kernel_size=2, stride=2, groups=2)
    before = layer.weight.clone()
    round_weights(layer)
    assert torch.equal(layer.weight, before)
