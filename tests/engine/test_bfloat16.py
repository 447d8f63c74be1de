import copy

import pytest
import torch
from torch import nn

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.bfloat16 import (
    PositivePool,
    SignBitReLU,
    SplitConvolution,
    compare_as_integers,
    in_bfloat16,
)
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.fold import fold_batch_norm
from napari_unet_seg.engine.segmenter import Segmenter
from tests.engine.models import small_network


def every_number() -> torch.Tensor:
    """All of bfloat16 but NaN."""
    numbers = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    return numbers[~numbers.isnan()]


def test_relu_of_every_number() -> None:
    numbers = every_number()
    expected = numbers.float().relu()
    assert torch.equal(SignBitReLU()(numbers.clone()).float(), expected)
    assert numbers.isinf().sum() == 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_largest_of_four(layout: torch.memory_format) -> None:
    x = torch.randn(2, 5, 8, 12).relu().bfloat16().contiguous(memory_format=layout)
    found = PositivePool()(x)
    assert torch.equal(found, nn.functional.max_pool2d(x, 2))
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("order", ["conv-norm-act", "conv-act-norm"])
def test_a_network_says_the_same_to_the_last_bit(order: str) -> None:
    network = small_network(UNetConfig(features=(8, 16, 16), convolutions=(2, 2, 1), order=order))
    x = torch.randn(2, network.config.input_channels, 21, 32).bfloat16()
    with torch.inference_mode():
        plain = fold_batch_norm(network).bfloat16()
        expected = plain(x)
        changed = fold_batch_norm(network).bfloat16()
        compare_as_integers(changed)
        assert torch.equal(changed(x), expected)
    kinds = [type(module) for module in changed.modules()]
    assert nn.ReLU not in kinds
    assert isinstance(changed.pool, PositivePool)
    assert set(changed.state_dict()) == set(plain.state_dict())


def test_behind_a_normalisation_there_are_negative_numbers() -> None:
    network = small_network(UNetConfig(features=(8, 16), convolutions=(1, 1), order="conv-act-norm"))
    with torch.no_grad():
        # Not folded then.
        network.encoder[0][-1].weight[0] *= -1
    folded = fold_batch_norm(network)
    compare_as_integers(folded)
    assert isinstance(folded.pool, nn.MaxPool2d)


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_two_halves(bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 8, kernel_size=3, padding=1, bias=bias)
    rounded = copy.deepcopy(plain).bfloat16()
    with torch.inference_mode():
        x = torch.randn(2, 3, 16, 24).bfloat16()
        expected = plain(x.float())
        # Equal but for one rounding of the result.
        torch.testing.assert_close(SplitConvolution(plain)(x).float(), expected, rtol=1 / 256, atol=1e-5)
        assert (rounded(x).float() - expected).abs().mean() > (expected.bfloat16().float() - expected).abs().mean()
    assert plain.weight.shape == (8, 3, 3, 3)


@pytest.mark.parametrize("order", ["conv-norm-act", "conv-act-norm"])
def test_all_of_a_network_is_bfloat16(order: str) -> None:
    network = small_network(UNetConfig(features=(8, 16), convolutions=(1, 2), order=order))
    changed = in_bfloat16(fold_batch_norm(network), on_processor=True)
    assert isinstance(changed.encoder[0][0], SplitConvolution)
    assert {value.dtype for value in changed.parameters()} == {torch.bfloat16}
    x = torch.randn(2, network.config.input_channels, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(changed(x.bfloat16()).float(), network(x), rtol=0.02, atol=0.02)


def test_bfloat16_on_a_processor_alone() -> None:
    network, volume = small_network(), make_phantom(slices=2, size=40)[0]
    described = Description(name="m", network=network.config)
    for precision, expected in ((torch.bfloat16, True), (torch.float32, False)):
        segmenter = Segmenter(network, described, device="cpu", precision=precision)
        assert any(isinstance(module, PositivePool) for module in segmenter._network.modules()) == expected
        assert segmenter.predict(volume).shape == volume.shape
    assert not any(isinstance(module, SignBitReLU) for module in network.modules())
