from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.normalise import unit_statistics
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.whole_slices import resized_image, resized_target

CONFIG = UNetConfig(in_channels=1, features=(4, 8), convolutions=(1, 1))


class Watched(Network):
    """Remembers what it is shown, and says how bright the first channel is."""

    def __init__(self) -> None:
        super().__init__(CONFIG)
        self.seen: list[Tensor] = []

    def logits(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return (x[:, :1] - 0.5) * 20


def seen_by_segmenter(volume: Volume, *, resize: tuple[int, int], normalisation: str = "unit"):
    described = Description(
        name="m", network=CONFIG, channel_names=("flair",), resize=resize, normalisation=normalisation
    )
    model = Segmenter(Watched(), described, device="cpu")
    model._precision = torch.float32
    model._network = Watched()
    return model.predict(volume), torch.cat(model._network.seen)


def volume_of(data: np.ndarray, **changes: object) -> Volume:
    return Volume(data=data, channel_names=("flair",), **changes)  # type: ignore[arg-type]


def labelled(volume: Volume, mask: np.ndarray | None = None, soft: np.ndarray | None = None) -> LabelledVolume:
    depth = volume.shape[0]
    mask = np.zeros(volume.shape, np.uint8) if mask is None else mask
    return LabelledVolume(volume=volume, mask=mask, labelled=np.ones(depth, bool), soft=soft)


def store(*cases: LabelledVolume, resize: tuple[int, int] | None, normalisation: str = "unit") -> SliceStore:
    return SliceStore(cases, device=torch.device("cpu"), resize=resize, normalisation=normalisation)  # type: ignore[arg-type]


def test_bytes_are_divided_by_255_and_other_types_by_their_own_range() -> None:
    np.testing.assert_array_equal(unit_statistics(np.full((2, 1, 4, 4), 7, np.uint8)), [[0, 255], [0, 255]])
    data = np.zeros((2, 1, 2, 2), np.int16)
    data[0].flat, data[1] = [-100, 0, 100, 300], 9
    np.testing.assert_array_equal(unit_statistics(data), [[-100, 400], [9, 1]])
    assert unit_statistics(data).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_the_store_brings_intensities_to_the_unit_range(dtype: str) -> None:
    data = np.linspace(0, 250, 2 * 64).reshape(1, 2, 8, 8).astype(dtype)
    image, _, _ = store(labelled(volume_of(data)), resize=None).batch(torch.tensor([0, 1]), context=0)
    expected = data[0] / (255 if dtype == "uint8" else 250)
    np.testing.assert_allclose(image[:, 0, 0], expected, atol=1e-3)


def test_the_middle_of_a_resized_slice_stays_its_middle() -> None:
    data = np.zeros((1, 1, 12, 16), np.uint8)
    data[0, 0, 4:8, 4:12] = 200
    small = resized_image(data, (6, 8))
    assert small.dtype == np.uint8
    np.testing.assert_array_equal(small[0, 0, :, 4] > 100, [False, False, True, True, False, False])
    assert resized_image(data, (12, 16)) is data
    assert resized_image(data, None) is data


def test_masks_stay_masks_and_probabilities_stay_probabilities() -> None:
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, 2:6, 2:6] = 3
    small = resized_target(mask, (4, 4), soft=False)
    np.testing.assert_array_equal(small[0], [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(resized_target(np.full((1, 8, 8), 100, np.uint8), (5, 12), soft=True), 100)


def test_scans_of_several_sizes_fill_the_store_s_slices() -> None:
    cases = []
    for size in (24, 40):
        mask = np.zeros((2, size, size + 8), np.uint8)
        mask[:, size // 2 :] = 1
        cases.append(labelled(volume_of(np.full((1, 2, size, size + 8), 51, np.uint8)), mask))
    images, masks, _ = store(*cases, resize=(16, 20)).batch(torch.arange(4), context=0)
    assert images.shape == (4, 1, 1, 16, 20)
    torch.testing.assert_close(images, torch.full_like(images, 0.2))
    torch.testing.assert_close(masks[:, 0].mean(dim=(1, 2)), torch.full((4,), 0.5))
    np.testing.assert_array_equal(masks[:, 0, :, 0], [[0] * 8 + [1] * 8] * 4)


@pytest.mark.parametrize("normalisation", ["unit", "head-zscore"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(40, 40), (24, 32)])
def test_training_and_prediction_show_the_network_the_same(
    normalisation: str, dtype: str, size: tuple[int, int]
) -> None:
    data = make_phantom(slices=3, size=40)[0].data[1:2].astype(dtype)
    volume = volume_of(data, spacing=(3.0, 0.4, 0.4))
    _, shown = seen_by_segmenter(volume, resize=size, normalisation=normalisation)
    trained, _, _ = store(labelled(volume), resize=size, normalisation=normalisation).batch(torch.arange(3), context=0)
    assert shown.shape == (3, 1, *size)
    # Bytes are rounded after the resizing: half a grey level is 0.022 of the head's standard deviation.
    np.testing.assert_allclose(trained[:, 0].clamp(-5, 5), shown, atol=0.025)


def test_predictions_come_back_on_the_scan_s_own_grid() -> None:
    data = np.zeros((1, 2, 60, 90), np.uint8)
    data[0, 0, 12:30, 60:84] = 255
    probability, shown = seen_by_segmenter(volume_of(data), resize=(32, 32))
    assert shown.shape == (2, 1, 32, 32)
    assert probability.shape == (2, 60, 90)
    found = probability[0] > 0.5
    assert np.count_nonzero(found ^ (data[0, 0] > 0)) < 0.12 * np.count_nonzero(data)
    assert not (probability[1] > 0.5).any()


def test_a_resized_slice_is_shown_whole_whatever_its_pixel_size() -> None:
    volume = make_phantom(slices=2, size=40)[0]
    volume = volume_of(np.pad(volume.data[1:2], ((0, 0), (0, 0), (50, 10), (40, 20))))
    fine = replace(volume, spacing=(3.0, 0.2, 0.2))
    for scan in (volume, fine):
        assert seen_by_segmenter(scan, resize=(50, 50))[1].shape == (2, 1, 50, 50)
    torch.testing.assert_close(
        seen_by_segmenter(volume, resize=(50, 50))[1], seen_by_segmenter(fine, resize=(50, 50))[1]
    )


@pytest.mark.parametrize("resize", [(4, 64), (64,)])
def test_sizes_that_make_no_sense(resize: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="resize must be"):
        Description(name="m", network=CONFIG, channel_names=("flair",), resize=resize)  # type: ignore[arg-type]
