"""Slices between two masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_unet_seg.data.interpolate import interpolate_slices


def square(start: int, stop: int, *, label: int = 1) -> np.ndarray:
    mask = np.zeros((20, 24), np.uint8)
    mask[start:stop, start:stop] = label
    return mask


def test_equal_slices_are_repeated():
    between = interpolate_slices(square(4, 12), square(4, 12), between=3)
    assert between.shape == (3, 20, 24)
    assert all(np.array_equal(each, square(4, 12)) for each in between)


def test_a_square_grows_in_between():
    between = interpolate_slices(square(6, 10), square(2, 14), between=3)
    sizes = [int(np.count_nonzero(each)) for each in between]
    assert 16 < sizes[0] < sizes[1] < sizes[2] < 144
    assert np.array_equal(between[1], square(4, 12))


def test_a_square_moves_in_between():
    (middle,) = interpolate_slices(square(2, 10), square(4, 12), between=1)
    # Only the corners differ from a shifted square: distances to a corner are round.
    assert np.count_nonzero(middle != square(3, 11)) <= 8
    assert np.argwhere(middle).mean(axis=0) == pytest.approx([6.5, 6.5])


def test_a_label_in_one_slice_alone_shrinks_away():
    sizes = [int(np.count_nonzero(each)) for each in interpolate_slices(square(4, 14), square(0, 0), between=4)]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < sizes[0] < 100


def test_nothing_comes_of_nothing():
    assert not interpolate_slices(square(0, 0), square(0, 0), between=2).any()


def test_labels_stay_apart():
    lower, upper = square(2, 6, label=1), square(2, 6, label=1)
    lower[10:16, 10:16] = upper[11:17, 11:17] = 3
    (middle,) = interpolate_slices(lower, upper, between=1)
    assert set(np.unique(middle)) == {0, 1, 3}
    assert np.array_equal(middle == 1, lower == 1)


def test_thick_pixels_count_as_thick():
    lower, upper = square(4, 12), square(6, 10)
    lower[:, 14:], upper[:, 14:] = 0, 0
    square_pixels = interpolate_slices(lower, upper, between=1)
    flat_pixels = interpolate_slices(lower, upper, between=1, spacing=(1.0, 5.0))
    assert square_pixels.any()
    assert not np.array_equal(square_pixels, flat_pixels)


@pytest.mark.parametrize("between", [0, 1, 5])
def test_the_number_of_slices_is_as_asked(between: int):
    assert len(interpolate_slices(square(1, 5), square(3, 9), between=between)) == between


@given(st.integers(0, 2**32 - 1))
def test_what_both_slices_agree_on_stays(seed: int):
    rng = np.random.default_rng(seed)
    lower, upper = (rng.integers(0, 2, (9, 11)).astype(np.uint8) for _ in range(2))
    for each in interpolate_slices(lower, upper, between=2):
        assert np.array_equal(each[lower == upper], lower[lower == upper])
