"""The table of the reproductions: what was reported, ours in the same terms, and ours in honest ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.report.honest import FROM_LEAKED
from training.report.with_interval import with_interval

_HEADS = (
    "recipe",
    "length",
    "split",
    "scored on",
    "reported Dice / IoU",
    "ours, the same metric: Dice / IoU",
    "accuracy",
    "honest: mean volume Dice (95% interval)",
    "median",
    "Dice of tumour slices",
    "empty slices with a false mask",
    "honest figures are from",
)
_CHOSE = " (chose the weights)"


def reproduction_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, with what has to be known to read it.

    Parameters
    ----------
    rows : sequence of mapping
        Entries of ``recipes`` in the JSON of `training.reproduce`.
    """
    lines = ["# The five published projects", ""]
    if any(row["length"]["reduced"] for row in rows):
        lines += ["**Trained at reduced length:** the figures say that the recipes run, not what they reach.", ""]
    lines += [f"| {' | '.join(_HEADS)} |", f"|{' --- |' * len(_HEADS)}"]
    for row in rows:
        parts = list(row["seed_metrics"])
        for number, part in enumerate(parts):
            ours, told = row["seed_metrics"][part], row["reported"].get(part, {})
            cells = [
                row["recipe"] if not number else "",
                row["length"]["text"] if not number else "",
                row["split"]["label"],
                f"{part}{_CHOSE if part == 'validation' else ''}, {ours['slices']} slices",
                _pair(told),
                _pair(ours),
                f"{ours['accuracy']:.4f}",
            ]
            honest = row["honest"] if part == row["honest"]["part"] else None
            lines.append(f"| {' | '.join([*cells, *(_honest_cells(honest) if honest else [''] * 5)])} |")
    lines += ["", *_notes(rows)]
    return "\n".join(lines) + "\n"


def _pair(figures: Mapping[str, float]) -> str:
    if not figures:
        return "none"
    return " / ".join(f"{figures[name]:.4f}" if name in figures else "none" for name in ("dice", "iou"))


def _honest_cells(honest: Mapping[str, Any]) -> list[str]:
    summary = honest["summary"]
    leaked = " (leaked)" if honest["kind"] == FROM_LEAKED else ""
    tumour, false = summary["tumour_slice_dice_mean"], summary["empty_slice_false_positive_rate"]
    return [
        with_interval(summary["volume_dice_mean"], summary["volume_dice_ci95"]) + leaked,
        f"{summary['volume_dice_median']:.3f}{leaked}",
        "none" if tumour is None else f"{tumour:.3f}{leaked}",
        "none" if false is None else f"{100 * false:.1f}%{leaked}",
        f"{honest['kind']}: {honest['remark']}",
    ]


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [
        "The metric of the projects is soft, taken over whole batches with smoothing, and averaged over batches; it "
        "rewards empty slices. The honest figures are means over patients, hard masks, every slice, no smoothing."
    ]
    if any("validation" in row["seed_metrics"] for row in rows):
        notes.append(
            "The weights that are scored are those of the epoch with the lowest validation loss, so figures of the "
            "validation flatter: it chose them."
        )
    if any(row["split"]["leaky"] for row in rows):
        notes.append(
            "A slice split (leaky) puts neighbours of every scored slice into the training, so both figures flatter "
            "there; what is marked (leaked) is no measure of how the network does on a new patient."
        )
    for row in rows:
        for note in row["notes"]:
            notes.append(f"{row['recipe']}: {note}")
    return [line for note in notes for line in (f"- {note}",)]
