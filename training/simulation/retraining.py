"""Rounds of retraining on a line of versions that nobody else sees."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.engine.allocator import keep_freed_memory
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError

_NAME = "simulated"


class Finetune(Protocol):
    """`engine.finetune.finetune`."""

    def __call__(
        self,
        dataset: Dataset,
        *,
        model: str,
        name: str,
        scope: str,
        case: str | None,
        seconds: float,
        device: str,
        seed: int,
        threads: int | None,
        registry: Registry,
        policy: TunePolicy | None,
    ) -> dict[str, Any]:
        """Retrain from the corrections in a dataset; what `RoundReport.to_json` gives."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What all runs of a simulation have in common."""

    data: Path
    """A dataset with masks."""

    slices: int = 3
    """Corrections before each round: of the scan, or of all corrected cases together."""

    rounds: int = 1
    seconds: float = 60.0
    """Time budget of a round."""

    degrade: str = ""
    """What is wrong with the annotator's hand; see `annotator.parse_hand`."""

    policy: TunePolicy | None = None
    """How a round is done; None for the plugin's own way."""

    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.slices < 1 or self.rounds < 1:
            raise InputError(f"there must be slices and rounds, got {self.slices} and {self.rounds}")
        if not 0 < self.seconds < math.inf:
            raise InputError(f"a round takes time, got {self.seconds} s")


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """What a round said of itself, and its weights."""

    report: dict[str, Any]
    """Without the gate's cases."""

    wall_seconds: float
    """From the call to its return, reading the data and the gate included."""

    tuned: Segmenter
    """The weights of this round, whether they were promoted or not."""

    @property
    def promoted(self) -> bool:
        """Whether they took the parent's place."""
        return bool(self.report["promoted"])


class Line:
    """A parent and what is made of it, round by round.

    Parameters
    ----------
    checkpoint : Path
        The parent.
    plan : Plan
        Budget and device.
    folder : Path
        Where the versions are kept.
    finetune : callable
        Does a round.
    """

    def __init__(self, checkpoint: Path, *, plan: Plan, folder: Path, finetune: Finetune) -> None:
        self._parent = checkpoint
        self._plan = plan
        self._registry = Registry(folder)
        self._finetune = finetune
        self._began = False

    def retrain(self, dataset: Dataset, *, scope: str, case: str | None, seed: int) -> RoundResult:
        """Do a round; the next one goes on from where the newest promoted one got."""
        # As in the process that the dock has for a round.
        keep_freed_memory()
        began = time.perf_counter()
        report = self._finetune(
            dataset,
            model=_NAME if self._began else str(self._parent),
            name=_NAME,
            scope=scope,
            case=case,
            seconds=self._plan.seconds,
            device=self._plan.device,
            seed=seed,
            threads=self._plan.threads,
            registry=self._registry,
            policy=self._plan.policy,
        )
        wall = time.perf_counter() - began
        self._began = True
        return RoundResult(
            report={key: value for key, value in report.items() if key not in ("name", "parent", "scope", "cases")},
            wall_seconds=round(wall, 1),
            tuned=self._version(report["version"]),
        )

    def _version(self, number: int) -> Segmenter:
        versions = VersionLine(_NAME, registry=self._registry).versions()
        path = next(version.path for version in versions if version.number == number)
        return load_model(path, device=self._plan.device)
