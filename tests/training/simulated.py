"""Stand-ins for the engine's part in a simulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.engine.checkpoint import Description, read_description, save_checkpoint
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.versions import VersionLine
from tests.engine.models import SMALL, small_network

# Random weights that find something in a phantom, though not the tumour.
_PARENT, _TUNED = 7, (13, 8, 12)


def save_fold(path: Path, *, cases: Sequence[str], held_out: Sequence[str]) -> Path:
    """A checkpoint with random weights that says what it was trained on."""
    description = Description(
        name=path.stem, network=SMALL, training={"cases": list(cases), "held_out": list(held_out)}
    )
    save_checkpoint(path, small_network(seed=_PARENT), description)
    return path


@dataclass
class FakeFinetune:
    """A round that learns nothing: its weights are other random ones."""

    promoted: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, dataset: Dataset, *, model: str, name: str, registry: Registry, **told: Any) -> dict[str, Any]:
        corrected = {case.case_id: case.corrected_slices() for case in dataset if case.corrected_slices()}
        labelled = {case.case_id: np.flatnonzero(case.labelled_slices()).tolist() for case in dataset}
        self.calls.append({"model": model, "corrected": corrected, "labelled": labelled, **told})
        line = VersionLine(name, registry=registry)
        line.begin(registry.path(model))
        description = read_description(registry.path(model))
        record = {"promoted": self.promoted, "before": 0.5, "after": 0.6, "reason": "so it was told"}
        described = dataclasses.replace(description, training={**description.training, "round": record})
        version = line.add(small_network(seed=_TUNED[len(self.calls) % len(_TUNED)]), described, promoted=self.promoted)
        return {"name": name, "parent": model, "version": version.number, "seconds": 1.0, "steps": 2, **record}


def suggest_last(volume: object, probability: object, *, corrected: Sequence[int], **_: object) -> list[Any]:
    """Suggests the last slices first, corrected ones too."""
    return [SimpleNamespace(slice=z) for z in range(len(probability) - 1, -1, -1)]
