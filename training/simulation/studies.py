"""Who is corrected in a simulation, worked out from what a checkpoint has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.errors import InputError
from training.simulation.model import Cohort
from training.simulation.patients import choose_cases, patients_of, unseen_cases
from training.simulation.picks import BY_CHANCE, SuggestSlices
from training.simulation.retraining import Finetune, Plan
from training.simulation.scan import ScanRun, simulate_scan


def draws(picks: Sequence[str], seeds: int) -> list[tuple[str, int]]:
    """Ways to pick with their seeds: several where chance plays, else one."""
    return [(pick, seed) for pick in picks for seed in range(seeds if pick in BY_CHANCE else 1)]


def scan_runs(
    dataset: Dataset,
    checkpoints: Sequence[Path],
    *,
    cases: Sequence[str] = (),
    limit: int | None = None,
    ways: Sequence[tuple[str, int]],
    alone: bool = False,
    rehearse_labelled: bool = False,
) -> list[ScanRun]:
    """All ways through all scans, one scan after the other.

    Parameters
    ----------
    dataset : Dataset
        With masks.
    checkpoints : sequence of Path
        Each is taken through the cases that it never saw.
    cases : sequence of str
        Take these alone; see `choose_cases`.
    limit : int, optional
        The first so many of all.
    ways : sequence of (str, int)
        What `draws` returned.
    alone : bool
        Leave the other unseen cases out of the dataset of the corrections.
    rehearse_labelled : bool
        Put the cases that the checkpoint was trained on into it, with their masks; not those that only the one it
        began with had learned from, which may be of other data.

    Raises
    ------
    InputError
        If a checkpoint has seen all cases, or every one a case that was asked for.
    """
    wanted = set(choose_cases(dataset, cases))
    pairs: list[tuple[Path, str]] = []
    surroundings = {}
    for checkpoint in checkpoints:
        description = read_description(checkpoint)
        unseen = unseen_cases(description, dataset)
        if not unseen:
            raise InputError("its header names no case of this dataset that it was not trained on", path=checkpoint)
        pairs += [(checkpoint, case) for case in unseen if not wanted or case in wanted]
        trained = tuple(case for case in description.training.get("cases", []) if rehearse_labelled)
        surroundings[checkpoint] = (() if alone else tuple(unseen)), trained
    if missed := sorted(wanted - {case for _, case in pairs}):
        raise InputError(f"every checkpoint was trained on {missed[0]} or its patient", path=dataset.root)
    return [
        ScanRun(
            checkpoint=checkpoint,
            case=case,
            pick=pick,
            seed=seed,
            beside=surroundings[checkpoint][0],
            labelled=surroundings[checkpoint][1],
        )
        for checkpoint, case in pairs[:limit]
        for pick, seed in ways
    ]


def run_scans(
    runs: Sequence[ScanRun], *, plan: Plan, finetune: Finetune, suggest_slices: SuggestSlices, jobs: int = 1
) -> Iterator[dict[str, Any]]:
    """What `simulate_scan` returns for each run, in order; where the input is at fault, its ``error`` in one line.

    Parameters
    ----------
    runs : sequence of ScanRun
    plan : Plan
    finetune, suggest_slices : callable
        The engine's.
    jobs : int
        Runs at a time, each in a process of its own; 1: in this one.
    """
    work = partial(_run_scan, plan=plan, finetune=finetune, suggest_slices=suggest_slices)
    if jobs == 1:
        yield from map(work, runs)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, runs)


def make_cohort(
    dataset: Dataset,
    checkpoint: Path,
    *,
    correct: Sequence[str],
    evaluate: Sequence[str] = (),
    other: Sequence[str] = (),
    alone: bool = False,
    rehearse_labelled: bool = False,
) -> Cohort:
    """Who is corrected and who is scored in a simulation of the scope "model".

    Parameters
    ----------
    dataset, checkpoint, alone, rehearse_labelled
        As in `scan_runs`.
    correct, evaluate, other : sequence of str
        Cases, see `choose_cases` and `Cohort`. By default all unseen ones of other patients are evaluated.

    Raises
    ------
    InputError
        If nobody is corrected or evaluated, the checkpoint was trained on one of them, or a patient has two parts.
    """
    description = read_description(checkpoint)
    trained = description.training.get("cases", [])
    unseen = unseen_cases(description, dataset)
    corrected = choose_cases(dataset, correct)
    others = choose_cases(dataset, other)
    taken, kept_apart, known = patients_of([*corrected, *others]), patients_of(others), description.trained_patients
    left = [case for case in unseen if patient_of(case) not in taken]
    evaluated = choose_cases(dataset, evaluate) if evaluate else left
    if not corrected:
        raise InputError("the scope model needs --correct-cases: the cases to spread the corrections over")
    if seen := [case for case in (*corrected, *evaluated) if patient_of(case) in known]:
        raise InputError(f"it was trained on {seen[0]} or its patient; correct and evaluate others", path=checkpoint)
    if not evaluated:
        raise InputError("no case is left to evaluate; name some with --evaluate-cases")
    return Cohort(
        correct=tuple(corrected),
        evaluate=tuple(evaluated),
        other=tuple(others),
        # What is to show forgetting is not in the dataset: the round must not keep it in mind, with or without masks.
        beside=tuple(case for case in unseen if not alone and patient_of(case) not in kept_apart),
        labelled=tuple(case for case in trained if rehearse_labelled and patient_of(case) not in kept_apart),
    )


def protocol(plan: Plan, **settings: Any) -> dict[str, Any]:
    """What was run, without the folder of the data: the result may be shown around."""
    return settings | {key: value for key, value in asdict(plan).items() if key != "data"}


def _run_scan(run: ScanRun, *, plan: Plan, finetune: Finetune, suggest_slices: SuggestSlices) -> dict[str, Any]:
    if plan.threads is not None:
        import torch

        torch.set_num_threads(plan.threads)
    try:
        return simulate_scan(run, plan=plan, finetune=finetune, suggest_slices=suggest_slices)
    except InputError as error:
        return {"case": run.case, "pick": run.pick, "seed": run.seed, "error": error.problem}
