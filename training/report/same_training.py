"""Whether the models of several folds were trained alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.errors import InputError
from training.report.fold_scores import FoldScores

_TOLD = 3
"""Most settings that an error names."""


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
    settings = [(fold.checkpoint, _settings(fold)) for fold in folds]
    for (first, one), (second, other) in combinations(settings, 2):
        if different := list(_differences(other, one)):
            told = "; ".join(different[:_TOLD])
            problem = f"was trained with other settings than {first}: {told}; train all folds with the same"
            raise InputError(problem, path=second)


def _settings(fold: FoldScores) -> dict[str, Any]:
    description = read_description(fold.checkpoint)
    found: dict[str, Any] = {"epochs": fold.training["epochs"]} if "epochs" in fold.training else {}
    for part in ("fit", "split"):
        found[part] = {name: value for name, value in fold.training.get(part, {}).items() if name != "seed"}
    if found.get("epochs") is not None:
        # They follow from the slices that a fold leaves.
        found["fit"].pop("steps", None)
    return found | {
        "network": asdict(description.network),
        "normalisation": description.normalisation,
        "resize": description.resize,
    }


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Settings that both have and that are not the same, with what they are in the one and not in the other."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one:
            if key in other:
                yield from _differences(one[key], other[key], f"{name}.{key}" if name else key)
    elif isinstance(one, Mapping) or isinstance(other, Mapping):
        yield name
    elif one != other:
        yield f"{name} {json.dumps(one)}, not {json.dumps(other)}"
