import pytest
import torch

from napari_unet_seg.engine.config import DEFAULT_UNET, SEED_UNET, UNetConfig
from napari_unet_seg.engine.unet import UNet, count_parameters

SMALL = UNetConfig(features=(4, 8, 12), convolutions=(1, 2, 1))


def test_seed_network_has_the_published_number_of_parameters() -> None:
    assert count_parameters(UNet(SEED_UNET)) == 7_700_161


def test_default_network_fits_ten_megabytes() -> None:
    assert count_parameters(UNet(DEFAULT_UNET)) * 4 < 10e6


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (8, 100), (1, 1), (5, 3)])
def test_any_height_and_width(height: int, width: int) -> None:
    network = UNet(SMALL).eval()
    assert network(torch.randn(2, 3, height, width)).shape == (2, 1, height, width)


def test_context_and_classes_set_the_channels() -> None:
    network = UNet(UNetConfig(in_channels=2, context=1, classes=4, features=(4, 8), convolutions=(1, 1))).eval()
    assert network(torch.randn(1, 6, 16, 16)).shape == (1, 4, 16, 16)


@pytest.mark.parametrize("prior", [0.02, 0.7])
def test_an_untrained_network_says_about_its_prior(prior: float) -> None:
    torch.manual_seed(0)
    network = UNet(SMALL).eval()
    network.set_prior(prior)
    said = network(torch.randn(4, 3, 32, 32)).sigmoid()
    assert said.mean().item() == pytest.approx(prior, rel=0.2)


def test_order_decides_where_the_norm_stands() -> None:
    def kinds(order: str) -> list[str]:
        network = UNet(UNetConfig(features=(4, 8), convolutions=(1, 1), order=order))  # type: ignore[arg-type]
        return [type(layer).__name__ for layer in network.encoder[0]]

    assert kinds("conv-norm-act") == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds("conv-act-norm") == ["Conv2d", "ReLU", "BatchNorm2d"]


def test_padding_leaves_a_fitting_size_alone() -> None:
    network = UNet(SMALL).eval()
    image = torch.randn(1, 3, 30, 32)
    padded = torch.nn.functional.pad(image, (0, 0, 0, 2), mode="replicate")
    torch.testing.assert_close(network(image), network(padded)[..., :30, :])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": (8,), "convolutions": (1,)}, "at least two levels"),
        ({"convolutions": (1, 2)}, "a number for each"),
        ({"features": (0, 8, 8, 8)}, "must be positive"),
        ({"order": "norm-conv"}, "order must be"),
        ({"dropout": 1.0}, "dropout must be at least 0"),
        ({"context": -1}, "context not negative"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetConfig(**changes)  # type: ignore[arg-type]
