import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_seg.engine.postprocess import mask_from_probability
from napari_unet_seg.probability_map import FLOOR, MaskRule, ProbabilityMap


def blobs(seed: int = 0) -> np.ndarray:
    probability = np.random.default_rng(seed).random((4, 9, 11)).astype(np.float32)
    probability[np.random.default_rng(seed + 1).random(probability.shape) > 0.3] = 0
    probability[2] = 0
    return probability


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(2, 98), st.booleans(), st.sampled_from([0.0, 0.25]))
def test_the_mask_is_that_of_the_whole_map(seed: int, percent: int, largest: bool, min_fraction: float) -> None:
    probability = blobs(seed)
    rule = MaskRule(threshold=percent / 100, largest_component=largest, min_fraction=min_fraction)
    expected = mask_from_probability(
        probability, threshold=percent / 100, largest_component=largest, min_fraction=min_fraction
    )
    np.testing.assert_array_equal(ProbabilityMap.of(probability).mask(rule), expected)


def test_slices_are_taken_one_by_one() -> None:
    probability = blobs()
    one_by_one = ProbabilityMap((4, 9, 11))
    for z in (3, 0):
        one_by_one.put(z, probability[z])
    assert one_by_one.known.tolist() == [True, False, False, True]
    mask = one_by_one.mask(MaskRule(threshold=0.4))
    np.testing.assert_array_equal(mask[[0, 3]], probability[[0, 3]] >= np.float32(0.4))
    assert not mask[1].any()


def test_several_classes_give_labels() -> None:
    probability = np.zeros((2, 3, 4, 4), np.float32)
    probability[0, 1, 1, 1], probability[1, 1, 2, 2] = 0.9, 0.8
    mask = ProbabilityMap.of(probability).mask(MaskRule())
    assert (mask[1, 1, 1], mask[1, 2, 2], int(mask.sum())) == (1, 2, 3)
    by_slice = ProbabilityMap((3, 4, 4))
    by_slice.put(1, probability[:, 1])
    np.testing.assert_array_equal(by_slice.mask(MaskRule()), mask)


@pytest.mark.parametrize(("first", "then"), [((), (2,)), ((2,), ()), ((2,), (3,))])
def test_of_two_models_of_other_classes_the_last_one_counts(first: tuple[int, ...], then: tuple[int, ...]) -> None:
    kept = ProbabilityMap.of(np.full((*first, 3, 4, 4), 0.9, np.float32))
    plane = np.zeros((*then, 4, 4), np.float32)
    plane[..., 1, 1] = 0.9
    kept.put(1, plane)
    assert kept.known.tolist() == [False, True, False]
    assert np.argwhere(kept.mask(MaskRule(min_fraction=0.5))).tolist() == [[1, 1, 1]]


def test_a_slice_s_mask_is_its_threshold() -> None:
    kept = ProbabilityMap.of(blobs())
    np.testing.assert_array_equal(kept.slice_mask(1, MaskRule(threshold=0.3)), blobs()[1] >= np.float32(0.3))
    assert not kept.slice_mask(2, MaskRule()).any()


def test_an_empty_map_costs_nothing_and_gives_an_empty_mask() -> None:
    kept = ProbabilityMap.of(np.full((2, 5, 5), FLOOR / 2, np.float32))
    assert kept.cost(MaskRule()) == kept.cost(MaskRule(largest_component=True)) == 0
    assert not kept.mask(MaskRule(largest_component=True)).any()


@pytest.mark.parametrize("threshold", [0.0, 1.0, FLOOR / 2, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must lie in"):
        MaskRule(threshold=threshold)
