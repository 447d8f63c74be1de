"""The split that a recipe asks for, of a dataset; and folds out of a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import (
    PARTS,
    Part,
    Split,
    by_patient,
    by_slice,
    given,
    labelled_slices,
    parts_of_folders,
    patient_of,
)
from napari_unet_seg.errors import InputError, reading

if TYPE_CHECKING:
    from training.recipe import SplitConfig


def make_split(config: SplitConfig, dataset: Dataset) -> Split:
    """Which labelled slices of a dataset train, validate and test; the same for the same dataset and configuration.

    Masks are read to see which slices have one.

    Raises
    ------
    InputError
        If the dataset is too small for the split, or lacks the folders it goes by.
    """
    slices = labelled_slices(dataset.cases)
    return split_slices(config, slices, parts=lambda: parts_of_folders(dataset), shortened=False)


def split_slices(
    config: SplitConfig,
    slices: Mapping[str, Sequence[int]],
    *,
    parts: Callable[[], Mapping[str, Part]],
    shortened: bool,
) -> Split:
    """What `make_split` does, by the labelled slices of each case alone; and with a fold left out.

    Parameters
    ----------
    config : SplitConfig
        The recipe's.
    slices : mapping of str to sequence of int
        Of the cases that are in some part.
    parts : callable
        The part of each case, asked for where the split is given.
    shortened : bool
        Whether cases that are left out are the test: the share for one trains, then.
    """
    if shortened and config.kind != "given":
        config = dataclasses.replace(config, train=config.train + config.test, test=0.0)
    if config.kind == "given":
        return given(slices, parts())
    draw = by_patient if config.kind == "patients" else by_slice
    return draw(slices, train=config.train, validation=config.validation, test=config.test, seed=config.seed)


def split_fingerprint(split: Split) -> str:
    """SHA-256 over which slice is in which part."""
    parts = {part: sorted(split.part(part)) for part in PARTS}
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def check_left_out(
    left_out: Collection[str], *, cases: Collection[str], trained: Collection[str], data: Path | str
) -> None:
    """Refuse to leave out what is not there, and a scan of a patient of whom another one trains.

    Parameters
    ----------
    left_out : collection of str
        Cases of a fold.
    cases : collection of str
        All of the data.
    trained : collection of str
        Those that train or validate.
    data : Path or str
        For the error.

    Raises
    ------
    InputError
        If the fold is no such one.
    """
    if missing := [case_id for case_id in left_out if case_id not in cases]:
        raise InputError(
            f"{data}: {len(missing)} of the {len(left_out)} cases to be left out are not there, {missing[0]} for one; "
            "give the folds of this dataset"
        )
    owner = {patient_of(case_id): case_id for case_id in left_out}
    for case_id in trained:
        if other := owner.get(patient_of(case_id)):
            raise InputError(
                f"{data}: {other} is to be left out, but {case_id} of the same patient would train; put both into one "
                "fold"
            )


def read_folds(path: Path) -> list[list[str]]:
    """The folds in a JSON file with the key ``folds``.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        with reading(path):
            content: Any = json.loads(path.read_text())
        found = [[str(case_id) for case_id in fold] for fold in content["folds"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("is no JSON file with the key folds: a list of lists of case ids", path=path) from error
    return found
