"""Scores on patients that the model never saw: ``python -m training.out_of_fold --data FOLDER fold_0.safetensors ...``.

Each checkpoint is scored on the cases that its own header names as held out, with whatever `evaluate` measures; the
cases of all checkpoints then count as one set of patients.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores, score_cases, summarise
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.summary import summary_text
from napari_unet_seg.errors import InputError


def out_of_fold(checkpoints: Sequence[Path], *, data: Path) -> dict[str, Any]:
    """Score each checkpoint on its held-out cases.

    Raises
    ------
    InputError
        If a checkpoint holds nothing out, or two hold out the same case.
    """
    dataset = open_dataset(data)
    scores: list[CaseScores] = []
    slices: list[SliceScores] = []
    folds = []
    for path in checkpoints:
        segmenter = load_model(path)
        held_out = segmenter.description.training.get("held_out", [])
        if not held_out:
            raise InputError("its header names no held-out cases; train it with --folds and --fold", path=path)
        if repeated := {item.case for item in scores} & set(held_out):
            raise InputError(f"{min(repeated)} is held out by another checkpoint too", path=path)
        fold_scores, fold_slices = score_cases(
            [dataset[case_id] for case_id in held_out],
            segmenter,
            progress=lambda item: print(f"{item.case}: Dice {item.dice:.3f}", flush=True),
        )
        folds.append({"checkpoint": path.name, **summarise(fold_scores, fold_slices)})
        scores += fold_scores
        slices += fold_slices
    return {"cases": [asdict(item) for item in scores], "folds": folds, "summary": summarise(scores, slices)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.out_of_fold", description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    try:
        result = out_of_fold(given.checkpoints, data=given.data)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for fold in result["folds"]:
        print(f"{fold['checkpoint']}: {fold['cases']} cases, volume Dice {fold['volume_dice_mean']:.3f}")
    print(summary_text(result["summary"]))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
