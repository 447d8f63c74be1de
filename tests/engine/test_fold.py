from dataclasses import replace

import pytest
import torch

from napari_unet_seg.engine.config import SEED_UNET, UNetConfig
from napari_unet_seg.engine.fold import Border, fold_batch_norm
from tests.engine.models import SMALL, small_network


def norms(network: torch.nn.Module) -> int:
    return sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_in_front_of_the_relu_all_are_folded() -> None:
    network = small_network()
    image = torch.randn(2, SMALL.input_channels, 16, 16)
    folded = fold_batch_norm(network)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (17, 5), (2, 2), (1, 1)])
@pytest.mark.parametrize(("convolutions", "left"), [((1, 1, 1), 2), ((2, 2, 2), 2), ((3, 1, 2), 2)])
def test_behind_the_relu_the_border_is_right_too(
    convolutions: tuple[int, ...], left: int, size: tuple[int, int]
) -> None:
    config = replace(SEED_UNET, features=(4, 8, 6), convolutions=convolutions)
    network, image = small_network(config), torch.randn(2, 3, *size)
    folded = fold_batch_norm(network)
    # Those that a transposed convolution reads.
    assert norms(folded) == left
    torch.testing.assert_close(folded(image), network(image), atol=1e-6, rtol=1e-5)


def test_the_network_itself_stays_as_it_is() -> None:
    network = small_network(replace(SEED_UNET, features=(4, 8), convolutions=(2, 2)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fold_batch_norm(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_pooling_stays_behind_a_normalisation_that_turns_a_sign() -> None:
    network = small_network(replace(SEED_UNET, features=(4, 8, 6), convolutions=(1, 2, 1)))
    turned = network.encoder[1][-1]
    with torch.no_grad():
        turned.weight[0] *= -1
    folded, image = fold_batch_norm(network), torch.randn(2, 3, 16, 16)
    assert norms(folded) == 3
    assert isinstance(folded.encoder[1][-1], torch.nn.BatchNorm2d)
    torch.testing.assert_close(folded(image), network(image), atol=1e-6, rtol=1e-5)


def test_a_normalisation_that_gives_a_constant_is_folded() -> None:
    network = small_network(UNetConfig(features=(4, 8), convolutions=(2, 2), order="conv-act-norm"))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight[1] = 0
                module.weight[2] *= -1
    image = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(fold_batch_norm(network)(image), network(image), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(5, 4), (1, 3), (2, 1), (1, 1)])
def test_the_border_is_what_the_padding_takes(size: tuple[int, int]) -> None:
    weight, offset = torch.randn(3, 2, 3, 3), torch.randn(2)
    expected = torch.nn.functional.conv2d(offset[None, :, None, None].expand(1, 2, *size), weight, padding=1)
    taps = torch.einsum("oikl,i->okl", weight, offset)
    everywhere = taps.sum(dim=(1, 2))[None, :, None, None].repeat(1, 1, *size)
    torch.testing.assert_close(Border(taps)(everywhere), expected, atol=1e-5, rtol=1e-5)
