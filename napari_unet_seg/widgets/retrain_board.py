"""What is set in panel Retrain, and what there is to learn from."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet_seg.engine.round_report import Scope
from napari_unet_seg.wording import counted


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """What the panel says."""

    scope: Scope = "scan"
    seconds: float = 60.0
    name: str = ""
    """Of the model that a round for all scans goes to."""


@dataclass(frozen=True, kw_only=True)
class RetrainBoard:
    """What there is to learn from."""

    open: bool = False
    """A dataset is open."""

    case: str = ""
    """The open case; empty for none."""

    scan_slices: int = 0
    """Its corrected and saved slices."""

    slices: int = 0
    """Those of the whole dataset."""

    cases: int = 0
    """Cases that these belong to."""

    alone: bool = False
    """One patient has all of those, and no other case a mask: nothing tells what a round does to other scans."""

    picture: bool = False
    """The open case is a single slice: nothing of it can be held back to check a round by."""

    unsaved: int = 0
    """Slices of the open case that wait to be saved."""

    def learnable(self, scope: Scope) -> int:
        """Slices that a round would learn from."""
        return self.scan_slices if scope == "scan" else self.slices

    def explain(self, scope: Scope) -> str:
        """What a scope does, and what there is for it."""
        if scope == "scan":
            there = "no scan of a dataset is open" if not self.case else _slices(self.scan_slices)
            return f"Adapts to the open scan, and is used for it alone: {there}."
        cases = f" in {self.cases} case{'s' if self.cases != 1 else ''}" if self.slices else ""
        there = f"{_slices(self.slices)}{cases}" if self.open else "no dataset is open"
        return f"Improves the model for every scan: {there}."


def _slices(count: int) -> str:
    if not count:
        return "no slice is corrected and saved yet"
    return counted(count, "corrected slice")
