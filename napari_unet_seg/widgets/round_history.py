"""What a round has told so far, as the panel draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from napari_unet_seg.engine.events import RoundEvent, RoundFinished, RoundStarted, StepDone, ValidationDone
from napari_unet_seg.engine.round_report import RoundReport

Point = tuple[float, float]
"""Seconds since the start of the round, and a value."""

_MOST_POINTS = 150


@dataclass(kw_only=True)
class RoundHistory:
    """The course of one round."""

    budget: float
    """Seconds it may take."""

    started: RoundStarted | None = None
    losses: list[Point] = field(default_factory=list)
    """After every step."""

    dice: list[Point] = field(default_factory=list)
    """After every look at what is held back."""

    before: float | None = None
    """Dice there with the parent's weights."""

    elapsed: float = 0.0
    """Seconds, as of the latest event."""

    steps: int = 0
    report: RoundReport | None = None

    def take(self, event: RoundEvent) -> None:
        """Note an event."""
        if isinstance(event, RoundFinished):
            self.report = event.report
            return
        self.elapsed = max(self.elapsed, event.elapsed)
        if isinstance(event, RoundStarted):
            self.started, self.budget = event, event.seconds
        elif isinstance(event, StepDone):
            self.losses.append((event.elapsed, event.loss))
            self.steps = event.step
        elif isinstance(event, ValidationDone):
            self.dice.append((event.elapsed, event.dice))
            self.before = event.before

    def loss_curve(self) -> list[Point]:
        """The losses, averaged over stretches of steps: single ones jump too much to be read."""
        return means(self.losses, most=_MOST_POINTS)


def means(points: Sequence[Point], *, most: int) -> list[Point]:
    """At most `most` points, each the mean over as many neighbouring ones."""
    # At least four to a stretch, as soon as there are enough to draw a line with.
    size = max(-(-len(points) // most), 4 if len(points) >= 16 else 1)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(point[0] for point in stretch) / len(stretch), sum(point[1] for point in stretch) / len(stretch))
        for stretch in stretches
    ]
