import builtins
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, save_checkpoint
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.unet import UNet, count_parameters
from napari_unet_seg.errors import InputError

ATTENTION = UNetConfig(architecture="attention-unet", features=(4, 8, 16), convolutions=(2, 2, 2))
DEEPLAB = UNetConfig(architecture="deeplabv3plus", context=1)
pytestmark = pytest.mark.usefixtures("one_thread", "no_window")


@pytest.fixture
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the command line, whatever other tests have loaded."""
    monkeypatch.delitem(sys.modules, "napari._qt", raising=False)


def _installed() -> bool:
    return importlib.util.find_spec("segmentation_models_pytorch") is not None


def test_ours_is_the_one_of_old_descriptions() -> None:
    assert isinstance(build_network(UNetConfig(features=(4, 8), convolutions=(1, 1))), UNet)


def test_the_attention_unet_takes_any_size_context_and_classes() -> None:
    config = UNetConfig(
        architecture="attention-unet", context=1, classes=2, features=(4, 8, 16), convolutions=(2, 2, 2), dropout=0.1
    )
    network = build_network(config).eval()
    assert network.config == config
    assert network(torch.zeros(2, 9, 37, 50)).shape == (2, 2, 37, 50)
    wider = build_network(UNetConfig(architecture="attention-unet", features=(8, 16, 32), convolutions=(2, 2, 2)))
    assert count_parameters(wider) > count_parameters(network)


@pytest.mark.skipif(not _installed(), reason="segmentation-models-pytorch is an extra")
def test_deeplab_takes_any_size_and_context() -> None:
    network = build_network(DEEPLAB).eval()
    assert network.config == DEEPLAB
    assert count_parameters(network) == 22_456_273
    assert network(torch.zeros(1, 9, 37, 50)).shape == (1, 1, 37, 50)


@pytest.mark.parametrize(
    "config",
    [
        ATTENTION,
        pytest.param(DEEPLAB, marks=pytest.mark.skipif(not _installed(), reason="an extra")),
    ],
    ids=lambda config: config.architecture,
)
def test_a_foreign_network_is_saved_loaded_and_predicts(tmp_path: Path, config: UNetConfig) -> None:
    torch.manual_seed(0)
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, build_network(config), Description(name="m", network=config))
    network, description = load_checkpoint(path)
    assert description.network == config
    volume = make_phantom(slices=2, size=40)[0]
    probability = Segmenter(network, description, device="cpu").predict(volume)
    assert probability.shape == volume.shape
    assert np.ptp(probability) > 0


def test_deeplab_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"pip install \"napari-unet-seg\[deeplab\]\"") as caught:
        build_network(DEEPLAB)
    assert "\n" not in str(caught.value)


def test_a_torchvision_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> ModuleType:
        raise RuntimeError("operator torchvision::roi_align does not exist\nand more")

    monkeypatch.setattr("napari_unet_seg.engine.networks.importlib.import_module", broken)
    with pytest.raises(InputError, match="the torchvision that belongs to the installed torch") as caught:
        build_network(DEEPLAB)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [ATTENTION, DEEPLAB], ids=lambda config: config.architecture)
def test_beside_a_window_foreign_networks_are_refused_and_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: UNetConfig
) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, build_network(ATTENTION), Description(name="m", network=config))
    monkeypatch.setitem(sys.modules, "napari._qt", ModuleType("napari._qt"))
    asked: list[str] = []
    plain = builtins.__import__

    def watch(name: str, *rest: Any, **named: Any) -> Any:
        asked.append(name.partition(".")[0])
        return plain(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", watch)
    with pytest.raises(InputError, match=rf"m\.safetensors: its network \({config.architecture}\) does not run beside"):
        load_checkpoint(path)
    assert not {"monai", "segmentation_models_pytorch", "torchvision"} & set(asked)
    assert isinstance(build_network(UNetConfig(features=(4, 8), convolutions=(1, 1))), UNet)


def test_unknown_architectures_are_refused() -> None:
    with pytest.raises(ValueError, match="architecture must be one of"):
        UNetConfig(architecture="transformer")  # type: ignore[arg-type]
