from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.evaluate import evaluate, score_case, summarise
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.summary import summary_text
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


def test_a_leaning_voxel_holds_less_than_its_sides_say() -> None:
    scores, _ = scored(*masks(), voxel_ml=0.008)
    assert scores.volume_ml_true == pytest.approx(4 * 0.008)
    assert scores.volume_ml_pred == pytest.approx(3 * 0.008)


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


def test_slices_between_labelled_ones_keep_their_place() -> None:
    y = np.zeros((20, 12, 12), np.uint8)
    y_pred = y.copy()
    y_pred[2, 4:8, 4:8] = y[17, 4:8, 4:8] = 1
    # What is said of a slice without a mask is no distance to anything.
    y_pred[9] = 1
    labelled = np.isin(np.arange(20), [2, 17])
    assert scored(y_pred, y, labelled=labelled, spacing=(5.0, 1.0, 1.0))[0].hd95_mm == pytest.approx(75)


def test_the_summary_counts_cases_without_a_known_spacing() -> None:
    cases = [scored(*masks(), spacing_known=known)[0] for known in (True, False, False)]
    assert summarise(cases, scored(*masks())[1])["spacing_unknown"] == 2


def test_nothing_predicted_scores_high_on_the_flattering_figures_alone() -> None:
    y = np.zeros((10, 64, 64), np.uint8)
    y[4, 30:34, 30:34] = 1
    scores, slices = scored(np.zeros_like(y), y)
    summary = summarise([scores], slices)
    assert summary["volume_dice_mean"] == 0
    assert summary["all_slice_dice_empty1"] == 0.9
    assert summary["seed_dice_smooth100"] > 0.8
    assert summary["hd95_mm_undefined"] == 1


def test_the_interval_is_over_patients() -> None:
    scores, slices = scored(*masks())
    names = {"TCGA_CS_4941_1996": 0.9, "TCGA_CS_4941_1997": 0.9, "TCGA_CS_4941_1998": 0.9, "TCGA_DU_1111_1999": 0.1}
    several = [replace(scores, case=case, dice=dice) for case, dice in names.items()]
    summary = summarise(several, slices)
    assert summary["volume_dice_mean"] == pytest.approx(0.7)
    assert summary["volume_dice_ci95"] == pytest.approx([0.1, 0.9])
    assert "(95% interval 0.100 to 0.900)" in summary_text(summary)
    assert "4 cases, mean over the scans of 2 patients, who are" in summary_text(summary)
    assert "2 cases, mean over patients" in summary_text(summarise(several[2:], slices))
    alone = summarise(several[:3], slices)
    assert alone["volume_dice_ci95"] is None
    assert "(no interval: one patient)" in summary_text(alone)


def test_figures_that_flatter_are_told(tmp_path: Path) -> None:
    dataset = open_dataset(write_kaggle(tmp_path / "scans", patients=2, slices=2, size=32))
    first, second = dataset.cases
    segmenter = load_model(str(save_small(tmp_path / "small.safetensors")))
    segmenter.description = replace(segmenter.description, training={"cases": [f"{first.case_id[:12]}_20200101"]})
    dataset.save_correction(second.case_id, 1 - second.read_mask(), [0])
    result = evaluate(dataset, segmenter)
    assert [(case["trained_on"], case["corrected"]) for case in result["cases"]] == [(True, False), (False, True)]
    text = summary_text(result["summary"])
    assert "of patients that this model learned from, so it does worse on others: 1 case" in text
    assert "scored against masks that you have corrected yourself: 1 case" in text


def test_a_dataset(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=3, size=32)
    model = load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    result = evaluate(open_dataset(root), model)
    assert list(result) == ["model", "dataset", "cases", "summary"]
    assert [set(case) for case in result["cases"]] == [
        {"case", "dice", "iou", "hd95_mm", "precision", "recall", "volume_ml_true", "volume_ml_pred", "spacing_known"}
        | {"corrected", "trained_on"}
    ] * 2
    assert result["summary"]["cases"] == 2


def test_a_dataset_without_masks_is_refused(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "kaggle_3m", patients=1, slices=3, size=32)
    for mask in root.rglob("*_mask.tif"):
        mask.unlink()
    model = load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    with pytest.raises(InputError, match="no case has a usable mask"):
        evaluate(open_dataset(root), model)


def test_a_distance_that_no_case_has_is_no_number_of_mm() -> None:
    y_pred, y = masks()
    scores, slices = scored(np.zeros_like(y_pred), y)
    assert "HD95 median        none there, undefined in 1 case" in summary_text(summarise([scores], slices))
    assert "HD95 median        2.000 mm" in summary_text(summarise([replace(scores, hd95_mm=2.0)], slices))
