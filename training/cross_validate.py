"""Five folds, every patient scored by a model that never saw them: ``python -m training.cross_validate RECIPE ...``.

All folds one after the other, then the report::

    python -m training.cross_validate default --data kaggle_3m --folds training/lgg_folds.json --output runs/cv

A fold as a job of its own, on whatever node is free, the report afterwards::

    python -m training.cross_validate default --data kaggle_3m --folds training/lgg_folds.json --output runs/cv --fold 3
    python -m training.cross_validate default --data kaggle_3m --output runs/cv --gather

Models that are trained already, each with the cases it holds out in its header; they stay where they are, and K counts
them::

    python -m training.cross_validate --data kaggle_3m --output runs/cv --checkpoints fold_0.safetensors ...

``--folds`` is a JSON file with the key ``folds``, lists of case ids; without it, or where its cases are not those of
the dataset, folds are drawn by patient. The folder gets ``folds.json``, for each fold ``fold_K.safetensors`` and the
scores ``fold_K.json``, and in the end ``cross_validation.json`` and ``report.html``. Ctrl-C ends a training after its
step, and ``--resume`` goes on there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.formats.atomic import check_writable, write_bytes
from napari_unet_seg.data.splits import labelled_slices, pictures_of_unknown
from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.engine.evaluate import CaseScores
from napari_unet_seg.engine.summary import summary_text
from napari_unet_seg.errors import InputError
from training.command_line import command, command_parser, ended_by_interrupt, positive_int
from training.json_file import save_json
from training.launch import default_threads
from training.recipe import Recipe
from training.recipes import RECIPES
from training.report.case_pictures import CasePictures
from training.report.fold_plan import FoldPlan, plan_folds
from training.report.fold_scores import FoldScores, score_fold, scored_checkpoint
from training.report.held_out import check_readable, unseen_cases
from training.report.out_of_fold import gather
from training.report.page import Portrait, cross_validation_page
from training.run_folder import RunFolder, check_free, folder_of
from training.settings import changed_recipe
from training.split import read_folds
from training.train import train
from training.whole_dataset import open_whole


def run_fold(
    recipe: Recipe, dataset: Dataset, *, fold: int, output: Path, resume: bool = False, device: str = "auto"
) -> FoldScores:
    """Train without one fold of ``output/folds.json``, score on it, and write ``fold_K.json``.

    Raises
    ------
    InputError
        If data or folder cannot be used.
    KeyboardInterrupt
        After the step at which Ctrl-C was pressed, with all written that `resume` goes on from.
    """
    with ended_by_interrupt() as should_stop:
        checkpoint = train(
            recipe,
            data=dataset.root,
            output=output / f"fold_{fold}.safetensors",
            folds=output / "folds.json",
            fold=fold,
            resume=resume,
            should_stop=should_stop,
        )
    return _scored(checkpoint, dataset, fold=fold, target=checkpoint.with_suffix(".json"), device=device)


def score_checkpoints(
    checkpoints: Sequence[Path], dataset: Dataset, *, output: Path, device: str = "auto"
) -> list[FoldScores]:
    """Score models that are trained already on what they hold out, and write ``output/fold_K.json`` of each.

    Raises
    ------
    InputError
        Before the first is scored, if one holds out nothing that can be scored, a case cannot be read, or there are
        scores of other models in the folder.
    """
    targets = [output / f"fold_{number}.json" for number in range(len(checkpoints))]
    own = {target: checkpoint.resolve() for target, checkpoint in zip(targets, checkpoints, strict=True)}
    for file in sorted(output.glob("fold_*.json")):
        if own.get(file) != scored_checkpoint(file).resolve():
            raise InputError("holds scores of another model; give another --output, or delete it", path=file)
    for checkpoint in checkpoints:
        check_readable(unseen_cases(checkpoint, read_description(checkpoint), dataset))
    return [
        _scored(checkpoint, dataset, fold=number, target=target, device=device)
        for number, (checkpoint, target) in enumerate(zip(checkpoints, targets, strict=True))
    ]


def write_report(
    folds: Sequence[FoldScores],
    dataset: Dataset,
    *,
    output: Path,
    folds_from: str,
    shown: int = 6,
    device: str = "auto",
) -> dict[str, Any]:
    """Gather folds, and write ``cross_validation.json`` and ``report.html``.

    Parameters
    ----------
    folds : sequence of FoldScores
        At least one.
    dataset : Dataset
        What they were scored on.
    output : Path
        The folder.
    folds_from : str
        Where the folds come from, in words.
    shown : int
        Worst cases with pictures.
    device : str
        What the pictures are predicted on.

    Returns
    -------
    dict
        What the JSON holds.

    Raises
    ------
    InputError
        If the folds do not go together, or the folder cannot be written.
    """
    result = {"data": str(dataset.root), "folds_from": folds_from, **gather(folds)}
    labelled = sum(case.has_mask for case in dataset)
    left = labelled - len(result["cases"])
    result["missing"] = (
        f"{left} of the {labelled} patients of this dataset are in none of these folds: they are not scored."
        if left
        else ""
    )
    depths = {row["case"]: dataset[row["case"]].read_shape()[0] for row in result["cases"]}
    result["patients_assumed"] = len(pictures_of_unknown(depths))
    save_json(output / "cross_validation.json", result)
    checkpoints = {scores.case: fold.checkpoint for fold in folds for scores in fold.cases}
    pictures = CasePictures(device=device)

    def portraits(rows: Sequence[dict[str, Any]]) -> list[Portrait]:
        return [Portrait(row=row, pictures=pictures.of(dataset[row["case"]], checkpoints[row["case"]])) for row in rows]

    cases = result["cases"]
    middle = len(cases) // 2
    page = cross_validation_page(result, worst=portraits(cases[:shown]), typical=portraits(cases[middle : middle + 1]))
    write_bytes(output / "report.html", page.encode())
    return result


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not given.checkpoints and not given.gather and given.recipe is None:
        parser.error("name a recipe to train, or give --checkpoints or --gather")
    if given.worst < 0:
        parser.error(f"--worst must not be negative, got {given.worst}")
    torch.set_num_threads(given.threads or default_threads())
    dataset = open_whole(given.data)
    check_writable(given.output / "cross_validation.json")
    if given.checkpoints:
        source = "those that the headers of the checkpoints name"
        scores = score_checkpoints(given.checkpoints, dataset, output=given.output, device=given.device)
    elif given.gather:
        source, scores = _gathered(given.output, dataset, device=given.device)
    else:
        plan = plan_folds(labelled_slices(dataset.cases), file=given.folds, count=given.count, seed=given.seed or 0)
        recipe = changed_recipe(
            RECIPES[given.recipe](), given.set, steps=given.steps, epochs=given.epochs, seed=given.seed
        )
        source, scores = plan.source, _trained(recipe, plan, dataset, given)
        if given.fold is not None:
            print(f"when all folds are there: the same with --gather in place of --fold (output {given.output})")
            return 0
    result = write_report(
        scores, dataset, output=given.output, folds_from=source, shown=given.worst, device=given.device
    )
    for fold in result["folds"]:
        print(f"{fold['checkpoint']}: {fold['cases']} cases, volume Dice {fold['volume_dice_mean']:.3f}")
    print(summary_text(result["summary"]))
    print(f"written: {given.output / 'report.html'}")
    return 0


def _trained(recipe: Recipe, plan: FoldPlan, dataset: Dataset, given: argparse.Namespace) -> list[FoldScores]:
    print(f"folds: {plan.source}", flush=True)
    wanted = range(len(plan.folds)) if given.fold is None else given.fold
    if wrong := [fold for fold in wanted if not 0 <= fold < len(plan.folds)]:
        raise InputError(f"there is no fold {wrong[0]}; there are {len(plan.folds)}, from 0")
    if not given.resume:
        # Before the first fold is trained, not after.
        for fold in wanted:
            check_free(given.output / f"fold_{fold}.safetensors")
    plan.save(given.output / "folds.json")
    return [
        run_fold(recipe, dataset, fold=fold, output=given.output, resume=given.resume, device=given.device)
        for fold in wanted
    ]


def _scored(checkpoint: Path, dataset: Dataset, *, fold: int, target: Path, device: str) -> FoldScores:
    scores = score_fold(checkpoint, dataset, fold=fold, device=device, progress=_print_case)
    scores.save(target)
    return scores


def _gathered(output: Path, dataset: Dataset, *, device: str) -> tuple[str, list[FoldScores]]:
    """Where the folds come from, and those that are done; what `training.run` trained alone is scored here."""
    plan = output / "folds.json"
    done = []
    for fold in range(len(read_folds(plan))):
        checkpoint, target = output / f"fold_{fold}.safetensors", output / f"fold_{fold}.json"
        if target.is_file():
            done.append(FoldScores.load(target))
        elif RunFolder(folder_of(checkpoint)).is_unfinished():
            print(f"{checkpoint.name} is half trained, to go on with by --resume: this fold is left out", flush=True)
        elif checkpoint.is_file():
            done.append(_scored(checkpoint, dataset, fold=fold, target=target, device=device))
        else:
            print(f"{checkpoint.name} is not there: this fold is left out", flush=True)
    if not done:
        raise InputError("no fold is done there; train some with --fold first", path=output)
    return str(json.loads(plan.read_text()).get("source", plan.name)), done


def _print_case(scores: CaseScores) -> None:
    print(f"{scores.case}: Dice {scores.dice:.3f}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("training.cross_validate", __doc__)
    add = parser.add_argument
    add("recipe", nargs="?", choices=sorted(RECIPES))
    add("--data", type=Path, required=True, help="a dataset with masks")
    add("--output", type=Path, required=True, metavar="DIR", help="where everything goes")
    add("--folds", type=Path, help="JSON with the folds")
    add("--count", type=int, default=5, help="folds that are drawn where there is no such file (default: 5)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, nargs="+", metavar="K", help="train and score these folds alone, from 0")
    which.add_argument("--gather", action="store_true", help="only the report, of the folds that are done in --output")
    which.add_argument("--checkpoints", type=Path, nargs="+", metavar="CKPT", help="score these, train nothing")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="epochs, instead of the recipe's length")
    length.add_argument("--steps", type=int, help="optimiser steps, instead of the recipe's length")
    add("--seed", type=int, help="seed of the training and of folds that are drawn")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any field of the recipe: fit.loss=dice")
    add("--resume", action="store_true", help="go on with folds that were broken off, and keep those that are done")
    add("--worst", type=int, default=6, help="worst cases with pictures (default: 6)")
    add("--device", default="auto", help="what is predicted on")
    add("--threads", type=positive_int, help="CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
