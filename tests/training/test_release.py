from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from tests.engine.models import save_small
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
    ],
)
def test_a_checkpoint_of_no_recipe_is_one_clear_line(
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
