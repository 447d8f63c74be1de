import numpy as np
import pytest

from napari_unet_seg.engine.normalise import channel_statistics


def head(*, air: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    data = np.full((1, 4, 32, 32), air)
    data[:, :, 8:24, 8:24] = rng.normal(100, 10, (1, 4, 16, 16))
    return data


def test_the_air_is_left_out() -> None:
    ((mean, deviation),) = channel_statistics(head())
    assert mean == pytest.approx(100, abs=2)
    assert deviation == pytest.approx(10, abs=1.5)


def test_a_wider_field_of_view_changes_nothing() -> None:
    wide = np.pad(head(), ((0, 0), (0, 0), (20, 20), (20, 20)))
    np.testing.assert_allclose(channel_statistics(wide), channel_statistics(head()), rtol=0.05)


def test_a_standardised_scan_with_air_at_zero() -> None:
    data = head()
    data[data > 0] = (data[data > 0] - 100) / 10
    ((mean, deviation),) = channel_statistics(data)
    assert abs(mean) < 0.3
    assert deviation == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "float32", "float64", "bool"])
def test_any_number_type_gives_float32(dtype: str) -> None:
    statistics = channel_statistics(head().astype(dtype))
    assert statistics.dtype == np.float32
    assert np.isfinite(statistics).all()


def test_a_constant_channel_has_deviation_one() -> None:
    np.testing.assert_array_equal(channel_statistics(np.full((1, 2, 8, 8), 7.0)), [[7, 1]])


@pytest.mark.parametrize("scale", [1e-9, 1e-30, 1e9])
def test_intensities_of_any_magnitude_come_out_alike(scale: float) -> None:
    np.testing.assert_allclose(channel_statistics(head() * scale) / scale, channel_statistics(head()), rtol=1e-5)


def test_scale_and_offset_of_the_scanner_cancel() -> None:
    data = head()
    (mean, deviation), (mean_2, deviation_2) = channel_statistics(data)[0], channel_statistics(data * 3 + 50)[0]
    np.testing.assert_allclose((data * 3 + 50 - mean_2) / deviation_2, (data - mean) / deviation, atol=1e-3)
