from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.normalise import channel_statistics
from napari_unet_seg.engine.prepared_case import PreparedCase, prepare
from napari_unet_seg.engine.prepared_scan import prepare_scan
from napari_unet_seg.engine.samples import LabelledVolume
from napari_unet_seg.engine.working_grid import to_working_grid, working_factor
from napari_unet_seg.errors import InputError
from tests.engine.models import SMALL


def test_a_scan_at_the_working_size_is_left_alone() -> None:
    volume, mask = make_phantom(slices=3, size=48)
    target = mask.astype(np.float32)
    assert to_working_grid(volume, target) == (volume, target)


def test_a_fine_scan_is_halved_with_its_target() -> None:
    volume, mask = make_phantom(slices=3, size=96)
    fine = replace(volume, spacing=(3.0, 0.5, 0.5), spacing_known=True)
    resized, target = to_working_grid(fine, (mask > 0).astype(np.float32))
    assert (resized.shape, target.shape) == ((3, 48, 48), (3, 48, 48))
    assert resized.spacing == (3.0, 1.0, 1.0)
    assert abs(target.sum() * 4 - (mask > 0).sum()) < 0.05 * (mask > 0).sum()
    assert 0 <= target.min() <= target.max() <= 1


def prepared_for_training(volume: Volume) -> PreparedCase:
    """As a round of retraining does."""
    resized, target = to_working_grid(volume, np.zeros(volume.shape, np.float32))
    mask, labelled = np.zeros(target.shape, np.uint8), np.ones(len(target), bool)
    return prepare(LabelledVolume(volume=resized, mask=mask, labelled=labelled, soft=target))


def noisy(**changes: object) -> Volume:
    volume, _ = make_phantom(slices=3, size=128)
    noise = np.random.default_rng(0).normal(0, 15, volume.data.shape)
    return replace(volume, data=np.abs(volume.data + noise).clip(0, 255).astype(np.uint8), **changes)


def test_training_measures_a_fine_scan_as_prediction_does() -> None:
    fine = noisy(spacing=(3.0, 0.5, 0.5), spacing_known=True)
    predicted = prepare_scan(fine, Description(name="m", network=SMALL)).statistics
    trained = prepared_for_training(fine)
    assert trained.pixels.shape[2:] == (64, 64)
    np.testing.assert_array_equal(trained.table.statistics, predicted)


@pytest.mark.parametrize("changes", [{"spacing_known": False}, {"spacing": (3.0, 0.9, 1.1), "spacing_known": True}])
def test_nothing_is_changed_where_nothing_is_resized(changes: dict[str, object]) -> None:
    volume = noisy(**changes)
    trained = prepared_for_training(volume)
    assert trained.pixels.dtype == np.uint8
    np.testing.assert_array_equal(trained.pixels, volume.data.swapaxes(0, 1))
    np.testing.assert_array_equal(trained.table.statistics, channel_statistics(volume.data))


def test_pixels_too_large_for_any_head_are_refused() -> None:
    volume, _ = make_phantom(slices=2, size=64)
    coarse = replace(volume, spacing=(3.0, 1.0, 64.0), spacing_known=True, source=Path("scan.nii"))
    assert working_factor(coarse, 2) == 64
    far_too_coarse = replace(coarse, spacing=(3.0, 1.0, 64.1))
    with pytest.raises(InputError, match=r"scan\.nii: its slices measure 64 pixels of 64\.1 mm, which is no head"):
        working_factor(far_too_coarse, 2)
    with pytest.raises(InputError, match="correct the spacing"):
        prepare_scan(far_too_coarse, Description(name="m", network=SMALL))
    assert working_factor(replace(far_too_coarse, spacing_known=False), 2) == 1


@pytest.mark.parametrize(
    ("size", "pixel", "known", "factor"),
    [
        # What stands in where nothing is known.
        (256, 1.0, False, 1.0),
        (512, 1.0, False, 0.5),
        (64, 1.0, False, 1.0),
        # Written by a program that knew no better: a head of half a metre.
        (512, 1.0, True, 0.5),
        (320, 1.0, True, 1.0),
        # The size of a pixel is given, the distance between slices is not.
        (512, 0.5, False, 0.5),
        (512, 0.45, False, 0.45),
        # The resolution of a printer, not of a scanner.
        (256, 25.4 / 72, False, 1.0),
        (640, 25.4 / 300, False, 0.4),
        # What a file says of all three axes is taken as it is.
        (512, 0.98, True, 1.0),
        (160, 0.5, True, 0.5),
    ],
)
def test_pixel_sizes_that_cannot_be_a_heads_are_not_believed(
    size: int, pixel: float, known: bool, factor: float
) -> None:
    data = np.zeros((1, 2, size, size - 8), np.uint8)
    volume = Volume(data=data, channel_names=("flair",), spacing=(1.0, pixel, pixel), spacing_known=known)
    assert working_factor(volume, 1) == working_factor(volume, 2) == pytest.approx(factor)
