"""A round of retraining, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from napari_unet_seg.engine.events import RoundEvent, RoundStarted, StepDone, ValidationDone
from napari_unet_seg.engine.round_report import RoundReport
from napari_unet_seg.engine.versions import Version
from napari_unet_seg.wording import counted


class RoundProgress:
    """Makes a line of what a round tells, now and then.

    Parameters
    ----------
    every : float
        Seconds of the round between two lines.
    """

    def __init__(self, *, every: float = 5.0) -> None:
        self._every = every
        self._due = 0.0
        self._budget = 0.0
        self._loss = self._dice = ""

    def line(self, event: RoundEvent) -> str | None:
        """What to print for an event; None for most."""
        if isinstance(event, RoundStarted):
            self._budget, self._due = event.seconds, event.elapsed + self._every
            kept = f", keeping {counted(event.rehearsal, 'other case')} in mind" if event.rehearsal else ""
            learned = f"{counted(event.slices_corrected, 'corrected slice')} of {counted(event.cases, 'case')}"
            return f"learning from {learned}{kept}, for {event.seconds:g} s"
        if isinstance(event, StepDone):
            self._loss = f", loss {event.loss:.4f}"
        elif isinstance(event, ValidationDone):
            self._dice = f", held-back Dice {event.dice:.3f} (before: {event.before:.3f})"
        else:
            return None
        if event.elapsed < self._due:
            return None
        self._due = event.elapsed + self._every
        return f"{event.elapsed:4.0f}/{self._budget:g} s: step {event.step}{self._loss}{self._dice}"


def report_text(report: RoundReport, *, made: bool = False) -> str:
    """Several lines: before and after by case, and the verdict.

    Parameters
    ----------
    report : RoundReport
    made : bool
        Whether there was no model of that name before.
    """
    width = max([4, *(len(case.case) for case in report.cases)])
    rows = [f"{'case':{width}}  {'scored as':9}  slices  before   after  change"] if report.cases else []
    for case in report.cases:
        change = case.after - case.before
        scores = f"{case.before:6.3f}  {case.after:6.3f}  {change:+6.3f}"
        rows.append(f"{case.case:{width}}  {case.role:9}  {case.slices:6}  {scores}")
    if report.promoted:
        verdict = f"promoted: {report.reason}\n{report.name} is now version {report.version}"
    else:
        now = f"new, and the same as {report.parent}" if made else "as it was"
        kept = f"; what was learned is kept as version {report.version}" if report.version else ""
        verdict = f"not promoted: {report.reason}\n{report.name} is {now}{kept}"
    stopped = ", stopped" if report.stopped else ""
    took = f"{counted(report.steps, 'step')} in {report.seconds:.0f} s{stopped}"
    if report.before is not None and report.after is not None:
        took = f"Dice {report.before:.3f} before, {report.after:.3f} after; {took}"
    return "\n".join([*rows, took, verdict])


def versions_text(versions: Sequence[Version]) -> str:
    """A line for each version, the one in use marked with an asterisk."""
    return "\n".join(_version_line(version) for version in versions)


def _version_line(version: Version) -> str:
    mark = "*" if version.current else " "
    made = version.time[:16].replace("T", " ")
    if version.before is None or version.after is None:
        return f"{mark} {version.number:4}  {made:16}  {version.reason}"
    verdict = "promoted" if version.promoted else "not promoted"
    scores = f"Dice {version.before:.3f} -> {version.after:.3f}"
    return f"{mark} {version.number:4}  {made:16}  {scores}  {verdict}: {version.reason}"
