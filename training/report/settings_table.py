"""What settings are worth against the checkpoints' own, as rows and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from napari_unet_seg.engine.evaluate import summarise
from training.report.fold_settings import FoldSettings
from training.report.mask_settings import GRID, Setting, chosen_thresholds, rules, thresholds
from training.report.paired import paired_difference
from training.report.with_interval import with_interval

_ABSENT = "none"


def compare(folds: Sequence[FoldSettings], *, own: Setting) -> list[dict[str, Any]]:
    """A row for each rule, plain and with the mirror image, and for each chosen threshold.

    Parameters
    ----------
    folds : sequence of FoldSettings
        At least two, with the settings of `rules` and `thresholds`.
    own : Setting
        What every row is compared with.

    Returns
    -------
    list of dict
        ``name``, ``own``, the fields of the setting (``threshold`` for each fold), ``grid`` (mean volume Dice over all
        patients by threshold, where one was chosen, else None), the summary of `evaluate.summarise`, ``dice`` by case,
        and ``difference`` in volume Dice to `own`: ``mean``, ``ci95`` (paired bootstrap over patients), ``better`` and
        ``worse`` (numbers of patients).
    """
    count = len(folds)
    rows = [_row(str(setting), [setting] * count, folds, own=own) for setting in rules(own)]
    for flip in (False, True):
        candidates = thresholds(own, flip=flip)
        by_fold = [{each.threshold: list(fold.dice(each).values()) for each in candidates} for fold in folds]
        chosen = [replace(candidates[0], threshold=each) for each in chosen_thresholds(by_fold, fixed=own.threshold)]
        name = f"{candidates[0]}, threshold chosen"
        grid = {each: float(np.mean([dice for fold in by_fold for dice in fold[each]])) for each in by_fold[0]}
        rows.append(_row(name, chosen, folds, own=own, grid=grid))
    return rows


def markdown(result: Mapping[str, Any]) -> str:
    """The table, and what it stands on."""
    lines = [
        f"{result['cases']} patients in {len(result['checkpoints'])} folds, each predicted by a network that has not "
        "seen them; volume Dice over every slice, no smoothing, with 95% bootstrap intervals over patients.",
        "",
        "| | threshold | mean volume Dice | median | tumour slices | empty slices with a false mask "
        "| difference to the recipe's own | patients better, worse |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        used = ", ".join(f"{threshold:.2f}" for threshold in dict.fromkeys(row["threshold"]))
        tumour, empty = row["tumour_slice_dice_mean"], row["empty_slice_false_positive_rate"]
        cells = [
            f"**{row['name']}** (the recipe's own)" if row["own"] else row["name"],
            used,
            with_interval(row["volume_dice_mean"], row["volume_dice_ci95"]),
            f"{row['volume_dice_median']:.3f}",
            _ABSENT if tumour is None else f"{tumour:.3f}",
            _ABSENT if empty is None else f"{empty:.1%}",
        ]
        gain = row["difference"]
        cells += (
            ["", ""]
            if row["own"]
            else [with_interval(gain["mean"], gain["ci95"], form="+.4f"), f"{gain['better']}, {gain['worse']}"]
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for row in result["rows"]:
        if row["grid"] is not None:
            pairs = zip(result["checkpoints"], row["threshold"], strict=True)
            used = ", ".join(f"{each['name']} {threshold:.2f}" for each, threshold in pairs)
            lines.append(f"- {row['name']} on the patients of the other folds, from {GRID[0]} to {GRID[-1]}: {used}")
    return "\n".join(lines) + "\n"


def _row(
    name: str,
    settings: Sequence[Setting],
    folds: Sequence[FoldSettings],
    *,
    own: Setting,
    grid: Mapping[float, float] | None = None,
) -> dict[str, Any]:
    """One row of `compare`; a setting for each fold."""
    scored = [one for fold, setting in zip(folds, settings, strict=True) for one in fold.scores[setting]]
    dice = {case.case: case.dice for case, _ in scored}
    reference = {case: value for fold in folds for case, value in fold.dice(own).items()}
    return {
        "name": name,
        "own": grid is None and settings[0] == own,
        **asdict(settings[0]),
        "threshold": [setting.threshold for setting in settings],
        "grid": grid,
        **summarise([case for case, _ in scored], [each for _, slices in scored for each in slices]),
        "difference": paired_difference(dice, reference),
        "dice": dice,
    }
