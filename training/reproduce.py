"""The five published projects, reproduced: ``python -m training.reproduce --data LGG --coco COCO --output DIR``.

Each recipe is trained on the split its project used and scored twice with the same weights: with the project's own
metric on its own split, beside the figure it reports, and with ours, on whole patients of whom no slice was trained on.
A random split of slices leaves no such patient; then the table says so. ``--by-patient`` trains those recipes once
more, split by patient and scored on patients who chose nothing, for a figure that holds. The projects trained in full
precision; ``--precision bfloat16`` trains in mixed precision, several times as fast where the processor has it, and the
table says so.

``reproduction.md``, ``reproduction.json`` and figures are written after every recipe, beside what earlier calls for
other recipes left there; ``runs/RECIPE/`` holds what the training writes. Ctrl-C ends a training after its step, and
``--resume`` goes on there. ``--evaluate`` trains nothing and takes the checkpoints that are there, where the dataset
still gives the split that they were trained with.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.formats.atomic import check_writable, write_bytes
from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.errors import InputError, reading
from training.command_line import command, command_parser, ended_by_interrupt, positive_int
from training.json_file import save_json
from training.launch import default_threads
from training.recipe import Recipe
from training.recipes import RECIPES
from training.report.reproduction import evaluate_recipe, length
from training.report.reproduction_figures import (
    Example,
    save_curves,
    save_examples,
    save_size_bars,
    slice_picture,
)
from training.report.reproduction_table import reproduction_table
from training.report.seed_scores import PredictedSlices, telling_slices
from training.run_folder import check_free
from training.settings import changed_recipe
from training.split import make_split
from training.train import train
from training.whole_dataset import open_whole

SEEDS = ("seed_000", "seed_000_128", "seed_001", "seed_002", "seed_003", "seed_004")
SIZES = ("seed_000", "seed_000_128")
"""The two whose difference is the input size."""

_EXAMPLES = 4


def reproduce(
    recipes: Sequence[Recipe],
    *,
    lgg: Path | None,
    coco: Path | None,
    output: Path,
    epochs: int | None = None,
    by_patient: bool = False,
    train_them: bool = True,
    resume: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Train recipes, score them, and write table and figures after each.

    Parameters
    ----------
    recipes : sequence of Recipe
        Those whose split is given are trained on `coco`, the others on `lgg`.
    lgg, coco : Path, optional
        The datasets; one that no recipe needs may be left out.
    output : Path
        The folder.
    epochs : int, optional
        In place of the recipes' own.
    by_patient : bool
        Train those that split by slices a second time, split by patient.
    train_them : bool
        False takes the checkpoints that are in ``output/runs``.
    resume : bool
        Go on with trainings that were broken off, and keep those that are done.
    device : str
        What is predicted on.

    Returns
    -------
    dict
        What ``reproduction.json`` holds: ``recipes``, an entry each, with those of earlier calls that this one has not
        replaced.

    Raises
    ------
    InputError
        If a dataset is missing or cannot be used, a split leaves nothing to score, a run would be replaced, or what an
        earlier call wrote is damaged.
    KeyboardInterrupt
        After the step at which Ctrl-C was pressed, with all written that `resume` goes on from.
    """
    if by_patient:
        recipes = [variant for recipe in recipes for variant in (recipe, *_by_patient(recipe))]
    # Before the first one is trained, not after.
    planned = [changed_recipe(recipe, epochs=epochs) for recipe in recipes]
    sources = _sources(recipes, lgg=lgg, coco=coco)
    if train_them and not resume:
        for recipe in recipes:
            check_free(output / "runs" / recipe.name)
    rows = _earlier(output / "reproduction.json")
    histories = {name: _history(output / "runs" / name / "history.json") for name in rows}
    predicted: dict[str, PredictedSlices] = {}
    for recipe, shortened, data in zip(recipes, planned, sources, strict=True):
        folder = output / "runs" / recipe.name
        print(f"{recipe.name}: {folder}", flush=True)
        if train_them:
            with ended_by_interrupt() as should_stop:
                checkpoint = train(shortened, data=data, output=folder, resume=resume, should_stop=should_stop)
        else:
            checkpoint = folder / "best.safetensors"
        row, slices = evaluate_recipe(recipe, checkpoint, data=data, device=device)
        history = _history(folder / "history.json")
        told = length(read_description(checkpoint).training, recipe=recipe, history=history)
        row = {"recipe": recipe.name, "length": told, **row}
        rows[recipe.name] = row
        histories[recipe.name], predicted[recipe.name] = history, slices
        _write(list(rows.values()), output=output)
        _draw(row, slices, output=output)
        save_curves(output / "curves.png", histories)
        if recipe.name in SIZES:
            _compare_sizes(rows, predicted, output=output)
    return {"recipes": list(rows.values())}


