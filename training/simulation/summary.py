"""The figures of a simulation, over patients and over draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from napari_unet_seg.engine.interval import bootstrap_interval

Run = Mapping[str, Any]


def by_patient(runs: Sequence[Run], value: Callable[[Run], float]) -> dict[str, float]:
    """A figure of each patient, the mean where there are several runs of one, as by chance."""
    cases = dict.fromkeys(run["case"] for run in runs)
    return {case: float(np.mean([value(run) for run in runs if run["case"] == case])) for case in cases}


def summarise_scans(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each pick and round, means over patients.

    Parameters
    ----------
    runs : sequence
        What `simulate_scan` returned.

    Returns
    -------
    list of dict
        Dice of the untouched slices and the gain on them (``gain_*``: with what the gate let through; ``tuned_*``: as
        if there were no gate), volume Dice before, with mere substitution and after; ``*_worst`` is that of the worst
        single run. ``against`` has the mean difference in volume Dice to every other pick, over the same patients.
    """
    rows = []
    picks = list(dict.fromkeys(run["pick"] for run in runs))
    for number in range(max((len(run["rounds"]) for run in runs), default=0)):
        reached = [run for run in runs if len(run["rounds"]) > number]
        whole = {
            pick: by_patient([run for run in reached if run["pick"] == pick], _score(number, "kept", "whole"))
            for pick in picks
        }
        for pick in picks:
            own = [run for run in reached if run["pick"] == pick]
            if not own:
                continue
            gain, tuned_gain = (_gain(number, which) for which in ("kept", "tuned"))
            rows.append(
                {
                    "pick": pick,
                    "round": number + 1,
                    "cases": len(whole[pick]),
                    "runs": len(own),
                    "corrected": float(np.mean([run["rounds"][number]["corrected"] for run in own])),
                    "promoted": sum(run["rounds"][number]["report"]["promoted"] for run in own),
                    "untouched_before": _mean(own, _score(number, "parent", "untouched")),
                    "untouched_after": _mean(own, _score(number, "kept", "untouched")),
                    "gain_mean": _mean(own, gain),
                    "gain_ci95": _interval(by_patient(own, gain)),
                    "gain_worst": min(gain(run) for run in own),
                    "tuned_gain_mean": _mean(own, tuned_gain),
                    "tuned_gain_worst": min(tuned_gain(run) for run in own),
                    "dice_before": _mean(own, lambda run: run["dice"]),
                    "dice_substituted": _mean(own, _score(number, "parent", "whole")),
                    "dice_after": _mean(own, _score(number, "kept", "whole")),
                    "against": {
                        other: _difference(whole[pick], whole[other])
                        for other in picks
                        if other != pick and whole[other]
                    },
                }
            )
    return rows


def summarise_models(
    runs: Sequence[Run], *, evaluate: Sequence[str], other: Sequence[str], reference: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row for each run and round.

    Parameters
    ----------
    runs : sequence
        What `simulate_model` returned.
    evaluate, other : sequence of str
        The cases that are to get better, and those that must not get worse.
    reference : mapping
        Dice by evaluated case of a model that is to be reached; may be empty.

    Returns
    -------
    list of dict
        Mean volume Dice of both groups before and after; ``gap_closed`` is the part of the way from before to the
        reference, None without one or where the parent is as good.
    """
    rows = []
    for run in runs:
        for number, done in enumerate(run["rounds"], 1):
            row = {
                "pick": run["pick"],
                "seed": run["seed"],
                "round": number,
                "corrected": done["corrected"],
                "promoted": done["report"]["promoted"],
                "reason": done["report"]["reason"],
                "reference": float(np.mean([reference[case] for case in evaluate])) if reference else None,
            }
            for group, cases in (("evaluated", evaluate), ("other", other)):
                for when, dice in (("before", run["before"]), ("after", done["kept"]), ("tuned", done["tuned"])):
                    row[f"{group}_{when}"] = float(np.mean([dice[case] for case in cases])) if cases else None
            gap = row["reference"] - row["evaluated_before"] if reference else 0.0
            for when in ("after", "tuned"):
                gained = row[f"evaluated_{when}"] - row["evaluated_before"]
                row[f"gap_closed_{when}"] = gained / gap if gap > 0 else None
            rows.append(row)
    return rows


def _score(number: int, which: str, what: str) -> Callable[[Run], float]:
    return lambda run: float(run["rounds"][number][which][what])


def _gain(number: int, which: str) -> Callable[[Run], float]:
    after, before = _score(number, which, "untouched"), _score(number, "parent", "untouched")
    return lambda run: after(run) - before(run)


def _mean(runs: Sequence[Run], value: Callable[[Run], float]) -> float:
    return float(np.mean(list(by_patient(runs, value).values())))


def _difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, Any]:
    differences = {case: ours[case] - theirs[case] for case in ours if case in theirs}
    if not differences:
        return {"cases": 0}
    return {
        "cases": len(differences),
        "mean": float(np.mean(list(differences.values()))),
        "ci95": _interval(differences),
    }


def _interval(values: Mapping[str, float]) -> list[float] | None:
    return bootstrap_interval(list(values.values()), cases=list(values))
