"""Rounds on phantoms, from the shipped model unless a test says otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.events import RoundEvent
from napari_unet_seg.engine.finetune import finetune, finetune_events
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.engine.registry import Registry

LONG = 600.0
"""A time that no test takes: the steps end a round."""


EASY = {
    "least_gain": -1.0,
    "most_loss": 1.0,
    "most_loss_of_one": 1.0,
    "least_agreement": 0.0,
    "least_agreement_of_one": 0.0,
    "least_agreement_confirmed": 0.0,
}
"""A gate that lets the phantoms' small rounds through; what it asks for is tested in test_gate.py."""


def policy(scope: str, steps: int) -> object:
    known = POLICIES[scope]  # type: ignore[index]
    return replace(known, fit=replace(known.fit, steps=steps))


def wider(mask: Mask) -> Mask:
    """A lesion as an annotator draws it who takes in its edge."""
    return np.stack([ndimage.binary_dilation(plane, iterations=3) for plane in mask]).astype(np.uint8)


def shipped() -> Path:
    return Registry().path("default")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(dataset: Dataset, *, scope: str = "scan", steps: int = 8, **options: object) -> dict[str, object]:
    return finetune(dataset, **_settings(dataset, scope, steps, options))  # type: ignore[arg-type]


def begin(dataset: Dataset, *, scope: str = "scan", steps: int = 8, **options: object) -> Iterator[RoundEvent]:
    """As `run`, event by event."""
    return finetune_events(dataset, **_settings(dataset, scope, steps, options))  # type: ignore[arg-type]


def _settings(dataset: Dataset, scope: str, steps: int, options: dict[str, object]) -> dict[str, object]:
    case = dataset.cases[0].case_id if scope == "scan" else None
    standard = {"name": "mine", "seconds": LONG, "threads": 1, "policy": policy(scope, steps)}
    return {"scope": scope, "case": case, **standard, **options}
