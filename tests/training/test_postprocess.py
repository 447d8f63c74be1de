from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from napari_unet_seg.engine.interval import bootstrap_interval
from napari_unet_seg.engine.segmenter import load_model
from tests.engine.models import SMALL, small_network
from tests.training.simulated import save_fold
from training import postprocess
from training.report.mask_settings import Setting, chosen_thresholds, rules


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=4, slices=5, size=32)


@pytest.fixture
def names(data: Path) -> list[str]:
    return sorted(folder.name for folder in data.iterdir())


@pytest.fixture
def folds(tmp_path: Path, names: list[str]) -> list[Path]:
    """Two folds of two patients; these random weights find a little of the tumours, and differently by each rule."""
    return [
        fold(tmp_path / "a.safetensors", cases=names[2:], held_out=names[:2], seed=58),
        fold(tmp_path / "b.safetensors", cases=names[:2], held_out=names[2:], seed=67),
    ]


def fold(path: Path, *, cases: Sequence[str], held_out: Sequence[str], seed: int = 7, **described: Any) -> Path:
    """A checkpoint with random weights and the rule of a quarter."""
    description = load_checkpoint(save_fold(path, cases=cases, held_out=held_out))[1]
    settings = {"min_fraction": 0.25, **described}
    save_checkpoint(path, small_network(SMALL, seed=seed), dataclasses.replace(description, **settings))
    return path


def run(data: Path, checkpoints: Sequence[Path], output: Path) -> int:
    given = ["--data", str(data), "--output", str(output), "--checkpoints", *map(str, checkpoints)]
    return postprocess.main([*given, "--threads", "1", "--device", "cpu"])


def row(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in result["rows"] if each["name"] == name)


def test_the_largest_piece_with_the_mirror_image_counted_by_hand(
    tmp_path: Path, data: Path, names: list[str], folds: list[Path]
) -> None:
    assert run(data, folds, tmp_path / "out") == 0
    result = json.loads((tmp_path / "out" / "postprocess.json").read_text())
    dataset = open_dataset(data)
    dice, tumour, false = {}, [], []
    for path, held_out in zip(folds, (names[:2], names[2:]), strict=True):
        segmenter = load_model(path, device="cpu")
        segmenter.description = dataclasses.replace(segmenter.description, flip=True)
        for case in held_out:
            truth = dataset[case].read_mask() > 0
            found = segmenter.predict(dataset[case].read_image()) >= 0.5
            pieces, count = ndimage.label(found, structure=np.ones((3, 3, 3)))
            assert count > 1
            found = pieces == 1 + np.argmax([np.sum(pieces == 1 + piece) for piece in range(count)])
            dice[case] = 2 * np.sum(found & truth) / (found.sum() + truth.sum())
            for y_pred, y in zip(found, truth, strict=True):
                if y.any():
                    tumour.append(2 * np.sum(y_pred & y) / (y_pred.sum() + y.sum()))
                else:
                    false.append(y_pred.any())
    one = row(result, "the largest piece alone, with the mirror image")
    assert one["dice"] == pytest.approx(dice)
    assert one["volume_dice_mean"] == pytest.approx(np.mean(list(dice.values())))
    assert one["volume_dice_median"] == pytest.approx(np.median(list(dice.values())))
    assert one["tumour_slice_dice_mean"] == pytest.approx(np.mean(tumour))
    assert one["empty_slice_false_positive_rate"] == pytest.approx(np.mean(false))
    assert one["threshold"] == [0.5, 0.5]
    others = [each["dice"] for each in result["rows"] if each["name"].startswith("the")]
    assert len({tuple(each.values()) for each in others}) == len(others) == 4


def test_every_row_is_compared_with_the_checkpoints_own_patient_by_patient(data: Path, folds: list[Path]) -> None:
    result = postprocess.study(data, folds, device="cpu")
    own = row(result, "without pieces under a quarter of the largest")
    assert [each["name"] for each in result["rows"] if each["own"]] == [own["name"]]
    assert own["difference"] == {"mean": 0, "ci95": [0, 0], "better": 0, "worse": 0}
    for path in folds:
        segmenter = load_model(path, device="cpu")
        for case in segmenter.description.training["held_out"]:
            scan = open_dataset(data)[case]
            found, truth = segmenter.mask(segmenter.predict(scan.read_image())) > 0, scan.read_mask() > 0
            assert own["dice"][case] == pytest.approx(2 * np.sum(found & truth) / (found.sum() + truth.sum()))
    for other in result["rows"]:
        differences = [other["dice"][case] - own["dice"][case] for case in own["dice"]]
        assert other["difference"]["mean"] == pytest.approx(other["volume_dice_mean"] - own["volume_dice_mean"])
        assert other["difference"]["ci95"] == bootstrap_interval(differences, cases=list(own["dice"]))
        assert other["difference"]["better"] + other["difference"]["worse"] == np.count_nonzero(differences)
    assert any(other["difference"]["mean"] for other in result["rows"])


