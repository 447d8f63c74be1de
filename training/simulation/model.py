"""Scope "model": what corrections in several cases do for cases that nobody touched."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.errors import InputError
from training.simulation.annotator import Annotator, parse_hand
from training.simulation.patients import patients_of, read_patient, unlabelled_copy
from training.simulation.picks import SuggestSlices, pick_slices
from training.simulation.retraining import Finetune, Line, Plan
from training.simulation.scan import dice_of


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Who is corrected, and who is looked at."""

    correct: tuple[str, ...]
    """Cases whose slices are corrected."""

    evaluate: tuple[str, ...]
    """Cases that are to get better."""

    other: tuple[str, ...] = ()
    """Cases that must not get worse."""

    beside: tuple[str, ...] = ()
    """Cases that lie in the dataset of the corrections too, without masks."""

    labelled: tuple[str, ...] = ()
    """Cases that lie in it with theirs."""

    @property
    def watched(self) -> tuple[str, ...]:
        """All cases that are scored."""
        return tuple(dict.fromkeys((*self.evaluate, *self.other)))

    def __post_init__(self) -> None:
        for name, group in (("evaluated", self.evaluate), ("other", self.other), ("labelled", self.labelled)):
            if twice := sorted(patients_of(self.correct) & patients_of(group)):
                raise InputError(f"{twice[0]} cannot be both corrected and among the {name} cases")
        if twice := sorted(patients_of(self.labelled) & patients_of([*self.evaluate, *self.other])):
            raise InputError(f"{twice[0]} cannot be scored when the round sees its mask")


def spread(total: int, cases: Sequence[str]) -> dict[str, int]:
    """So many slices over so many cases, as evenly as it goes; the first ones get one more."""
    each, more = divmod(total, len(cases))
    return {case: each + (number < more) for number, case in enumerate(cases)}


def dice_by_case(dataset: Dataset, cases: Sequence[str], segmenter: Segmenter) -> dict[str, float]:
    """Volume Dice of each case, by the model's own mask rule."""
    scores = {}
    for case_id in cases:
        patient = read_patient(dataset[case_id])
        scores[case_id] = dice_of(segmenter.mask(segmenter.predict(patient.volume)), patient)
    return scores


def reference_dice(
    checkpoints: Sequence[Path], cases: Sequence[str], *, dataset: Dataset, device: str
) -> dict[str, float]:
    """Volume Dice of each case by a checkpoint that never saw its patient; of several the first one.

    Raises
    ------
    InputError
        If they have all seen a patient.
    """
    left, scores = list(cases), {}
    for path in checkpoints:
        segmenter = load_model(path, device=device)
        seen = segmenter.description.trained_patients
        scores |= dice_by_case(dataset, [case for case in left if patient_of(case) not in seen], segmenter)
        left = [case for case in left if case not in scores]
    if left and checkpoints:
        raise InputError(f"the reference was trained on {left[0]}; give one that holds it out", path=checkpoints[-1])
    return {case: scores[case] for case in cases if case in scores}


def simulate_model(
    cohort: Cohort,
    *,
    plan: Plan,
    checkpoint: Path,
    before: Mapping[str, float],
    pick: str,
    seed: int,
    finetune: Finetune,
    suggest_slices: SuggestSlices,
) -> dict[str, Any]:
    """Correct slices of several cases and retrain the model, round by round.

    Parameters
    ----------
    cohort : Cohort
        The cases.
    plan : Plan
        ``plan.slices`` corrections before each round, spread over the cases.
    checkpoint : Path
        The parent.
    before : mapping
        Its Dice by case.
    pick, seed
        How slices are picked within a case.
    finetune, suggest_slices : callable
        The engine's.

    Returns
    -------
    dict
        ``pick``, ``seed``, ``before`` (Dice by case with the parent) and ``rounds``: the slices corrected before
        each, by case, Dice by case with what the gate let through (``kept``) and with the weights of this round
        whatever the gate said (``tuned``), and what the round said of itself.
    """
    original = open_dataset(plan.data)
    segmenter = load_model(checkpoint, device=plan.device)
    kept = before = dict(before)
    annotators = {
        case: Annotator(read_patient(original[case]), hand=parse_hand(plan.degrade)) for case in cohort.correct
    }
    rng = np.random.default_rng(seed)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="simulate-") as folder:
        cases = {*cohort.correct, *cohort.beside} - set(cohort.labelled)
        dataset = unlabelled_copy(original, Path(folder) / "data", cases=cases, labelled=cohort.labelled)
        line = Line(checkpoint, plan=plan, folder=Path(folder) / "models", finetune=finetune)
        for _ in range(plan.rounds):
            chosen = {}
            for case, wanted in spread(plan.slices, cohort.correct).items():
                annotator = annotators[case]
                probability = segmenter.predict(annotator.patient.volume)
                chosen[case] = pick_slices(
                    pick,
                    annotator.patient,
                    count=wanted,
                    probability=probability,
                    mask=annotator.put_into(segmenter.mask(probability)),
                    corrected=annotator.corrected,
                    threshold=segmenter.description.threshold,
                    rng=rng,
                    suggest_slices=suggest_slices,
                )
                annotator.correct(dataset, chosen[case], model=segmenter.description.name)
            if not any(chosen.values()):
                break
            result = line.retrain(dataset, scope="model", case=None, seed=seed)
            tuned = dice_by_case(original, cohort.watched, result.tuned)
            if result.promoted:
                segmenter, kept = result.tuned, tuned
            rounds.append(
                {
                    "slices": chosen,
                    "corrected": sum(len(annotator.corrected) for annotator in annotators.values()),
                    "kept": kept,
                    "tuned": tuned,
                    "wall_seconds": result.wall_seconds,
                    "report": result.report,
                }
            )
    return {"pick": pick, "seed": seed, "before": before, "rounds": rounds}
