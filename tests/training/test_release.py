from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from tests.engine.models import SMALL, save_small
from training import release


def trained(path: Path, training: dict[str, Any]) -> Path:
    """A checkpoint whose header says so of its training."""
    network, description = load_checkpoint(save_small(path))
    save_checkpoint(path, network, dataclasses.replace(description, training=training))
    return path


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        ({}, "its header names no recipe; release what"),
        ({"recipe": "seed_001_by_patient"}, "its recipe seed_001_by_patient is none of training/recipes; release what"),
        ({"recipe": ["default"]}, "is none of training/recipes; release what"),
        ({"recipe": "default", "fit": {"steps": 4}, "steps_done": 3}, "is half trained, 3 of 4 steps; go on"),
    ],
)
def test_a_checkpoint_that_is_none_to_release_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training: dict[str, Any], problem: str
) -> None:
    file = trained(tmp_path / "m.safetensors", training)
    assert release.main([str(file), "--metrics", str(tmp_path / "no"), "--destination", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{file}: ")
    assert problem in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file"),
        ("{", "holds no scores of all folds; give cross_validation.json"),
        ("[]", "holds no scores of all folds"),
        (json.dumps({"summary": {"cases": 3}}), "holds no scores of all folds"),
    ],
)
def test_scores_that_are_none_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, problem: str
) -> None:
    file, scores = trained(tmp_path / "m.safetensors", {"recipe": "default"}), tmp_path / "cross_validation.json"
    if content is not None:
        scores.write_text(content)
    assert release.main([str(file), "--metrics", str(scores), "--destination", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{scores}: {problem}")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


FIT = {"steps": 4, "loss": "dice", "seed": 0}


def scores_of(path: Path, **changes: Any) -> Path:
    """What ``training.cross_validate`` writes of a fold, as far as a release reads it."""
    summary = dict.fromkeys(("cases", "volume_dice_mean", "volume_dice_median", "tumour_slice_dice_mean"), 1)
    summary |= {"volume_dice_ci95": None, "empty_slice_false_positive_rate": None}
    shape = {"network": dataclasses.asdict(SMALL)}
    fold = {"training": {"recipe": "default", "fit": FIT | {"seed": 3}}, "shape": shape}
    path.write_text(json.dumps({"recipe": "default", "missing": "", "summary": summary, "folds": [fold]} | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"recipe": "seed_001"}, "are scores of the recipe seed_001, and "),
        ({"missing": "3 of the 5 patients are not scored."}, "3 of the 5 patients are not scored. Score all folds"),
        ({"folds": [{"training": {"fit": FIT | {"steps": 8}}}]}, "the models scored were trained with other settings"),
        ({"folds": [{"training": {}, "shape": {"network": {"context": 3}}}]}, "the models scored were trained with"),
    ],
)
def test_scores_of_other_models_are_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], problem: str
) -> None:
    file = trained(tmp_path / "m.safetensors", {"recipe": "default", "fit": FIT})
    scores = scores_of(tmp_path / "cross_validation.json", **changes)
    arguments = [str(file), "--metrics", str(scores), "--destination", str(tmp_path / "out")]
    assert release.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{scores}: {problem}")
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    # Whoever says how the settings differ may have them differ; nothing else.
    assert release.main([*arguments, "--protocol", "twice as many steps"]) == (0 if "folds" in changes else 2)


def test_scores_of_models_trained_alike_are_taken(tmp_path: Path) -> None:
    file = trained(tmp_path / "m.safetensors", {"recipe": "default", "fit": FIT})
    scores = scores_of(tmp_path / "cross_validation.json")
    target = release.release(file, metrics=scores, destination=tmp_path / "out")
    assert load_checkpoint(target)[1].metrics["protocol"] == release.PROTOCOL