def _sources(recipes: Sequence[Recipe], *, lgg: Path | None, coco: Path | None) -> list[Path]:
    """The dataset of each recipe, after a look whether it is there and the split leaves something to score."""
    datasets: dict[Path, Dataset] = {}
    sources = []
    for recipe in recipes:
        given = recipe.split.kind == "given"
        data = coco if given else lgg
        if data is None:
            raise InputError(f"{recipe.name} needs the dataset of {'--coco' if given else '--data'}")
        if data not in datasets:
            datasets[data] = open_whole(data)
        split = make_split(recipe.split, datasets[data])
        if not split.validation and not split.test:
            problem = "leaves no slice to validate or test, so there is nothing to score; use training.cross_validate"
            raise InputError(f"the split of {recipe.name} {problem}", path=data if given else None)
        sources.append(data)
    return sources


def _by_patient(recipe: Recipe) -> list[Recipe]:
    if recipe.split.kind != "slices":
        return []
    split, notes = dataclasses.replace(recipe.split, kind="patients"), recipe.notes
    if not split.test:
        half = split.validation / 2
        split = dataclasses.replace(split, validation=half, test=half)
        notes = ("by patient, half of the validation is a test: the other half chooses the weights", *notes)
    return [dataclasses.replace(recipe, name=f"{recipe.name}_by_patient", split=split, notes=notes, reported={})]


def _history(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text())) if path.is_file() else []


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """The rows that are there already, by recipe."""
    if not path.exists():
        return {}
    try:
        with reading(path):
            rows = list(json.loads(path.read_text())["recipes"])
        # As it will be written: what lacks a figure shows before anything is trained.
        reproduction_table(rows)
        return {row["recipe"]: row for row in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        problem = "is no result of training.reproduce; give another --output, or delete it"
        raise InputError(problem, path=path) from error


def _write(rows: Sequence[dict[str, Any]], *, output: Path) -> None:
    save_json(output / "reproduction.json", {"recipes": rows})
    write_bytes(output / "reproduction.md", reproduction_table(rows).encode())


def _examples(row: dict[str, Any], predicted: dict[str, PredictedSlices]) -> list[Example]:
    """The telling slices of the first model, with the masks of all."""
    dataset = open_whole(row["data"])
    first = next(iter(predicted.values()))
    examples = []
    for place in telling_slices(first, _EXAMPLES):
        slice_id = first.slices[place]
        masks = {}
        for name, slices in predicted.items():
            own = slices.slices.index(slice_id)
            masks[name] = (slices.probability[own] >= 0.5).astype("uint8"), slices.truth[own]
        image = slice_picture(dataset, slice_id)
        examples.append(Example(slice_id=slice_id, image=image, truth=first.truth[place], predictions=masks))
    return examples


def _draw(row: dict[str, Any], slices: PredictedSlices, *, output: Path) -> None:
    examples = _examples(row, {"prediction": slices})
    if examples:
        title = f"{row['recipe']}, {row['split']['label']}, {row['length']['text']}"
        save_examples(output / f"{row['recipe']}.png", examples, title=title)


def _compare_sizes(rows: Mapping[str, dict[str, Any]], predicted: dict[str, PredictedSlices], *, output: Path) -> None:
    """The two input sizes on the same slices, where this call has predicted both, and their figures side by side."""
    if not all(name in rows for name in SIZES):
        return
    save_size_bars(output / "sizes.png", [rows[name] for name in SIZES])
    if all(name in predicted for name in SIZES) and len({predicted[name].slices for name in SIZES}) == 1:
        examples = _examples(rows[SIZES[0]], {name: predicted[name] for name in SIZES})
        if examples:
            title = f"256² against 128², {rows[SIZES[0]]['split']['label']}"
            save_examples(output / "sizes_examples.png", examples, title=title)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads or default_threads())
    recipes = [changed_recipe(RECIPES[name](), seed=given.seed, precision=given.precision) for name in given.recipes]
    check_writable(given.output / "reproduction.json")
    reproduce(
        recipes,
        lgg=given.data,
        coco=given.coco,
        output=given.output,
        epochs=given.epochs,
        by_patient=given.by_patient,
        train_them=not given.evaluate,
        resume=given.resume,
        device=given.device,
    )
    print((given.output / "reproduction.md").read_text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("training.reproduce", __doc__)
    add = parser.add_argument
    add("--data", type=Path, metavar="LGG", help="the LGG dataset, or one with masks that stands in for it")
    add("--coco", type=Path, metavar="COCO", help="a dataset in folders train, valid and test (seed 004)")
    add("--output", type=Path, required=True, metavar="DIR", help="where everything goes")
    add("--recipes", nargs="+", choices=SEEDS, default=list(SEEDS), metavar="RECIPE", help=f"of {', '.join(SEEDS)}")
    add("--epochs", type=int, help="epochs, instead of the recipes' own; fewer is labelled as reduced length")
    add("--seed", type=int, help="seed of the trainings; the splits keep theirs")
    add("--precision", choices=["float32", "bfloat16"], help="of the trainings (default: the recipes' own, float32)")
    add("--by-patient", action="store_true", help="train those that split by slices once more, split by patient")
    add("--evaluate", action="store_true", help="train nothing: take the checkpoints in DIR/runs")
    add("--resume", action="store_true", help="go on with trainings broken off, and keep those that are done")
    add("--device", default="auto", help="what is predicted on")
    add("--threads", type=positive_int, help="CPU threads (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
