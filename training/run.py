"""Train a recipe: ``python -m training.run default --data FOLDER``.

The run writes a folder, ``runs/RECIPE``: best and last checkpoint, settings, history, curves, TensorBoard events, and
the state that ``--resume`` goes on from. Ctrl-C ends it after the current step, and keeps all of that; so does SIGTERM,
where it is one process. The exit status is 130 then: the run is not done.

Several processes share a run out, each with its part of every batch: ``torchrun --standalone --nproc-per-node 2
-m training.run default --data FOLDER``. With ``--max-restarts 3``, the run goes on from its state when one dies.

Data that does not fit in memory is packed into ``shards`` in the run's folder, and streamed from there until the run is
done. ``python -m training.pack`` packs it once for many runs, also to where others reach it: ``--data s3://BUCKET/LGG``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from training.command_line import command, command_parser, ended_by_interrupt, positive_int
from training.describe import describe
from training.launch import default_threads, launched, restarted
from training.memory_limit import GIB
from training.recipes import RECIPES
from training.settings import changed_recipe
from training.train import train


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.run", __doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", help="a dataset with masks, or the URL of what training.pack made of one")
    parser.add_argument(
        "--memory",
        type=float,
        metavar="GIB",
        help="cases that a process holds; more are streamed (default: half of what is free)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="the folder of the run (default: runs/RECIPE), or X.safetensors: the best checkpoint, beside the folder X",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, if there is one")
    parser.add_argument("--folds", type=Path, help="JSON with the folds")
    parser.add_argument("--fold", type=int, help="the fold to leave out, from 0")
    parser.add_argument("--init", type=Path, help="a checkpoint to start from")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="optimiser steps, instead of the recipe's length")
    length.add_argument("--epochs", type=int, help="epochs, instead of the recipe's length")
    parser.add_argument("--coarse-fraction", type=float, help="part of them at half resolution")
    parser.add_argument("--learning-rate", type=float, help="peak rate, instead of the recipe's")
    parser.add_argument("--seed", type=int, help="seed, instead of the recipe's")
    parser.add_argument("--threads", type=positive_int, help="CPU threads of a process (default: all, shared out)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any field of the recipe: fit.loss=dice"
    )
    parser.add_argument("--describe", action="store_true", help="print parameters, cost and configuration as JSON")
    given = parser.parse_args(arguments)
    recipe = changed_recipe(
        RECIPES[given.recipe](),
        given.set,
        steps=given.steps,
        epochs=given.epochs,
        coarse_fraction=given.coarse_fraction,
        learning_rate=given.learning_rate,
        seed=given.seed,
    )
    if given.data is None and not given.describe:
        parser.error("--data is needed: the folder of a dataset with masks")
    if given.memory is not None and not 0 < given.memory < math.inf:
        parser.error(f"--memory must be positive, got {given.memory}")
    if (given.fold is None) != (given.folds is None):
        parser.error("--fold and --folds go together")
    torch.set_num_threads(given.threads or default_threads())
    default = recipe.name if given.fold is None else f"{recipe.name}_fold_{given.fold}"
    if given.describe:
        print(json.dumps(describe(recipe), indent=2))
        return 0
    # Of several processes, the launcher ends the others when one fails, by SIGTERM: they are to end at once.
    with launched() as fabric, ended_by_interrupt(terminate=fabric is None) as should_stop:
        train(
            recipe,
            data=given.data,
            output=given.output or Path("runs") / default,
            folds=given.folds,
            fold=given.fold,
            initial=given.init,
            resume=given.resume or restarted(),
            memory=int(given.memory * GIB) if given.memory is not None else None,
            fabric=fabric,
            should_stop=should_stop,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
