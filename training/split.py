"""The split that a recipe asks for, of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import Split, by_patient, by_slice, given, labelled_slices, parts_of_folders

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
    if without and config.kind != "given":
        config = dataclasses.replace(config, train=config.train + config.test, test=0.0)
    if config.kind == "given":
        return given(slices, parts_of_folders(dataset))
    draw = by_patient if config.kind == "patients" else by_slice
    return draw(slices, train=config.train, validation=config.validation, test=config.test, seed=config.seed)
