"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.report.with_interval import with_interval

_SIGN = {True: "yes", False: "no"}


def scan_line(run: Mapping[str, Any]) -> str:
    """What came of one run."""
    name = f"{run['case']} {run['pick']} {run['seed']}"
    if not run.get("rounds"):
        return f"{name}: {run.get('error', 'there is no slice to correct')}"
    last = run["rounds"][-1]
    before, after, tuned = (last[which]["untouched"] for which in ("parent", "kept", "tuned"))
    return f"{name}: untouched {before:.3f} -> {after:.3f} ({tuned:.3f} without the gate); {last['report']['reason']}"


def scan_table(result: Mapping[str, Any]) -> str:
    """A row for each run's last round, then a row for each pick and round."""
    lines = [
        "",
        f"{'case':<24}{'pick':<12}{'seed':>4}{'slices':>7}  untouched slices        whole volume              promoted",
        f"{'':<47}  before  after   gain    before  floor   after",
    ]
    for run in result["runs"]:
        last = run["rounds"][-1]
        before, after = last["parent"], last["kept"]
        lines.append(
            f"{run['case']:<24}{run['pick']:<12}{run['seed']:>4}{last['corrected']:>7}"
            f"  {before['untouched']:.3f}   {after['untouched']:.3f}  {after['untouched'] - before['untouched']:+.3f}"
            f"    {run['dice']:.3f}   {before['whole']:.3f}   {after['whole']:.3f}"
            f"   {_SIGN[last['report']['promoted']]}"
        )
    for row in result["summary"]:
        lines += [
            "",
            f"{row['pick']}, round {row['round']}: {row['corrected']:.1f} slices corrected in each of {row['cases']} "
            f"patients, {row['promoted']} of {row['runs']} rounds promoted",
            f"  untouched slices  {row['untouched_before']:.3f} -> {row['untouched_after']:.3f}, gain "
            f"{with_interval(row['gain_mean'], row['gain_ci95'], form='+.3f')}, worst {row['gain_worst']:+.3f}; "
            f"without the gate {row['tuned_gain_mean']:+.3f}, worst {row['tuned_gain_worst']:+.3f}",
            f"  whole volume      {row['dice_before']:.3f}, slices put in {row['dice_substituted']:.3f}, "
            f"retrained {row['dice_after']:.3f}",
        ]
        for other, difference in row["against"].items():
            if difference["cases"]:
                lines.append(
                    f"  against {other:<10}{with_interval(difference['mean'], difference['ci95'], form='+.3f')}"
                )
    lines += [f"failed: {scan_line(run)}" for run in result["failed"]]
    return "\n".join(lines)


def model_table(result: Mapping[str, Any]) -> str:
    """A row for each case of the first run, then the means of each run and round."""
    first = result["runs"][0]
    cohort, reference = result["protocol"]["cohort"], result["reference"]
    last = first["rounds"][-1]
    lines = ["", f"{'case':<24}{'':<11}before   after    no gate  reference"]
    for group, cases in (("evaluated", cohort["evaluate"]), ("other", cohort["other"])):
        lines += [
            f"{case:<24}{group:<11}{first['before'][case]:.3f}    {last['kept'][case]:.3f}    {last['tuned'][case]:.3f}"
            f"    {_shown(reference.get(case) if group == 'evaluated' else None)}"
            for case in cases
        ]
    for row in result["summary"]:
        lines += [
            "",
            f"{row['pick']} {row['seed']}, round {row['round']}: {row['corrected']} slices corrected, "
            f"promoted: {_SIGN[row['promoted']]} ({row['reason']})",
            f"  evaluated  {row['evaluated_before']:.3f} -> {row['evaluated_after']:.3f}"
            f" (without the gate {row['evaluated_tuned']:.3f}), reference {_shown(row['reference'])}, "
            f"gap closed {_shown(row['gap_closed_after'])}",
        ]
        if row["other_before"] is not None:
            lines.append(
                f"  other      {row['other_before']:.3f} -> {row['other_after']:.3f}"
                f" (without the gate {row['other_tuned']:.3f})"
            )
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
