"""What a run learns from and is validated on, out of a dataset."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.splits import Part, Split, labelled_slices, parts_of_folders, pictures_of_unknown
from napari_unet_seg.engine.prepared_case import PreparedCase, prepare
from napari_unet_seg.engine.samples import LabelledVolume
from napari_unet_seg.engine.shard_store import ShardStore
from napari_unet_seg.engine.shards import holds_shards
from napari_unet_seg.engine.slice_source import SliceSource
from napari_unet_seg.engine.working_grid import to_working_grid
from napari_unet_seg.errors import InputError
from training.memory_limit import default_limit
from training.recipe import Recipe
from training.spill import Spill, hold_or_stream
from training.split import check_left_out, read_folds, split_fingerprint, split_slices
from training.whole_dataset import open_whole


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """The slices of a run, held once whatever they are used for."""

    train: SliceSource
    validation: SliceSource | None
    """None where the recipe keeps nothing back to validate on."""

    cases: list[str]
    """Those with a slice that trains or validates."""

    held_out: list[str]
    """The others that have a mask, and those of the fold left out."""

    fingerprint: str
    """SHA-256 over the pixels and masks read."""

    split_fingerprint: str
    """SHA-256 over which slice is in which part."""

    patients_assumed: int
    """Single pictures whose name tells no patient: each counts as one, though several may be of one."""


def read_training_data(
    recipe: Recipe,
    data: Path | str,
    *,
    left_out: Collection[str],
    device: torch.device,
    spill: Spill | None = None,
) -> TrainingData:
    """Split a dataset as the recipe says, and read what trains and validates, a case at a time.

    Parameters
    ----------
    recipe : Recipe
        Its split, channels, normalisation and size.
    data : Path or str
        A dataset with masks, or the URL of shards of one.
    left_out : collection of str
        Cases that are neither; the split's share for a test then trains, as the fold left out is the test.
    device : torch.device
        Where the slices are to lie.
    spill : Spill, optional
        Where they go that don't fit in memory; without it all are held there.

    Raises
    ------
    InputError
        If the data cannot be used, or lack cases to be left out, or a patient would be left out and train.
    """
    if holds_shards(data):
        return _from_shards(recipe, data, left_out=left_out, device=device, spill=spill)
    dataset = open_whole(data)
    slices = labelled_slices(case for case in dataset.cases if case.case_id not in left_out)
    if not slices:
        raise InputError("no case has a mask to learn from", path=data)
    split = split_slices(recipe.split, slices, parts=lambda: parts_of_folders(dataset), shortened=bool(left_out))
    wanted = {*split.by_case("train"), *split.by_case("validation")}
    check_left_out(left_out, cases={case.case_id for case in dataset}, trained=wanted, data=data)
    cases = [case for case in dataset if case.case_id in wanted]
    names = [case.case_id for case in cases]
    store: SliceSource | None = spill.reopened(recipe, names, device=device) if spill is not None else None
    if store is None:
        prepared, fingerprint = prepared_cases(cases, recipe)
        store = hold_or_stream(prepared, recipe, spill=spill, device=device, fingerprint=fingerprint)
    return _training_data(
        store,
        split,
        names=names,
        used=names,
        held_out={*left_out, *(name for name in slices if name not in wanted)},
        # Not all who train together have read every case.
        fingerprint=store.index.fingerprint if isinstance(store, ShardStore) else fingerprint(),
    )


def _from_shards(
    recipe: Recipe, url: Path | str, *, left_out: Collection[str], device: torch.device, spill: Spill | None
) -> TrainingData:
    """What `read_training_data` does, of cases that were packed before."""
    limit = spill.limit if spill is not None else default_limit(device)
    store = ShardStore(url, device=device, cache_bytes=limit)
    index = store.index
    index.check(str(url), normalisation=recipe.normalisation, resize=recipe.resize, channel_names=recipe.channel_names)
    labelled = {case.case_id: np.flatnonzero(case.table.labelled).tolist() for case in index.cases}
    slices = {name: found for name, found in labelled.items() if found and name not in left_out}
    if not slices:
        raise InputError(f"{url}: no case has a mask to learn from")
    parts = cast(Mapping[str, Part], index.parts)
    split = split_slices(recipe.split, slices, parts=lambda: parts, shortened=bool(left_out))
    wanted = {*split.by_case("train"), *split.by_case("validation")}
    check_left_out(left_out, cases=labelled, trained=wanted, data=url)
    used = [name for name in slices if name in wanted]
    fingerprint = index.fingerprint
    if len(used) < len(index.cases):
        fingerprint = hashlib.sha256(json.dumps([fingerprint, used]).encode()).hexdigest()
    return _training_data(
        store,
        split,
        names=list(labelled),
        used=used,
        held_out={*left_out, *(name for name in slices if name not in wanted)},
        fingerprint=fingerprint,
    )


def _training_data(
    store: SliceSource,
    split: Split,
    *,
    names: Sequence[str],
    used: list[str],
    held_out: Collection[str],
    fingerprint: str,
) -> TrainingData:
    """`names` are those of all cases of the store."""
    depths = dict(zip(names, store.depths, strict=True))
    first = dict(zip(names, np.cumsum([0, *store.depths[:-1]]).tolist(), strict=True))
    validated = numbers(split, "validation", first)
    return TrainingData(
        train=only(store, numbers(split, "train", first)),
        validation=only(store, validated) if len(validated) else None,
        cases=used,
        held_out=sorted(held_out),
        fingerprint=fingerprint,
        split_fingerprint=split_fingerprint(split),
        patients_assumed=len(pictures_of_unknown({name: depths[name] for name in used})),
    )


def read_cases(cases: Iterable[Case], *, channel_names: Sequence[str]) -> Iterator[tuple[str, LabelledVolume]]:
    """Cases one after the other, their channels in the recipe's order.

    Raises
    ------
    InputError
        If a case cannot be read or used, or has no mask.
    """
    for case in cases:
        mask = case.read_mask()
        if mask is None:
            raise InputError(f"case {case.case_id} has no mask any more; begin again")
        case.check_mask()
        image = case.read_image()
        # A single NaN would end the training with a loss that is no number, and name no file.
        check_usable(image)
        volume, _ = arrange_channels(image, channel_names)
        yield case.case_id, LabelledVolume(volume=volume, mask=mask, labelled=case.labelled_slices())


def prepared_cases(
    cases: Iterable[Case], recipe: Recipe
) -> tuple[Iterator[tuple[str, PreparedCase]], Callable[[], str]]:
    """Cases ready for training, one after the other, and a function that says the fingerprint of those gone through.

    That is the SHA-256 over their pixels and masks.
    """
    digest: Any = hashlib.sha256()

    def prepared() -> Iterator[tuple[str, PreparedCase]]:
        for name, case in read_cases(cases, channel_names=recipe.channel_names):
            _add(digest, case)
            seen = as_seen(case) if recipe.resize is None else case
            yield name, prepare(seen, normalisation=recipe.normalisation, resize=recipe.resize)

    return prepared(), digest.hexdigest


def as_seen(case: LabelledVolume) -> LabelledVolume:
    """A case at the pixel size at which `Segmenter` will show its slices to the network."""
    volume, target = to_working_grid(case.volume, (case.mask > 0).astype(np.float32))
    if volume is case.volume:
        return case
    return dataclasses.replace(case, volume=volume, mask=(target >= 0.5).astype(np.uint8))


def data_fingerprint(cases: Iterable[Case], recipe: Recipe) -> str:
    """The fingerprint of cases as a run of the recipe has it."""
    digest: Any = hashlib.sha256()
    for _, case in read_cases(cases, channel_names=recipe.channel_names):
        _add(digest, case)
    return str(digest.hexdigest())


def _add(digest: Any, case: LabelledVolume) -> None:
    digest.update(case.volume.data.tobytes())
    digest.update(case.mask.tobytes())


def numbers(split: Split, part: str, first: Mapping[str, int]) -> torch.Tensor:
    """The slice numbers in a store of one part of a split, ``(N,)``, ascending; `first` is that of each case."""
    found = [first[case_id] + z for case_id, z in split.part(part)]
    return torch.tensor(sorted(found), dtype=torch.long)


def only(store: SliceSource, slices: torch.Tensor) -> SliceSource:
    """A store of the same slices, of which those alone count as labelled; nothing is held twice."""
    part = copy.copy(store)
    part.labelled = slices
    part.tumour = store.tumour[torch.isin(store.tumour, slices)]
    part.empty = store.empty[torch.isin(store.empty, slices)]
    return part


def held_out(folds: Path, fold: int) -> list[str]:
    """The patients of one fold in a JSON file, see `read_folds`."""
    found = read_folds(folds)
    if not 0 <= fold < len(found):
        raise InputError(f"there is no fold {fold}; it has {len(found)}", path=folds)
    if not found[fold]:
        raise InputError(f"fold {fold} leaves nobody out", path=folds)
    return found[fold]
