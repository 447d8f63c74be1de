"""The folds together: every patient scored by a model that never saw them, as one set, by site and by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from napari_unet_seg.data.splits import site_of
from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.engine.evaluate import summarise
from napari_unet_seg.engine.interval import bootstrap_interval
from napari_unet_seg.errors import InputError
from training.report.fold_scores import FoldScores
from training.report.same_training import check_same_training, shape_of

SITES = {
    "CS": "Thomas Jefferson University",
    "DU": "Henry Ford Hospital",
    "EZ": "University of North Carolina",
    "FG": "Case Western Reserve University",
    "HT": "Case Western Reserve University, St. Joseph's",
}
"""Hospitals of the public LGG dataset by the two letters in their ids (Buda, Saha, Mazurowski 2019)."""

_SIZES = ("small", "medium", "large")


def gather(folds: Sequence[FoldScores]) -> dict[str, Any]:
    """All folds as one result.

    Parameters
    ----------
    folds : sequence of FoldScores
        At least one.

    Returns
    -------
    dict
        ``summary`` as `evaluate` has it; ``folds``, a summary of each with its ``training`` and the ``shape`` of its
        network; ``by_site`` and ``by_size``, rows of
        `group_row`; ``cases``, the scores of each with ``fold``, ``site`` and ``size``, worst first.

    Raises
    ------
    InputError
        If two folds hold out the same case, or they are of different recipes or settings.
    """
    owner: dict[str, FoldScores] = {}
    for fold in folds:
        for scores in fold.cases:
            if scores.case in owner:
                other = owner[scores.case].checkpoint.name
                raise InputError(f"{scores.case} is held out by another checkpoint too: {other}", path=fold.checkpoint)
            owner[scores.case] = fold
    if len(recipes := {fold.recipe for fold in folds}) > 1:
        raise InputError(f"the checkpoints are of different recipes: {', '.join(sorted(recipes))}")
    check_same_training(folds)
    ordered = sorted((scores for fold in folds for scores in fold.cases), key=lambda scores: scores.case)
    rows: list[dict[str, Any]] = [asdict(scores) for scores in ordered]
    for row in rows:
        row |= {"fold": owner[row["case"]].fold, "site": site_of(row["case"])}
    sizes = _by_size(rows)
    all_cases = [scores for fold in folds for scores in fold.cases]
    return {
        "recipe": folds[0].recipe,
        "spacing_assumed": sum(fold.spacing_assumed for fold in folds),
        "summary": summarise(all_cases, [one for fold in folds for one in fold.slices]),
        "folds": [
            {"fold": fold.fold, "checkpoint": fold.checkpoint.name, "sha256": fold.sha256, "training": fold.training}
            | {"shape": shape_of(read_description(fold.checkpoint))}
            | summarise(fold.cases, fold.slices)
            for fold in folds
        ],
        "by_site": [
            group_row(site, [row for row in rows if row["site"] == site], name=SITES.get(site, "no TCGA id"))
            for site in sorted({row["site"] for row in rows})
        ],
        "by_size": sizes,
        "cases": sorted(rows, key=lambda row: row["dice"]),
    }


def group_row(group: str, rows: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Volume Dice of a group of patients: ``group``, ``cases``, ``volume_dice_mean``, ``_median`` and ``_ci95``.

    Parameters
    ----------
    group : str
        Its name.
    rows : sequence of mapping
        At least one, with the keys ``case`` and ``dice``. A single patient has no interval: it is None.
    **more
        Further entries.
    """
    dice = [row["dice"] for row in rows]
    return {
        "group": group,
        **more,
        "cases": len(dice),
        "volume_dice_mean": float(np.mean(dice)),
        "volume_dice_median": float(np.median(dice)),
        "volume_dice_ci95": bootstrap_interval(dice, cases=[row["case"] for row in rows]),
    }


def _by_size(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Thirds of the patients by true volume; each row is told its own."""
    ordered = sorted(rows, key=lambda row: (row["volume_ml_true"], row["case"]))
    groups = []
    for name, part in zip(_SIZES, np.array_split(np.arange(len(ordered)), len(_SIZES)), strict=True):
        members = [ordered[place] for place in part]
        for member in members:
            member["size"] = name
        if members:
            volumes = [member["volume_ml_true"] for member in members]
            groups.append(group_row(name, members, volume_ml_from=volumes[0], volume_ml_to=volumes[-1]))
    return groups
