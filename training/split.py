"""The split that a recipe asks for, of a dataset; and folds out of a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import Part, Split, by_patient, by_slice, given, labelled_slices, parts_of_folders
from napari_unet_seg.errors import InputError, reading

if TYPE_CHECKING:
    from training.recipe import SplitConfig


def make_split(config: SplitConfig, dataset: Dataset, *, without: Collection[str] = ()) -> Split:
    """Which labelled slices of a dataset train, validate and test; the same for the same dataset and configuration.

    Parameters
    ----------
    config : SplitConfig
        The recipe's.
    dataset : Dataset
        Masks are read to see which slices have one.
    without : collection of str
        Cases in no part; where there are any, they are the test, and its share of the others trains.

    Raises
    ------
    InputError
        If the dataset is too small for the split, or lacks the folders it goes by.
    """
    slices = labelled_slices(case for case in dataset.cases if case.case_id not in without)
    return split_slices(config, slices, parts=lambda: parts_of_folders(dataset), shortened=bool(without))


def split_slices(
    config: SplitConfig,
    slices: Mapping[str, Sequence[int]],
    *,
    parts: Callable[[], Mapping[str, Part]],
    shortened: bool,
) -> Split:
    """What `make_split` does, by the labelled slices of each case alone.

    Parameters
    ----------
    config : SplitConfig
        The recipe's.
    slices : mapping of str to sequence of int
        Of the cases that are in some part.
    parts : callable
        The part of each case, asked for where the split is given.
    shortened : bool
        Whether cases that are left out are the test.
    """
    if shortened and config.kind != "given":
        config = dataclasses.replace(config, train=config.train + config.test, test=0.0)
    if config.kind == "given":
        return given(slices, parts())
    draw = by_patient if config.kind == "patients" else by_slice
    return draw(slices, train=config.train, validation=config.validation, test=config.test, seed=config.seed)


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