def test_a_folds_threshold_is_best_for_the_others_whatever_its_own_patients_score() -> None:
    low, high = {0.4: [0.9, 0.8], 0.5: [0.5, 0.5], 0.6: [0.1, 0.2]}, {0.4: [0.2], 0.5: [0.5], 0.6: [0.6]}
    assert chosen_thresholds([low, high, high], fixed=0.5) == [0.6, 0.4, 0.4]
    # Three patients count as three: means of means would have it the other way round.
    assert chosen_thresholds([high, low, {0.4: [0.0], 0.5: [0.5], 0.6: [1.0]}], fixed=0.5)[0] == 0.4
    for own in (low, high, {each: [each] for each in low}):
        assert chosen_thresholds([own, high, low], fixed=0.5)[0] == 0.4
    even = {each: [0.7] for each in low}
    assert chosen_thresholds([even, even], fixed=0.5) == [0.5, 0.5]


def test_the_truth_of_a_folds_patients_moves_the_other_folds_threshold_alone(
    data: Path, names: list[str], folds: list[Path]
) -> None:
    before = postprocess.study(data, folds, device="cpu")
    for case in names[:2]:
        for file in (data / case).glob("*_mask.tif"):
            tifffile.imwrite(file, np.full((32, 32), 255, dtype=np.uint8), photometric="minisblack")
    after = postprocess.study(data, folds, device="cpu")
    quarter = "without pieces under a quarter of the largest"
    for name in (f"{quarter}, threshold chosen", f"{quarter}, with the mirror image, threshold chosen"):
        first, second = row(before, name)["threshold"], row(after, name)["threshold"]
        assert first[0] == second[0]
        # Where all is tumour, the more is found the better; of thresholds that find all, the highest is taken.
        assert second[1] < first[1]
        for case in names[2:]:
            assert row(after, quarter)["dice"][case] == row(before, quarter)["dice"][case]
        assert row(after, name)["dice"][names[0]] != row(before, name)["dice"][names[0]]


def test_the_table_has_a_line_for_every_row(
    tmp_path: Path, data: Path, folds: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, folds, tmp_path / "out") == 0
    result = json.loads((tmp_path / "out" / "postprocess.json").read_text())
    text = (tmp_path / "out" / "postprocess.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(table) == len(result["rows"]) == 12
    assert {line.count("|") for line in table} == {9}
    for line, each in zip(table, result["rows"], strict=True):
        assert each["name"] in line
        assert f"{each['volume_dice_mean']:.3f} (" in line
        assert ("(the recipe's own)" in line) == each["own"] == (f"{each['difference']['mean']:+.4f}" not in line)
    assert "4 patients in 2 folds" in text
    assert text in capsys.readouterr().out


def test_a_rule_of_the_checkpoints_that_is_none_of_the_usual_gets_rows_too() -> None:
    own = Setting(threshold=0.4, min_fraction=0.15, largest_component=False, flip=True)
    found = rules(own)
    assert own in found
    assert len(set(found)) == len(found) == 12
    assert {each.threshold for each in found} == {0.4}
    assert str(own) == "without pieces under 0.15 of the largest, with the mirror image"


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (None, "a.safetensors: alone leaves no other fold"),
        ({"held_out": []}, "b.safetensors: its header names no held-out cases"),
        ({"held_out": [1]}, "b.safetensors: TCGA_XX_1001 is held out by another checkpoint too: a.safetensors"),
        ({"held_out": [2], "cases": [2, 3]}, "b.safetensors: TCGA_XX_1002 is held out and trained on"),
        ({"min_fraction": 0.5}, "b.safetensors: is of another recipe, threshold or rule about pieces than"),
        ({"held_out": ["TCGA_XX_1009_20000101"]}, "there is no case"),
    ],
)
def test_checkpoints_that_do_not_go_together_are_one_clear_line(
    tmp_path: Path, data: Path, names: list[str], folds: list[Path], capsys: pytest.CaptureFixture[str],
    second: dict[str, Any] | None, problem: str,
) -> None:  # fmt: skip
    checkpoints = folds[:1]
    if second is not None:
        told = {"cases": [0], "held_out": [2, 3], **second}
        for key in ("cases", "held_out"):
            told[key] = [names[each] if isinstance(each, int) else each for each in told[key]]
        checkpoints.append(fold(folds[1], **told))
    assert run(data, checkpoints, tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert problem in printed
    assert printed.count("\n") == 1


def test_a_scan_that_cannot_be_read_is_named_before_the_first_is_predicted(
    tmp_path: Path, data: Path, names: list[str], folds: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (data / names[3] / f"{names[3]}_1.tif").write_bytes(b"no picture")
    assert run(data, folds, tmp_path / "out") == 2
    told = capsys.readouterr()
    assert f"{names[3]}_1.tif: " in told.err
    assert told.err.count("\n") == 1
    assert "scored" not in told.out


def test_cases_without_masks_and_a_file_for_a_folder_are_one_clear_line(
    tmp_path: Path, data: Path, names: list[str], folds: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data, folds, folds[0]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    for case in names[2:]:
        for file in (data / case).glob("*_mask.tif"):
            file.unlink()
    assert run(data, folds, tmp_path / "out") == 2
    assert "none of the cases that b.safetensors holds out has a mask" in capsys.readouterr().err
