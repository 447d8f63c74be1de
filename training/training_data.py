"""What a run learns from and is validated on, out of a dataset."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.splits import Split
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.errors import InputError, reading
from training.recipe import Recipe
from training.split import make_split


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """The slices of a run, held once whatever they are used for."""

    train: SliceStore
    validation: SliceStore | None
    """None where the recipe keeps nothing back to validate on."""

    cases: list[str]
    """Those with a slice that trains or validates."""

    held_out: list[str]
    """The others that have a mask, and those of the fold left out."""

    fingerprint: str
    """SHA-256 over the pixels and masks read."""


def read_training_data(recipe: Recipe, data: Path, *, left_out: Collection[str], device: torch.device) -> TrainingData:
    """Split a dataset as the recipe says, and read what trains and validates.

    Parameters
    ----------
    recipe : Recipe
        Its split, channels, normalisation and size.
    data : Path
        A dataset with masks.
    left_out : collection of str
        Cases that are neither; the split's share for a test then trains, as the fold left out is the test.
    device : torch.device
        Where the slices are to lie.

    Raises
    ------
    InputError
        If the data cannot be used.
    """
    dataset = open_dataset(data)
    kept = [case for case in dataset.cases if case.has_mask and case.case_id not in left_out]
    if not kept:
        raise InputError("no case has a mask to learn from", path=data)
    split = make_split(recipe.split, dataset, without=left_out)
    wanted = {*split.by_case("train"), *split.by_case("validation")}
    cases = [case for case in kept if case.case_id in wanted]
    labelled = read_cases(cases, channel_names=recipe.channel_names)
    store = SliceStore(labelled, device=device, normalisation=recipe.normalisation, resize=recipe.resize)
    first = dict(zip((case.case_id for case in cases), np.cumsum([0, *map(depth, labelled)]), strict=False))
    validated = numbers(split, "validation", first)
    return TrainingData(
        train=only(store, numbers(split, "train", first)),
        validation=only(store, validated) if len(validated) else None,
        cases=[case.case_id for case in cases],
        held_out=sorted({*left_out, *(case.case_id for case in kept if case.case_id not in wanted)}),
        fingerprint=fingerprint(labelled),
    )


def read_cases(cases: Sequence[Case], *, channel_names: Sequence[str]) -> list[LabelledVolume]:
    """The cases that have a mask, their channels in the recipe's order."""
    held = []
    for case in cases:
        mask = case.read_mask()
        if mask is not None:
            volume, _ = arrange_channels(case.read_image(), channel_names)
            held.append(LabelledVolume(volume=volume, mask=mask, labelled=case.labelled_slices()))
    return held


def depth(case: LabelledVolume) -> int:
    """Slices of a case."""
    return case.volume.shape[0]


def numbers(split: Split, part: str, first: Mapping[str, int]) -> torch.Tensor:
    """The slice numbers in a store of one part of a split, ``(N,)``, ascending; `first` is that of each case."""
    found = [first[case_id] + z for case_id, z in split.part(part)]
    return torch.tensor(sorted(found), dtype=torch.long)


def only(store: SliceStore, slices: torch.Tensor) -> SliceStore:
    """A store of the same slices, of which those alone count as labelled; nothing is held twice."""
    part = copy.copy(store)
    part.labelled = slices
    part.tumour = store.tumour[torch.isin(store.tumour, slices)]
    part.empty = store.empty[torch.isin(store.empty, slices)]
    return part


def fingerprint(cases: Iterable[LabelledVolume]) -> str:
    """SHA-256 over the pixels and masks trained on."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.volume.data.tobytes())
        digest.update(case.mask.tobytes())
    return digest.hexdigest()


def held_out(folds: Path, fold: int) -> list[str]:
    """The patients of one fold in a JSON file with the key ``folds``."""
    try:
        with reading(folds):
            content = json.loads(folds.read_text())
        found = content["folds"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("is no JSON file with the key folds: a list of lists of case ids", path=folds) from error
    if not 0 <= fold < len(found):
        raise InputError(f"there is no fold {fold}; it has {len(found)}", path=folds)
    return list(found[fold])
