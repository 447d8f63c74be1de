"""A network of packed convolutions says what the same network says by PyTorch's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from napari_unet_seg.engine import onednn, paired_convolution
from napari_unet_seg.engine.bfloat16 import SignBitReLU, in_bfloat16
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.fold import fold_batch_norm
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.onednn import JoiningConvolution, PackedSplit, pack_convolutions
from napari_unet_seg.engine.packed_layers import PackedConvolution
from napari_unet_seg.engine.paired_convolution import PairedConvolution, is_of_few_outputs, pairs_are_quicker
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.unet import to_channels_last
from tests.engine.models import small_network

pytestmark = pytest.mark.skipif(
    not onednn.can_pack(torch.float32), reason="this PyTorch, or this processor, has no such operators"
)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    for known in (onednn.can_pack, pairs_are_quicker):
        known.cache_clear()
    yield
    for known in (onednn.can_pack, pairs_are_quicker):
        known.cache_clear()


def prepared(config: UNetConfig, precision: torch.dtype) -> tuple[Network, Network]:
    """A network as it predicts, and the same packed."""
    network = fold_batch_norm(small_network(config)).requires_grad_(False)
    if precision == torch.bfloat16:
        network = in_bfloat16(network, on_processor=True)
    network = to_channels_last(network)
    return network, pack_convolutions(copy.deepcopy(network))


@pytest.mark.parametrize("order", ["conv-norm-act", "conv-act-norm"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("convolutions", [(1, 1, 1), (2, 2, 2), (3, 1, 2)])
def test_it_says_the_same(order: str, precision: torch.dtype, convolutions: tuple[int, ...]) -> None:
    plain, packed = prepared(UNetConfig(features=(8, 16, 12), convolutions=convolutions, order=order), precision)
    assert any(isinstance(layer, PackedConvolution) for layer in packed.modules())
    assert not any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in packed.modules())
    tolerance = 0.03 if precision == torch.bfloat16 else 1e-5
    # Of one size after another, and of one that has to be padded.
    for size in ((2, 3, 16, 24), (1, 3, 32, 16), (5, 3, 16, 24), (1, 3, 21, 9)):
        x = torch.randn(size).to(precision)
        with torch.inference_mode():
            torch.testing.assert_close(packed(x), plain(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("context", "split"), [(0, False), (1, True)])
def test_the_first_convolution_of_many_channels_reads_twice(context: int, split: bool) -> None:
    config = UNetConfig(features=(8, 16), convolutions=(2, 1), context=context)
    plain, packed = prepared(config, torch.bfloat16)
    assert any(isinstance(layer, PackedSplit) for layer in packed.modules()) == split
    x = torch.randn(2, config.input_channels, 16, 24).bfloat16()
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_pairs_of_pixels_are_the_pixels(precision: torch.dtype, *, relu: bool, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 6, 3, padding=1, bias=bias).to(precision)
    x, before = (torch.randn(2, channels, 7, 10).to(precision) for channels in (5, 6))
    x, before = (each.contiguous(memory_format=torch.channels_last) for each in (x, before))
    paired = PairedConvolution(plain, relu=relu)
    tolerance = 0.02 if precision == torch.bfloat16 else 1e-5
    with torch.inference_mode():
        for onto, expected in ((None, plain(x)), (before.clone(), plain(x) + before)):
            found = paired(x, onto=onto)
            assert found.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found, expected.relu() if relu else expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_pairs_follow_a_single_channel(precision: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of one channel, PyTorch does not tell whether it comes last.
    monkeypatch.setattr(paired_convolution, "_seconds", lambda way, x: isinstance(way, PackedConvolution))
    config = UNetConfig(in_channels=1, features=(8, 16), convolutions=(2, 1))
    plain, packed = prepared(config, precision)
    tolerance = 0.03 if precision == torch.bfloat16 else 1e-5
    x = torch.randn(2, 1, 16, 24).to(precision)
    with torch.inference_mode():
        torch.testing.assert_close(packed(x), plain(x), rtol=tolerance, atol=tolerance)
    assert any(isinstance(layer, PairedConvolution) for layer in packed.modules())


@pytest.mark.parametrize("quicker", [True, False])
def test_the_quicker_way_is_taken(monkeypatch: pytest.MonkeyPatch, *, quicker: bool) -> None:
    timed: list[type] = []

    def seconds(way: nn.Module, x: torch.Tensor) -> float:
        timed.append(type(way))
        return 1.0 if isinstance(way, PairedConvolution) == quicker else 2.0

    monkeypatch.setattr(paired_convolution, "_seconds", seconds)
    config = UNetConfig(features=(8, 16), convolutions=(2, 1))
    for _ in range(2):
        _, packed = prepared(config, torch.float32)
        assert any(isinstance(layer, PairedConvolution) for layer in packed.modules()) == quicker
    # Of 3 inputs, and of 8: once each, for however many networks.
    assert timed == 2 * [PairedConvolution, PackedConvolution]


@pytest.mark.parametrize("inputs", [1, 2, 9])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6])
def test_narrow_and_odd_slices_in_pairs(inputs: int, width: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(inputs, 8, 3, padding=1)
    paired = PairedConvolution(plain)
    with torch.inference_mode():
        for height in (1, 2, 5):
            x = torch.randn(2, inputs, height, width).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(paired(x), plain(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "few"),
    [({}, True), ({"out_channels": 9}, False), ({"kernel_size": 1, "padding": 0}, False), ({"dilation": 2}, False)],
)
def test_which_convolutions_have_few_outputs(told: dict[str, int], *, few: bool) -> None:
    settings = {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "padding": 1} | told
    assert is_of_few_outputs(nn.Conv2d(**settings)) == few


def test_relus_are_taken_in() -> None:
    _, packed = prepared(UNetConfig(features=(8, 16), convolutions=(2, 2), order="conv-norm-act"), torch.float32)
    assert not any(isinstance(layer, nn.ReLU) for layer in packed.modules())
    # A border has to be put right before them.
    _, packed = prepared(UNetConfig(features=(8, 16), convolutions=(2, 2), order="conv-act-norm"), torch.bfloat16)
    assert sum(isinstance(layer, SignBitReLU) for layer in packed.modules()) == 4


def test_the_two_inputs_are_told_apart() -> None:
    torch.manual_seed(0)
    both = nn.Conv2d(5, 4, 3, padding=1)
    above, beside = torch.randn(1, 2, 8, 8), torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        found = JoiningConvolution(both, upsampled=2, border=None)((above, beside))
        torch.testing.assert_close(found, both(torch.cat([above, beside], dim=1)).relu(), atol=1e-5, rtol=1e-5)


def test_threads_beside_each_other_and_sizes_in_turn() -> None:
    plain, packed = prepared(UNetConfig(features=(8, 16), convolutions=(1, 1)), torch.float32)
    inputs = [torch.randn(1, 3, 16, 16 + 2 * (index % 3)) for index in range(24)]
    with torch.inference_mode():
        expected = [plain(x) for x in inputs]

    @torch.inference_mode()
    def ask(x: torch.Tensor) -> torch.Tensor:
        return packed(x)

    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(ask, inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", ["absent", "wrong", "called otherwise"])
def test_without_the_operators_nothing_is_changed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(self: PackedConvolution, x: torch.Tensor, **told: object) -> torch.Tensor:
        if fault == "absent":
            return torch.ops.mkldnn._no_such_operator(x)
        if fault == "called otherwise":
            raise RuntimeError("expected at most 7 arguments")
        return x[:, :1].expand(-1, 8, -1, -1)

    monkeypatch.setattr(PackedConvolution, "forward", other)
    plain, packed = prepared(UNetConfig(features=(8, 16), convolutions=(1, 1)), torch.float32)
    assert [type(layer) for layer in packed.modules()] == [type(layer) for layer in plain.modules()]


@pytest.mark.parametrize(
    "ask", [lambda: onednn.can_pack(torch.bfloat16), lambda: pairs_are_quicker(torch.float32, 2, 4)]
)
def test_asking_draws_no_random_numbers(ask: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    draw, during = torch.randn, []

    def watched(*size: int, **options: Any) -> torch.Tensor:
        during.append(torch.get_rng_state())
        return draw(*size, **options)

    monkeypatch.setattr(torch, "randn", watched)
    before = torch.get_rng_state()
    ask()
    # Nor for a moment: another thread may draw then.
    assert during
    assert all(torch.equal(state, before) for state in (*during, torch.get_rng_state()))


def test_a_segmenter_on_a_processor_uses_them() -> None:
    network = small_network()
    segmenter = Segmenter(network, Description(name="m", network=network.config), device="cpu")
    assert any(isinstance(layer, PackedConvolution) for layer in segmenter._network.modules())
    # What it was given can be trained on.
    assert not any(isinstance(layer, PackedConvolution) for layer in network.modules())


def test_a_copy_of_a_network_that_has_predicted() -> None:
    _, packed = prepared(UNetConfig(features=(8, 16), convolutions=(1, 1)), torch.float32)
    x = torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        expected = packed(x)
        assert torch.equal(copy.deepcopy(packed)(x), expected)
