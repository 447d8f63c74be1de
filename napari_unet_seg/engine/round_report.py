"""What a round of retraining came to, as plain data; importing it costs no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["scan", "model"]


@dataclass(frozen=True, kw_only=True)
class CaseReport:
    """How the slices of one case fared that tell what the round is worth."""

    case: str
    role: str
    """``"held back"``: corrected slices, each predicted by a training that did not see it, against the correction;
    ``"rehearsal"``: a case with a mask, against that; ``"confident"``: slices that nobody corrected, against the
    parent's own mask wherever it was sure, so that ``before`` is 1; ``"learned"``: corrected slices that the round has
    learned from, where none could be held back."""

    slices: int
    """Slices that were scored."""

    before: float
    """Dice with the parent's weights."""

    after: float
    """Dice after the round."""


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """The outcome of one round."""

    name: str
    parent: str
    """Name of the model it began with."""

    scope: str
    """``"scan"``: for one scan alone; ``"model"``: for every scan."""

    promoted: bool
    """Whether the new weights took the parent's place."""

    seconds: float
    steps: int
    slices_corrected: int
    """Corrected slices, including those that looked like noise and were not learned from."""

    before: float | None
    """Mean Dice on what was held back, with the parent's weights and all pieces of the mask, small ones too; where a
    single slice is corrected, and nothing can be held back, on that one, which the round has learned from. None where
    nothing was measured."""

    after: float | None
    """The same after the round."""

    reason: str
    """Why it was promoted or not, in words."""

    version: int = 0
    """Its number among the versions of the model."""

    stopped: bool = False
    """Whether it was stopped before its time."""

    cases: tuple[CaseReport, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        values["cases"] = [dataclasses.asdict(case) for case in self.cases]
        return values
