"""Train a recipe: ``python -m training.run default --data FOLDER``."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.dataset import Case, open_dataset
from napari_unet_seg.data.roles import arrange_channels, flair_index
from napari_unet_seg.engine.checkpoint import Description, file_hash, load_checkpoint, save_checkpoint
from napari_unet_seg.engine.events import EpochDone, FitFinished
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet, count_parameters
from napari_unet_seg.errors import InputError, reading
from training.recipe import Recipe
from training.recipes import RECIPES


def read_cases(cases: Sequence[Case], *, channel_names: Sequence[str]) -> list[LabelledVolume]:
    """The cases that have a mask, their channels in the recipe's order."""
    held = []
    for case in cases:
        mask = case.read_mask()
        if mask is not None:
            volume, _ = arrange_channels(case.read_image(), channel_names)
            held.append(LabelledVolume(volume=volume, mask=mask, labelled=case.labelled_slices()))
    return held


def fingerprint(cases: Sequence[LabelledVolume]) -> str:
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


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, cost of a slice, and the whole configuration."""
    from torch.utils.flop_counter import FlopCounterMode

    network = UNet(recipe.network).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, recipe.network.input_channels, 256, 256))
    return {
        "parameters": count_parameters(network),
        "gflop_per_slice": round(counter.get_total_flops() / 1e9, 3),
        **dataclasses.asdict(recipe),
    }


def train(
    recipe: Recipe,
    *,
    data: Path,
    output: Path,
    folds: Path | None = None,
    fold: int | None = None,
    initial: Path | None = None,
) -> Path:
    """Train a recipe and write its checkpoint; the file is there, and usable, from the first epoch on.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    data : Path
        A dataset with masks.
    output : Path
        The checkpoint to write.
    folds : Path, optional
        JSON with the key ``folds``: lists of case ids.
    fold : int, optional
        The fold to leave out.
    initial : Path, optional
        A checkpoint to start from; it must not have seen the cases held out.

    Raises
    ------
    InputError
        If the data or the checkpoint cannot be used.
    """
    left_out = held_out(folds, fold) if folds is not None and fold is not None else []
    cases = [case for case in open_dataset(data).cases if case.case_id not in left_out]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"reading {len(cases)} cases of {data}", flush=True)
    labelled = read_cases(cases, channel_names=recipe.channel_names)
    if not labelled:
        raise InputError("no case has a mask to learn from", path=data)
    store = SliceStore(labelled, device=device)
    print(f"{len(store.labelled)} slices, {len(store.tumour)} of them with tumour, on {device}", flush=True)
    torch.manual_seed(recipe.fit.seed)
    network = UNet(recipe.network)
    parent = None
    if initial is not None:
        network, description = load_checkpoint(initial)
        parent = file_hash(initial)
        if overlap := set(description.training.get("cases", [])) & set(left_out):
            raise InputError(f"it was trained on {len(overlap)} of the cases held out", path=initial)
        network.train()
    training = {
        "recipe": recipe.name,
        "fit": dataclasses.asdict(recipe.fit),
        "cases": [case.case_id for case in cases],
        "held_out": left_out,
        "data_fingerprint": fingerprint(labelled),
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "device": str(device),
    }
    del labelled
    flair = flair_index(recipe.channel_names)
    started = time.perf_counter()
    for event in fit(network, store, recipe.fit, flair=flair):
        if isinstance(event, EpochDone):
            left = event.seconds / event.step * (recipe.fit.steps - event.step)
            print(
                f"step {event.step}/{recipe.fit.steps}  loss {event.loss:.4f}  "
                f"{event.slices_per_second:.1f} slices/s  {event.seconds / 60:.1f} min, about {left / 60:.1f} left",
                flush=True,
            )
        if isinstance(event, EpochDone | FitFinished):
            progress = {"steps_done": getattr(event, "step", None) or recipe.fit.steps}
            description = Description(
                name=recipe.name,
                network=recipe.network,
                channel_names=recipe.channel_names,
                min_fraction=recipe.min_fraction,
                largest_component=recipe.largest_component,
                flip=recipe.flip,
                input_size=recipe.fit.patch,
                training={**training, **progress, "seconds": round(time.perf_counter() - started, 1)},
                parent=parent,
                licence=recipe.licence,
            )
            save_checkpoint(output, network, description)
    print(f"written: {output}", flush=True)
    return output


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.run", description="Train a recipe.")
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, help="a dataset with masks")
    parser.add_argument("--output", type=Path, help="the checkpoint to write (default: runs/RECIPE.safetensors)")
    parser.add_argument("--folds", type=Path, help="JSON with the folds")
    parser.add_argument("--fold", type=int, help="the fold to leave out, from 0")
    parser.add_argument("--init", type=Path, help="a checkpoint to start from")
    parser.add_argument("--steps", type=int, help="optimiser steps, instead of the recipe's")
    parser.add_argument("--coarse-fraction", type=float, help="part of them at half resolution")
    parser.add_argument("--learning-rate", type=float, help="peak rate, instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed, instead of the recipe's")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--describe", action="store_true", help="print parameters, cost and configuration as JSON")
    given = parser.parse_args(arguments)
    recipe = RECIPES[given.recipe]()
    changes = {
        "steps": given.steps,
        "coarse_fraction": given.coarse_fraction,
        "learning_rate": given.learning_rate,
        "seed": given.seed,
    }
    fit_config = dataclasses.replace(recipe.fit, **{key: value for key, value in changes.items() if value is not None})
    recipe = dataclasses.replace(recipe, fit=fit_config)
    if given.describe:
        print(json.dumps(describe(recipe), indent=2))
        return 0
    if given.data is None:
        parser.error("--data is needed: the folder of a dataset with masks")
    if (given.fold is None) != (given.folds is None):
        parser.error("--fold and --folds go together")
    torch.set_num_threads(given.threads or os.cpu_count() or 1)
    output = given.output or Path("runs") / f"{recipe.name}.safetensors"
    try:
        train(recipe, data=given.data, output=output, folds=given.folds, fold=given.fold, initial=given.init)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
