"""What a change of a recipe is worth: ``python -m training.compare runs/base runs/change ...``.

Each folder is the output of a `training.cross_validate`, whole or some of its folds. The first is what the others are
compared with, patient by patient; all figures of a run are of the patients that both have scored. ``--json`` writes the
rows as well.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_unet_seg.engine.evaluate import summarise
from napari_unet_seg.errors import InputError, reading
from training.command_line import command, command_parser, report_file
from training.json_file import save_json
from training.report.fold_scores import FoldScores
from training.report.paired import paired_difference
from training.report.same_training import check_same_training
from training.report.with_interval import with_interval


def compare(runs: Mapping[str, Sequence[FoldScores]]) -> list[dict[str, Any]]:
    """A row for each run.

    Parameters
    ----------
    runs : mapping
        Name and folds; the first is what the others are compared with.

    Returns
    -------
    list of dict
        ``name``, and of the patients that the first run has scored too ``cases`` (their number),
        ``volume_dice_mean``, ``tumour_slice_dice_mean``, ``empty_slice_false_positive_rate``, ``dice`` by case, and
        ``difference``: see `paired_difference`; None for the first.

    Raises
    ------
    InputError
        If a run has no patient in common with the first, or scores of an older version, which do not say which slices
        are of the patients that it has.
    """
    rows: list[dict[str, Any]] = []
    reference: dict[str, float] = {}
    for name, folds in runs.items():
        reference = reference or {case.case: case.dice for fold in folds for case in fold.cases}
        shared = [fold.only(reference) for fold in folds]
        cases = [case for fold in shared for case in fold.cases]
        if not cases:
            raise InputError(f"{name} has no patient in common with {next(iter(runs))}; compare the same folds")
        summary = summarise(cases, [one for fold in shared for one in fold.slices])
        dice = {case.case: case.dice for case in cases}
        rows.append(
            {
                "name": name,
                "cases": len(cases),
                "volume_dice_mean": summary["volume_dice_mean"],
                "tumour_slice_dice_mean": summary["tumour_slice_dice_mean"],
                "empty_slice_false_positive_rate": summary["empty_slice_false_positive_rate"],
                "dice": dice,
                "difference": paired_difference(dice, reference) if rows else None,
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| run | patients | mean volume Dice | tumour slices | empty slices with a false mask "
        "| difference to the first | patients better, worse |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        tumour, empty = row["tumour_slice_dice_mean"], row["empty_slice_false_positive_rate"]
        cells = [
            row["name"],
            str(row["cases"]),
            f"{row['volume_dice_mean']:.3f}",
            "none" if tumour is None else f"{tumour:.3f}",
            "none" if empty is None else f"{empty:.1%}",
        ]
        gain = row["difference"]
        if gain is None:
            cells += ["", ""]
        else:
            cells += [with_interval(gain["mean"], gain["ci95"], form="+.3f"), f"{gain['better']}, {gain['worse']}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_run(folder: Path) -> list[FoldScores]:
    """The folds that a `training.cross_validate` has scored.

    Raises
    ------
    InputError
        If there is none, one cannot be read, or two were trained with different settings.
    """
    with reading(folder):
        files = sorted(file for file in folder.iterdir() if file.match("fold_*.json"))
    if not files:
        raise InputError("holds no scores of a fold; it is to be the output of training.cross_validate", path=folder)
    folds = [FoldScores.load(file) for file in files]
    check_same_training(folds)
    return folds


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.compare", __doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="outputs of training.cross_validate")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    # The first may be among the others once more: "runs/base runs/*".
    folders = list(dict.fromkeys(given.runs))
    distinct = len({folder.name for folder in folders}) == len(folders)
    rows = compare({folder.name if distinct else str(folder): read_run(folder) for folder in folders})
    save_json(given.json, rows)
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
