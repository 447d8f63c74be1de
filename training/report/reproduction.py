"""One reproduced recipe: scored under its project's protocol and under ours, with the same weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_unet_seg.data.splits import LEAKY, PARTS, Part, Split
from napari_unet_seg.engine.checkpoint import file_hash
from napari_unet_seg.engine.schedule import Schedule
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.wording import counted
from training.recipe import Recipe
from training.report.honest import honest_scores
from training.report.same_split import check_same_split
from training.report.seed_scores import PredictedSlices, predict_slices, seed_figures
from training.split import make_split
from training.whole_dataset import open_whole


def split_label(split: Split, kind: str) -> str:
    """What a split is called in the table; a split in which patients leak says so, whatever its kind."""
    if split.leaky:
        return LEAKY if kind == "slices" else f"{kind} split (leaky)"
    return {"patients": "split by patient", "given": "folders as given"}.get(kind, f"{kind} split")


def evaluate_recipe(
    recipe: Recipe, checkpoint: Path, *, data: Path, device: str = "auto"
) -> tuple[dict[str, Any], PredictedSlices]:
    """Score a trained recipe under its project's protocol and under ours.

    Parameters
    ----------
    recipe : Recipe
        Its split of the data has to be the one that the checkpoint was trained with.
    checkpoint : Path
        The weights.
    data : Path
        The dataset.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".

    Returns
    -------
    dict
        ``split``, ``reported``, ``metric``, ``seed_metrics`` by part, ``honest``, ``checkpoint`` and its ``sha256``.
    PredictedSlices
        Of the part that is headlined: test, or validation where nothing tests.

    Raises
    ------
    InputError
        If the checkpoint or the data cannot be used, or do not go together.
    """
    dataset = open_whole(data)
    split = make_split(recipe.split, dataset)
    segmenter = load_model(checkpoint, device=device)
    training = segmenter.description.training
    check_same_split(checkpoint, training, split=split, dataset=dataset, recipe=recipe)
    headlined: Part = "test" if split.test else "validation"
    reported = {part: dict(figures) for part, figures in recipe.reported.items()}
    figures: dict[str, Any] = {}
    kept: PredictedSlices | None = None
    for part in sorted({headlined, *(part for part in PARTS if part in reported)}, key=PARTS.index):
        predicted = predict_slices(segmenter, dataset, split.part(part), size=recipe.resize)
        figures[part] = seed_figures(predicted, smooth=recipe.metric_smooth, batch_size=recipe.fit.batch_size)
        if part == headlined:
            kept = predicted
    assert kept is not None
    honest = honest_scores(segmenter, dataset, split, headlined)
    return {
        "data": str(data),
        "split": {
            **dataclasses.asdict(recipe.split),
            "label": split_label(split, recipe.split.kind),
            "leaky": split.leaky,
            "slices": {part: len(split.part(part)) for part in PARTS},
        },
        "reported": reported,
        "metric": {"smooth": recipe.metric_smooth, "batch_size": recipe.fit.batch_size, "size": recipe.resize},
        "seed_metrics": figures,
        "honest": {"part": headlined, **dataclasses.asdict(honest)},
        "notes": list(recipe.notes),
        "checkpoint": str(checkpoint),
        "sha256": file_hash(checkpoint),
    }, kept


def length(training: Mapping[str, Any], *, recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How long a recipe was trained, whether that is less than it asks for, and whether in mixed precision.

    Parameters
    ----------
    training : mapping
        What the checkpoint's header says of its training.
    recipe : Recipe
        At its full length.
    history : sequence of mapping
        A row an epoch.
    """
    steps, planned, full = training["fit"]["steps"], training.get("epochs"), recipe.epochs
    # What the header says, not the recipe: `recipe` may come with the precision of this call.
    mixed = ", mixed precision" if training["fit"]["precision"] == "bfloat16" else ""
    if full is None or planned is None:
        reduced = full is not None or steps < recipe.fit.steps
        text = counted(steps, "step") + (", reduced length" if reduced else "") + mixed
        return {"text": text, "reduced": reduced, "epochs": None, "full": full}
    done = len(history) or planned
    schedule = Schedule(dataclasses.replace(recipe.fit, early_stopping=training["fit"]["early_stopping"]))
    for row in history:
        loss = row["validation_loss"]
        schedule.validated(math.nan if loss is None else loss)
    broken_off = done < planned and not schedule.over
    text = f"{done} of {full} epochs"
    if planned < full:
        text += ", reduced length"
    if broken_off:
        text += ", broken off"
    elif done < planned:
        text += ", stopped early by its own rule"
    return {"text": text + mixed, "reduced": planned < full or broken_off, "epochs": done, "full": full}
