"""The cases that a model may be scored on: those that its own header names as held out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.errors import InputError


def unseen_cases(checkpoint: Path, description: Description, dataset: Dataset) -> list[Case]:
    """The labelled cases that a checkpoint holds out.

    Parameters
    ----------
    checkpoint : Path
        For the errors.
    description : Description
        Its header.
    dataset : Dataset
        Where the cases are.

    Raises
    ------
    InputError
        If the header holds out nothing, or patients that were trained on, none of its cases has a mask, or it is half
        trained.
    """
    check_trained(checkpoint, description)
    held_out = description.training.get("held_out", [])
    if not held_out:
        raise InputError("its header names no held-out cases; train it with --folds and --fold", path=checkpoint)
    trained = description.trained_patients
    if seen := {patient_of(case_id) for case_id in held_out} & trained:
        raise InputError(f"{min(seen)} is held out and trained on; its scores would flatter", path=checkpoint)
    cases = [case for case in map(dataset.__getitem__, held_out) if case.has_mask]
    if not cases:
        raise InputError(f"none of the cases that {checkpoint.name} holds out has a mask", path=dataset.root)
    return cases


def check_trained(checkpoint: Path, description: Description) -> None:
    """Refuse a checkpoint that lies there from the first epoch on, of a training that was broken off.

    One that a validation has chosen may be of any epoch, and one with a time limit of any step: of those the header
    does not tell.

    Raises
    ------
    InputError
        If it is half trained.
    """
    training = description.training
    fit, done = training.get("fit", {}), training.get("steps_done")
    if "validation" in training or fit.get("seconds") is not None or done is None:
        return
    if done < (steps := fit.get("steps", done)):
        problem = f"is half trained, {done} of {steps} steps; go on with the run by --resume"
        raise InputError(problem, path=checkpoint)


def check_readable(cases: Iterable[Case]) -> None:
    """Read cases as for their scores, a little work next to predicting them; InputError for the first that cannot be.

    One that shows only when its turn comes takes the scores of all before it along.
    """
    for case in cases:
        check_usable(case.read_image())
        case.read_mask()
        case.check_mask()
