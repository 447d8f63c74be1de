"""What a training tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One optimiser step."""

    step: int
    """Steps done so far."""

    steps: int
    """Steps in all."""

    loss: float


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


@dataclass(frozen=True, kw_only=True)
class FitFinished:
    """The end: all steps done, or stopped on request."""

    steps: int
    """Steps really done."""

    seconds: float
    stopped: bool
    """True where the caller asked for the end before the last step."""


FitEvent = StepDone | EpochDone | FitFinished
