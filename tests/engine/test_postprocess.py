import numpy as np
import pytest

from napari_unet_seg.engine.postprocess import (
    confirmed_pieces,
    foreground_box,
    fraction_to_keep,
    keep_components,
    mask_from_probability,
)


def two_pieces() -> np.ndarray:
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0:2, 1:4, 1:4] = 1
    mask[3, 8, 8] = 1
    return mask


def test_threshold_is_included() -> None:
    probability = np.array([[[0.49, 0.5, 0.51]]], np.float32)
    np.testing.assert_array_equal(mask_from_probability(probability), [[[0, 1, 1]]])
    assert mask_from_probability(probability).dtype == np.uint8


def test_largest_component() -> None:
    kept = mask_from_probability(two_pieces().astype(np.float32), largest_component=True)
    assert kept.sum() == 18
    assert not kept[3].any()


def test_small_pieces_go() -> None:
    probability = two_pieces().astype(np.float32)
    assert mask_from_probability(probability, min_fraction=0.1).sum() == 18
    assert mask_from_probability(probability, min_fraction=1 / 18).sum() == 19
    assert mask_from_probability(probability).sum() == 19


def test_equal_pieces_both_stay_but_for_the_largest_alone() -> None:
    mask = np.zeros((2, 5, 5), np.uint8)
    mask[0, 0, 0] = mask[0, 4, 4] = 1
    assert keep_components(mask, largest=False, min_fraction=1).sum() == 2
    assert keep_components(mask, largest=True)[0, 0, 0] == keep_components(mask, largest=True).sum() == 1


def test_diagonal_neighbours_are_connected() -> None:
    mask = np.zeros((2, 4, 4), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert keep_components(mask, largest=True).sum() == 2


def test_an_empty_mask_stays_empty() -> None:
    empty = np.zeros((2, 4, 4), np.uint8)
    assert foreground_box(empty) is None
    assert not keep_components(empty, largest=True, min_fraction=0.5).any()


def test_of_the_classes_that_reach_the_threshold_the_likeliest_counts() -> None:
    probability = np.array([[[[0.9, 0.6, 0.4]]], [[[0.8, 0.95, 0.45]]]], np.float32)
    np.testing.assert_array_equal(mask_from_probability(probability), [[[1, 2, 0]]])


def test_several_classes_take_the_likeliest() -> None:
    probability = np.array([[[[0.7, 0.2, 0.4]]], [[[0.1, 0.6, 0.3]]]], np.float32)
    np.testing.assert_array_equal(mask_from_probability(probability), [[[1, 2, 0]]])


def test_the_fraction_that_leaves_known_pieces() -> None:
    mask = np.zeros((4, 20, 20), np.uint8)
    mask[1, :10, :10] = 1  # 100 voxels
    mask[2, 15:18, :10] = 1  # 30
    mask[3, 15:, 15:17] = 1  # 10
    mask[0, 19, 19] = 1
    known = np.zeros(mask.shape, bool)
    assert fraction_to_keep(mask, known, usual=0.5) == 0.5
    known[1] = True
    assert fraction_to_keep(mask, known, usual=0.5) == 0.5
    known[2] = True
    fraction = fraction_to_keep(mask, known, usual=0.5)
    assert fraction == pytest.approx(0.24)
    assert keep_components(mask, largest=False, min_fraction=fraction).sum() == 130
    known[:] = True
    # The single voxel is a crumb.
    assert fraction_to_keep(mask, known, usual=0.5) == pytest.approx(0.08)
    assert keep_components(mask, largest=False, min_fraction=0.08).sum() == 140
    assert fraction_to_keep(np.zeros_like(mask), known, usual=0.5) == 0.5


def test_pieces_that_a_new_mask_confirms() -> None:
    before = np.zeros((6, 20, 20), np.uint8)
    before[1:5, :4, :4] = 1  # kept
    before[1:5, 8:12, :4] = 1  # shrunk to half
    before[1:5, 16:, :4] = 1  # taken out of slice 2
    before[2, :4, 16:] = 1  # of slice 2 alone
    after = before.copy()
    after[1:5, 8:12, 2:4] = 0
    after[2, 16:, :4] = 0
    after[0, :4, 10:12] = 1  # new
    wanted = np.zeros(before.shape, bool)
    wanted[[1, 3, 4], :4, :4] = True
    np.testing.assert_array_equal(confirmed_pieces(before, after, corrected=[2], share=2 / 3), wanted)
    wanted[[1, 3, 4], 8:12, :2] = True
    np.testing.assert_array_equal(confirmed_pieces(before, after, corrected=[2], share=0.5), wanted)
    assert not confirmed_pieces(np.zeros_like(before), after, corrected=[2], share=0.5).any()
