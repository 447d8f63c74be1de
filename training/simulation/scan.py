"""Scope "scan": how the slices of a scan that nobody corrected fare when some of its others are."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.segmenter import load_model
from training.simulation.annotator import Annotator, parse_hand
from training.simulation.patients import Patient, read_patient, unlabelled_copy
from training.simulation.picks import SuggestSlices, pick_slices
from training.simulation.retraining import Finetune, Line, Plan


@dataclass(frozen=True, kw_only=True)
class ScanRun:
    """One way through one scan."""

    checkpoint: Path
    case: str
    pick: str
    seed: int = 0
    beside: tuple[str, ...] = ()
    """Cases that lie in the dataset too, without masks."""

    labelled: tuple[str, ...] = ()
    """Cases that lie in it with theirs."""


def dice_of(mask: Mask, patient: Patient, *, without: Collection[int] = ()) -> float:
    """Volume Dice over the labelled slices, some left out; hard, no smoothing, 1 where both are empty."""
    keep = _kept(patient, without)
    return count(mask[keep], patient.truth[keep]).dice


def scan_scores(mask: Mask, annotator: Annotator) -> dict[str, float | None]:
    """How a model's mask of a scan compares with the truth.

    Parameters
    ----------
    mask : ndarray
        ``(Z, Y, X)``, as the model gives it.
    annotator : Annotator
        Who corrected slices of the scan.

    Returns
    -------
    dict
        ``untouched``: volume Dice over the slices never corrected; ``untouched_slices``: mean Dice of those of them
        that have tumour in truth or mask, None where none has; ``whole``: volume Dice of the mask with the corrected
        slices put in.
    """
    patient = annotator.patient
    by_slice = [
        count(mask[z], patient.truth[z]).dice
        for z in np.flatnonzero(_kept(patient, annotator.corrected))
        if mask[z].any() or patient.truth[z].any()
    ]
    return {
        "untouched": dice_of(mask, patient, without=annotator.corrected),
        "untouched_slices": float(np.mean(by_slice)) if by_slice else None,
        "whole": dice_of(annotator.put_into(mask), patient),
    }


def simulate_scan(run: ScanRun, *, plan: Plan, finetune: Finetune, suggest_slices: SuggestSlices) -> dict[str, Any]:
    """Correct slices and retrain, round by round.

    Returns
    -------
    dict
        ``case``, ``checkpoint``, ``pick``, ``seed``; ``dice``, the volume Dice before any correction; and ``rounds``:
        the slices corrected before each, how many there are by then, three times `scan_scores` with the same slices
        corrected, and what the round said of itself. ``parent`` is what the scan scores with the corrected slices
        put into the parent's mask and no retraining at all, ``kept`` with what the gate let through, ``tuned`` with
        the weights of this round whatever the gate said.

    Raises
    ------
    InputError
        If the case cannot be used, or the round refuses it.
    """
    original = open_dataset(plan.data)
    patient = read_patient(original[run.case])
    segmenter = load_model(run.checkpoint, device=plan.device)
    probability = segmenter.predict(patient.volume)
    untrained = mask = segmenter.mask(probability)
    annotator = Annotator(patient, hand=parse_hand(plan.degrade))
    rng = np.random.default_rng(run.seed)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
        dataset = unlabelled_copy(
            original, Path(folder) / "data", cases={run.case, *run.beside}, labelled=set(run.labelled) - {run.case}
        )
        line = Line(run.checkpoint, plan=plan, folder=Path(folder) / "models", finetune=finetune)
        for _ in range(plan.rounds):
            slices = pick_slices(
                run.pick,
                patient,
                count=plan.slices,
                probability=probability,
                mask=annotator.put_into(mask),
                corrected=annotator.corrected,
                threshold=segmenter.description.threshold,
                rng=rng,
                suggest_slices=suggest_slices,
            )
            if not slices:
                break
            annotator.correct(dataset, slices, model=segmenter.description.name)
            result = line.retrain(dataset, scope="scan", case=run.case, seed=run.seed)
            tuned_probability = result.tuned.predict(patient.volume)
            tuned = result.tuned.mask(tuned_probability)
            if result.promoted:
                segmenter, probability, mask = result.tuned, tuned_probability, tuned
            rounds.append(
                {
                    "slices": slices,
                    "corrected": len(annotator.corrected),
                    "parent": scan_scores(untrained, annotator),
                    "kept": scan_scores(mask, annotator),
                    "tuned": scan_scores(tuned, annotator),
                    "wall_seconds": result.wall_seconds,
                    "report": result.report,
                }
            )
    described = dataclasses.asdict(run) | {"checkpoint": run.checkpoint.name}
    return {
        **{key: described[key] for key in ("case", "checkpoint", "pick", "seed")},
        "dice": dice_of(untrained, patient),
        "rounds": rounds,
    }


def _kept(patient: Patient, without: Collection[int]) -> NDArray[np.bool_]:
    keep = patient.labelled.copy()
    keep[list(without)] = False
    return keep
