"""Whether a dataset still gives the split that a checkpoint was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import Split
from napari_unet_seg.errors import InputError
from training.recipe import Recipe
from training.split import split_fingerprint
from training.training_data import data_fingerprint


def check_same_split(
    checkpoint: Path, training: Mapping[str, Any], *, split: Split, dataset: Dataset, recipe: Recipe
) -> None:
    """Refuse to score a checkpoint by a split that is not its own: some of the slices may have trained it.

    Parameters
    ----------
    checkpoint : Path
        For the errors.
    training : mapping
        What its header says of its training.
    split : Split
        As it is drawn now.
    dataset : Dataset
        What it is drawn of; the cases that train and validate are read.
    recipe : Recipe
        How they are read.

    Raises
    ------
    InputError
        If cases, slices or pixels are others than those it was trained with, or its header does not say.
    """
    if not training.get("cases") or "data_fingerprint" not in training:
        raise InputError("its header does not say what it was trained on; train it again", path=checkpoint)
    used = {*split.by_case("train"), *split.by_case("validation")}
    parts = (
        ("trained or validated", set(training["cases"]), used),
        ("held out", set(training.get("held_out", [])), set(split.by_case("test")) - used),
    )
    for name, then, now in parts:
        if changed := sorted(then ^ now):
            was, is_now = ("was", "is not") if changed[0] in then else ("was not", "is")
            raise _other(checkpoint, f"{changed[0]} {was} {name} then, and {is_now} by the split of these data")
    # What an older version did not write is not asked for.
    if training.get("split_fingerprint", split_fingerprint(split)) != split_fingerprint(split):
        raise _other(checkpoint, "other slices have a mask now, and the split has changed with them")
    if training["data_fingerprint"] != data_fingerprint((case for case in dataset if case.case_id in used), recipe):
        raise _other(checkpoint, "images or masks are others than those it was trained with")


def _other(checkpoint: Path, problem: str) -> InputError:
    return InputError(f"{problem}; give the dataset as it was, or train again", path=checkpoint)
