from __future__ import annotations

import pytest
import torch

from training.seed_metrics import SeedMetrics, accuracy, soft_dice, soft_iou

Y = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
P = torch.tensor([[0.5, 1.0, 0.5, 0.0], [0.0, 0.0, 0.5, 0.75]])
"""Overlap 1.5, sums 2 and 3.25."""


def test_dice_and_iou_take_the_whole_batch_as_one_soft_mask() -> None:
    assert float(soft_dice(Y, P, 0)) == pytest.approx(3 / 5.25)
    assert float(soft_iou(Y, P, 0)) == pytest.approx(1.5 / 3.75)


def test_smoothing_adds_as_much_above_as_below() -> None:
    assert float(soft_dice(Y, P, 100)) == pytest.approx(103 / 105.25)
    assert float(soft_iou(Y, P, 100)) == pytest.approx(101.5 / 103.75)
    nothing = torch.zeros(2, 8, 8)
    assert float(soft_dice(nothing, nothing, 100)) == 1


def test_accuracy_counts_pixels_at_one_half_as_background() -> None:
    assert float(accuracy(Y, P)) == pytest.approx(6 / 8)


def test_a_small_last_batch_weighs_as_much_as_any() -> None:
    metrics = SeedMetrics(smooth=0)
    metrics.update(torch.ones(3, 4), torch.ones(3, 4))
    metrics.update(torch.ones(1, 4), torch.full((1, 4), 0.25))
    assert metrics.result() == pytest.approx({"dice": (1 + 0.4) / 2, "iou": (1 + 0.25) / 2, "accuracy": 0.5})


def test_sums_over_a_large_batch_of_half_precision_do_not_saturate() -> None:
    half = torch.ones(400, 400, dtype=torch.float16)
    assert float(soft_dice(half.to(torch.uint8), half / 2, 0)) == pytest.approx(2 / 3)


def test_nothing_measured_and_shapes_that_differ_are_errors() -> None:
    with pytest.raises(ValueError, match="no batch"):
        SeedMetrics(smooth=1).result()
    with pytest.raises(ValueError, match="different shapes"):
        soft_dice(torch.ones(2, 2), torch.ones(4), 1)
