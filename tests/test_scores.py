import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet_seg.engine.metrics import Counts, count
from napari_unet_seg.errors import InputError
from napari_unet_seg.scores import LiveScores

SHAPE = (3, 4, 5)


def random_mask(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(SHAPE) > 0.6).astype(np.uint8)


def test_counts_of_slices_and_volume_are_those_of_a_full_count() -> None:
    y_pred, y = random_mask(0), random_mask(1)
    scores = LiveScores(y_pred, y)
    assert [scores.slice(z) for z in range(3)] == [count(y_pred[z], y[z]) for z in range(3)]
    assert scores.volume() == count(y_pred, y)


def test_an_edit_is_seen_where_it_is_looked_for() -> None:
    y_pred, y = random_mask(0), random_mask(1)
    scores = LiveScores(y_pred, y)
    y_pred[1, 1:3, 2:4] = 1 - y_pred[1, 1:3, 2:4]
    assert scores.reread("y_pred", (slice(1, 2), slice(0, 4), slice(2, 5)))
    assert scores.volume() == count(y_pred, y)


def test_looking_everywhere_finds_edits_of_either_mask() -> None:
    y_pred, y = random_mask(0), random_mask(1)
    scores = LiveScores(y_pred, y)
    y_pred[0, 0, 0] ^= 1
    y[2] = 0
    assert scores.reread("y_pred")
    assert scores.reread("y")
    assert not scores.reread("y")
    assert [scores.slice(z) for z in range(3)] == [count(y_pred[z], y[z]) for z in range(3)]


def test_any_label_is_foreground_and_relabelling_changes_nothing() -> None:
    y_pred, y = random_mask(0), random_mask(1)
    scores = LiveScores(y_pred, y)
    before = scores.volume()
    y_pred[y_pred == 1] = 7
    assert not scores.reread("y_pred")
    assert scores.volume() == before


def test_two_empty_slices_agree_and_an_empty_truth_alone_scores_0() -> None:
    y_pred = np.zeros(SHAPE, np.uint8)
    y_pred[1, 0, 0] = 1
    scores = LiveScores(y_pred, np.zeros(SHAPE, np.int64))
    assert (scores.slice(0).dice, scores.slice(0).iou) == (1, 1)
    assert (scores.slice(1).dice, scores.slice(1).iou) == (0, 0)


def test_masks_of_different_shape_are_refused_and_the_former_ones_kept() -> None:
    with pytest.raises(InputError, match=r"\(3, 4, 5\) and \(3, 4, 6\)"):
        LiveScores(np.zeros(SHAPE), np.zeros((3, 4, 6)))
    scores = LiveScores(np.ones(SHAPE, bool), np.ones(SHAPE, bool))
    with pytest.raises(InputError, match="different shapes"):
        scores.replace("y", np.zeros((3, 4, 6)))
    assert scores.reread("y") is False
    assert scores.volume() == Counts(tp=60)


def test_another_array_takes_the_place_of_the_former() -> None:
    y_pred, y = random_mask(0), random_mask(1)
    scores = LiveScores(y_pred, y)
    other = random_mask(2)
    scores.replace("y_pred", other)
    assert scores.volume() == count(other, y)


EDIT = st.tuples(
    st.sampled_from(["y_pred", "y"]),
    st.integers(0, 2),
    st.tuples(st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.integers(0, 4), st.integers(1, 5)),
    st.integers(0, 3),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(EDIT, max_size=12))
def test_after_any_edits_the_counts_are_those_of_a_full_count(edits: list) -> None:
    masks = {"y_pred": random_mask(0), "y": random_mask(1)}
    scores = LiveScores(masks["y_pred"], masks["y"])
    for side, z, (top, height), (left, width), label, told in edits:
        box = (slice(z, z + 1), slice(top, top + height), slice(left, left + width))
        masks[side][box] = label
        scores.reread(side, box if told else None)
        assert [scores.slice(i) for i in range(3)] == [count(masks["y_pred"][i], masks["y"][i]) for i in range(3)]
