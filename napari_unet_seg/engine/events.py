"""What a training tells while it runs, and how that travels between processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_unet_seg.engine.round_report import CaseReport, RoundReport


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimiser step."""

    step: int
    """Steps done so far."""

    steps: int
    """Steps in all; in a training with a time budget, as many as it may take at most."""

    loss: float

    elapsed: float = 0.0
    """Seconds since the start."""


@dataclass(frozen=True, kw_only=True)
class EpochDone:
    """A stretch of steps, after which the averaged weights are worth looking at."""

    epoch: int
    """Epochs done so far."""

    step: int
    loss: float
    """Mean loss over the epoch."""

    seconds: float
    """Seconds since the start."""

    slices_per_second: float

    learning_rate: float = 0.0
    """Of the last step."""

    validation: Mapping[str, float] | None = None
    """Scores of the weights that would be kept, where the training was told to validate."""


@dataclass(frozen=True, kw_only=True)
class FitFinished:
    """The end: all steps done, the time used up, or stopped on request."""

    steps: int
    """Steps really done."""

    seconds: float
    stopped: bool
    """True where the caller asked for the end before the last step."""


@dataclass(frozen=True, kw_only=True)
class RoundStarted:
    """A round has read its data and begins to train."""

    scope: str
    """``"scan"`` or ``"model"``."""

    slices_corrected: int
    """Corrected slices that it learns from."""

    cases: int
    """Cases that these belong to."""

    rehearsal: int
    """Other cases that it keeps in mind."""

    seconds: float
    """Its time budget."""

    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ValidationDone:
    """A look at slices held back from the round."""

    step: int
    """Optimiser steps done so far."""

    dice: float
    """Mean Dice over the cases looked at, with the weights of this moment."""

    before: float
    """The same with the parent's weights."""

    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CaseChecked:
    """A case was scored with the new weights, after the training."""

    case: str
    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RoundFinished:
    """The end of a round, with what came of it."""

    report: RoundReport


FitEvent = StepDone | EpochDone | FitFinished
RoundEvent = RoundStarted | StepDone | ValidationDone | CaseChecked | RoundFinished

_KINDS = {kind.__name__: kind for kind in (StepDone, EpochDone, FitFinished, RoundStarted, ValidationDone, CaseChecked)}


def to_record(event: FitEvent | RoundEvent) -> dict[str, Any]:
    """The event as plain values that JSON can hold."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_record(record: dict[str, Any]) -> FitEvent | RoundEvent:
    """The event that `to_record` made this of.

    Raises
    ------
    ValueError
        If it is none.
    """
    values = dict(record)
    name = values.pop("event", None)
    try:
        if name == RoundFinished.__name__:
            report = dict(values["report"])
            report["cases"] = tuple(CaseReport(**case) for case in report["cases"])
            return RoundFinished(report=RoundReport(**report))
        return _KINDS[str(name)](**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no event: {name}") from error
