import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet_seg.engine.metrics import Counts, count, hd95_mm


def test_counts_and_scores_by_hand() -> None:
    counts = count(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    assert counts == Counts(tp=1, fp=1, fn=1)
    assert (counts.dice, counts.iou) == (pytest.approx(1 / 2), pytest.approx(1 / 3))
    assert (counts.precision, counts.recall) == (0.5, 0.5)


def test_any_label_is_foreground() -> None:
    assert count(np.array([2, 255]), np.array([1, 0])) == Counts(tp=1, fp=1, fn=0)


@pytest.mark.parametrize(
    ("counts", "dice", "precision", "recall"),
    [
        (Counts(), 1, 1, 1),
        (Counts(fp=3), 0, 0, 0),
        (Counts(fn=3), 0, 0, 0),
    ],
)
def test_empty_masks(counts: Counts, dice: float, precision: float, recall: float) -> None:
    assert (counts.dice, counts.iou, counts.precision, counts.recall) == (dice, dice, precision, recall)


def test_counts_add() -> None:
    assert Counts(tp=1, fp=2) + Counts(tp=3, fn=4) == Counts(tp=4, fp=2, fn=4)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        count(np.zeros((2, 2)), np.zeros((2, 3)))


def test_hd95_is_in_millimetres() -> None:
    y = np.zeros((5, 12, 12), np.uint8)
    y[2, 4:8, 4:8] = 1
    shifted_slice, shifted_column = np.roll(y, 1, axis=0), np.roll(y, 1, axis=2)
    assert hd95_mm(shifted_slice, y, spacing=(5.0, 1.0, 1.0)) == pytest.approx(5)
    assert hd95_mm(shifted_column, y, spacing=(5.0, 1.0, 2.0)) == pytest.approx(2)
    assert hd95_mm(y, y, spacing=(1.0, 1.0, 1.0)) == 0


def disc(row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[:128, :128]
    return np.hypot(rows - row, columns - column) <= 30


@pytest.mark.parametrize("between", [0, 1])
def test_hd95_of_single_slices_is_measured_in_the_plane(between: int) -> None:
    """Alone, or between slices that nobody has labelled."""
    y, moved, with_island = disc(60, 60), disc(60, 68), disc(60, 60)
    with_island[60:66, 100:106] = True

    def distance(y_pred: np.ndarray) -> float | None:
        volumes = [np.pad(mask[None], ((between, between), (0, 0), (0, 0))) for mask in (y_pred, y)]
        labelled = np.pad([True], between)
        return hd95_mm(*volumes, spacing=(5.0, 1.0, 1.0), labelled=labelled)

    assert distance(moved) == pytest.approx(8)
    assert distance(with_island) == pytest.approx(13)


def test_hd95_is_that_of_monai_where_every_slice_is_labelled() -> None:
    from monai.metrics import compute_hausdorff_distance

    rng = np.random.default_rng(0)
    for spacing in ((5.0, 1.0, 1.0), (1.0, 2.0, 0.5)):
        y_pred, y = (ndimage.gaussian_filter(rng.normal(size=(6, 30, 31)), 2) > 0.05 for _ in range(2))
        one, other = (torch.from_numpy(mask[None, None]) for mask in (y_pred, y))
        with warnings.catch_warnings():
            # Of a function of its own, in a way that it has deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            expected = compute_hausdorff_distance(
                one, other, include_background=True, percentile=95, spacing=list(spacing)
            )
        assert hd95_mm(y_pred, y, spacing=spacing) == pytest.approx(expected.item(), rel=1e-5)


def test_hd95_of_empty_masks() -> None:
    empty, full = np.zeros((2, 4, 4)), np.ones((2, 4, 4))
    assert hd95_mm(empty, empty, spacing=(1.0, 1.0, 1.0)) == 0
    assert hd95_mm(full, empty, spacing=(1.0, 1.0, 1.0)) is None
