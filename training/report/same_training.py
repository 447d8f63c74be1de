"""Whether the models of several folds were trained alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from napari_unet_seg.engine.checkpoint import Description, read_description
from napari_unet_seg.errors import InputError
from training.differences import told_differences
from training.report.fold_scores import FoldScores


def check_same_training(folds: Sequence[FoldScores]) -> None:
    """Refuse to take folds for one result whose models were trained with different settings, seeds aside.

    What the header of an older version does not say is not asked for.

    Parameters
    ----------
    folds : sequence of FoldScores
        Their checkpoints are there.

    Raises
    ------
    InputError
        If networks, lengths or other settings of two folds differ.
    """
    settings = [
        (fold.checkpoint, settings_of(fold.training, **shape_of(read_description(fold.checkpoint)))) for fold in folds
    ]
    for (first, one), (second, other) in combinations(settings, 2):
        if told := told_differences(other, one):
            problem = f"was trained with other settings than {first}: {told}; train all folds with the same"
            raise InputError(problem, path=second)


def settings_of(training: Mapping[str, Any], **shape: Any) -> dict[str, Any]:
    """What decides a training, the seeds of its chance aside.

    Parameters
    ----------
    training : mapping
        What a header says of it.
    **shape
        What `shape_of` found, or as much of it as is known.
    """
    found: dict[str, Any] = {"epochs": training["epochs"]} if "epochs" in training else {}
    for part in ("fit", "split"):
        found[part] = {name: value for name, value in training.get(part, {}).items() if name != "seed"}
    if found.get("epochs") is not None:
        # They follow from the slices that a fold leaves.
        found["fit"].pop("steps", None)
    return found | shape


def shape_of(description: Description) -> dict[str, Any]:
    """The network, and what it is shown."""
    return {
        "network": asdict(description.network),
        "normalisation": description.normalisation,
        "resize": description.resize,
    }
