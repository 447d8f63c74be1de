"""A picture of a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.simulation.summary import by_patient


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean Dice against corrections made."""

    label: str
    corrections: tuple[float, ...]
    dice: tuple[float, ...]
    floor: tuple[float, ...] = ()
    """The same without retraining, dashed."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Dice of one patient before and after."""

    case: str
    before: float
    after: float


def save_scan_figure(path: Path, result: Mapping[str, Any]) -> None:
    """Volume Dice against corrections for each pick, and the untouched slices of each patient by the first pick."""
    curves = []
    for pick in result["protocol"]["picks"]:
        rows = [row for row in result["summary"] if row["pick"] == pick]
        if rows:
            before = rows[0]["dice_before"]
            curves.append(
                Curve(
                    label=pick,
                    corrections=(0, *(row["corrected"] for row in rows)),
                    dice=(before, *(row["dice_after"] for row in rows)),
                    floor=(before, *(row["dice_substituted"] for row in rows)),
                )
            )
    own = [run for run in result["runs"] if run["pick"] == result["runs"][0]["pick"]]
    before, after = (
        by_patient(own, lambda run, which=which: run["rounds"][-1][which]["untouched"]) for which in ("parent", "kept")
    )
    _save(
        path,
        curves=curves,
        changes=[Change(case=case, before=before[case], after=after[case]) for case in after],
        levels={},
        what="mean volume Dice, corrected slices among it",
        changed=f"Dice on untouched slices ({own[0]['pick']})",
    )


def save_model_figure(path: Path, result: Mapping[str, Any]) -> None:
    """Mean volume Dice of those nobody corrected against corrections, and each of them in the first run."""
    groups = [group for group in ("evaluated", "other") if result["summary"][0][f"{group}_before"] is not None]
    curves = []
    for run in result["runs"]:
        rows = [row for row in result["summary"] if (row["pick"], row["seed"]) == (run["pick"], run["seed"])]
        curves += [
            Curve(
                label=f"{group} cases, {run['pick']} {run['seed']}",
                corrections=(0, *(row["corrected"] for row in rows)),
                dice=(rows[0][f"{group}_before"], *(row[f"{group}_after"] for row in rows)),
            )
            for group in groups
        ]
    first, reference = result["runs"][0], result["summary"][0]["reference"]
    after = first["rounds"][-1]["kept"]
    _save(
        path,
        curves=curves,
        changes=[Change(case=case, before=first["before"][case], after=after[case]) for case in after],
        levels={} if reference is None else {"reference, evaluated cases": reference},
        what="mean volume Dice of cases that nobody corrected",
        changed=f"volume Dice ({first['pick']} {first['seed']})",
    )


def _save(
    path: Path,
    *,
    curves: Sequence[Curve],
    changes: Sequence[Change],
    levels: Mapping[str, float],
    what: str,
    changed: str,
) -> None:
    """Draw curves at the left and patients at the right.

    Parameters
    ----------
    path : Path
        The PNG to write.
    curves : sequence of Curve
        In the order of the legend.
    changes : sequence of Change
        One a patient.
    levels : mapping
        Levels drawn across the curves, by name.
    what, changed : str
        What the curves and the changes are of.
    """
    figure = Figure(figsize=(12, max(4.5, 1.2 + 0.28 * len(changes))), layout="constrained")
    left, right = figure.subplots(1, 2)
    for curve in curves:
        (line,) = left.plot(curve.corrections, curve.dice, marker="o", label=curve.label)
        if curve.floor:
            left.plot(curve.corrections, curve.floor, linestyle="--", color=line.get_color(), marker=".")
    for number, (name, level) in enumerate(levels.items()):
        left.axhline(level, color="grey", linestyle=("-.", ":")[number % 2], label=name)
    if any(curve.floor for curve in curves):
        left.plot([], [], linestyle="--", color="grey", label="corrected slices put in, no retraining")
    left.set(xlabel="slices corrected", ylabel=what)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.grid(alpha=0.3)
    left.legend(fontsize="small")
    ordered = sorted(changes, key=lambda change: change.before)
    for place, change in enumerate(ordered):
        colour = "tab:green" if change.after >= change.before else "tab:red"
        right.plot((change.before, change.after), (place, place), color=colour, linewidth=2)
        right.plot(change.before, place, marker="o", color="grey")
        right.plot(change.after, place, marker="o", color=colour)
    right.set_yticks(range(len(ordered)), [change.case for change in ordered], fontsize="small")
    right.set(xlabel=f"{changed}: before (grey) and after", xlim=(-0.02, 1.02))
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
