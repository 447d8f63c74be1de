from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.evaluate import bootstrap_interval, evaluate, score_case, summarise
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.errors import InputError
from tests.engine.models import save_small


def scored(y_pred: np.ndarray, y: np.ndarray, **changes: object):
    values = {
        "y_pred": y_pred,
        "probability": y_pred.astype(np.float32),
        "y": y,
        "labelled": np.ones(len(y), bool),
        "spacing": (5.0, 2.0, 1.0),
        **changes,
    }
    return score_case("a", **values)  # type: ignore[arg-type]


def masks() -> tuple[np.ndarray, np.ndarray]:
    y = np.zeros((3, 6, 6), np.uint8)
    y[0, :2, :2] = 1
    y_pred = np.zeros_like(y)
    y_pred[0, :2, :1] = 1
    y_pred[1, 0, 0] = 1
    return y_pred, y


def test_a_case_by_hand() -> None:
    scores, slices = scored(*masks())
    assert scores.dice == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert scores.iou == pytest.approx(2 / 5)
    assert scores.volume_ml_true == pytest.approx(4 * 0.01)
    assert scores.volume_ml_pred == pytest.approx(3 * 0.01)
    assert len(slices) == 3


def test_the_summary_by_hand() -> None:
    scores, slices = scored(*masks())
    summary = summarise([scores], slices)
    assert summary["volume_dice_mean"] == summary["volume_dice_median"] == scores.dice
    assert summary["tumour_slice_dice_mean"] == pytest.approx(2 / 3)
    assert summary["empty_slice_false_positive_rate"] == 0.5
    assert summary["all_slice_dice_empty1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert summary["seed_dice_smooth100"] == pytest.approx((2 * 2 + 100) / (3 + 4 + 100))
    assert summary["seed_iou_smooth100"] == pytest.approx((2 + 100) / (3 + 4 - 2 + 100))
    assert summary["accuracy"] == pytest.approx(1 - 3 / 108)


def test_slices_without_a_mask_count_nowhere() -> None:
    scores, slices = scored(*masks(), labelled=np.array([True, False, False]))
    assert (scores.precision, len(slices)) == (1, 1)
    assert summarise([scores], slices)["empty_slice_false_positive_rate"] is None


def test_nothing_predicted_scores_high_on_the_flattering_figures_alone() -> None:
    y = np.zeros((10, 64, 64), np.uint8)
    y[4, 30:34, 30:34] = 1
    scores, slices = scored(np.zeros_like(y), y)
    summary = summarise([scores], slices)
    assert summary["volume_dice_mean"] == 0
    assert summary["all_slice_dice_empty1"] == 0.9
    assert summary["seed_dice_smooth100"] > 0.8
    assert summary["hd95_mm_undefined"] == 1


def test_the_interval_holds_the_mean_and_repeats() -> None:
    values = [0.2, 0.9, 0.85, 0.8, 0.95]
    low, high = bootstrap_interval(values)
    assert low < np.mean(values) < high
    assert (low, high) == bootstrap_interval(values)
    assert bootstrap_interval([0.5]) == (0.5, 0.5)


def test_a_dataset(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=3, size=32)
    model = load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    result = evaluate(open_dataset(root), model)
    assert list(result) == ["model", "dataset", "cases", "summary"]
    assert [set(case) for case in result["cases"]] == [
        {"case", "dice", "iou", "hd95_mm", "precision", "recall", "volume_ml_true", "volume_ml_pred"}
    ] * 2
    assert result["summary"]["cases"] == 2


def test_a_dataset_without_masks_is_refused(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=1, slices=3, size=32)
    for mask in root.rglob("*_mask.tif"):
        mask.unlink()
    model = load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    with pytest.raises(InputError, match="no case has a usable mask"):
        evaluate(open_dataset(root), model)
