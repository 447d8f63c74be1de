"""The time of a round, and how it is shared out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

_Item = TypeVar("_Item")


def _now() -> float:
    return time.perf_counter()


@dataclass(frozen=True, kw_only=True)
class RoundClock:
    """Tells how much of a round's time is gone."""

    started: float = field(default_factory=_now)
    """When the round began, by `time.perf_counter`; so are all moments here."""

    seconds: float = math.inf
    """Time for everything."""

    @property
    def deadline(self) -> float:
        """The moment at which the round is to be over."""
        return self.started + self.seconds

    def elapsed(self) -> float:
        """Seconds since the start."""
        return _now() - self.started

    def moment(self, share: float) -> float:
        """When a share of the time, in 0..1, is gone."""
        return self.started + share * self.seconds


def late(until: float, *, expected: float = 0.0) -> bool:
    """Whether a work that is expected to take so many seconds would end after a moment."""
    return _now() + expected > until


def shared_out(items: Sequence[_Item], *, until: float) -> Iterator[tuple[_Item, float]]:
    """Each item with the moment up to which it may take: its part of the time that is left when its turn comes."""
    for place, item in enumerate(items):
        now = _now()
        yield item, now + max(0.0, until - now) / (len(items) - place)
