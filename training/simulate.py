"""A simulated annotator: ``python -m training.simulate --data FOLDER --model fold_0.safetensors --output DIR``.

The scans are copied without their masks. Slices are picked, their masks replaced by the truth (or by something worse)
and saved as corrections, and a round of retraining is run with the plugin's own `finetune`. What counts is the Dice on
slices, and on patients, that nobody corrected.

``--scope scan`` takes each held-out case of each checkpoint by itself. ``--scope model`` spreads the corrections over
``--correct-cases`` and scores ``--evaluate-cases`` and ``--other-cases``. Nothing but the corrections is labelled,
unless ``--rehearse-labelled`` adds the patients that the checkpoint was trained on. ``simulation.json`` is written anew
after every run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.formats.atomic import check_writable
from napari_unet_seg.engine.finetune import finetune
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.suggest import suggest_slices
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted
from training.command_line import command, command_parser, positive_int
from training.json_file import save_json
from training.settings import with_settings
from training.simulation.annotator import parse_hand
from training.simulation.figure import save_model_figure, save_scan_figure
from training.simulation.model import dice_by_case, reference_dice, simulate_model
from training.simulation.picks import PICKS
from training.simulation.retraining import Plan
from training.simulation.studies import draws, make_cohort, protocol, run_scans, scan_runs
from training.simulation.summary import summarise_models, summarise_scans
from training.simulation.tables import model_table, scan_line, scan_table
from training.whole_dataset import open_whole

Result = dict[str, Any]


def simulate_scans(given: argparse.Namespace, plan: Plan) -> Result:
    """Scope "scan": each scan by itself.

    Raises
    ------
    InputError
        If the cases cannot be used, or no run comes to an end.
    """
    runs = scan_runs(
        open_whole(plan.data),
        given.model,
        cases=given.cases or (),
        limit=given.limit,
        ways=draws(given.pick, given.seeds),
        alone=given.alone,
        rehearse_labelled=given.rehearse_labelled,
    )
    done: list[Result] = []
    failed: list[Result] = []
    result: Result = {}
    coming = run_scans(runs, plan=plan, finetune=finetune, suggest_slices=suggest_slices, jobs=given.jobs)
    for number, run in enumerate(coming, 1):
        (done if run.get("rounds") else failed).append(run)
        print(f"{number}/{len(runs)}  {scan_line(run)}", flush=True)
        summary = summarise_scans(done)
        result = {"protocol": _protocol(given, plan), "summary": summary, "runs": done, "failed": failed}
        _write(given.output, result)
    if not done:
        raise InputError(f"no round came to an end; the first one: {scan_line(failed[0])}")
    print(scan_table(result))
    save_scan_figure(given.output / "simulation.png", result)
    return result


def simulate_models(given: argparse.Namespace, plan: Plan) -> Result:
    """Scope "model": several scans together.

    Raises
    ------
    InputError
        If the cases cannot be used, or the round refuses them.
    """
    if len(given.model) != 1:
        raise InputError("the scope model takes one checkpoint")
    (checkpoint,) = given.model
    dataset = open_whole(plan.data)
    cohort = make_cohort(
        dataset,
        checkpoint,
        correct=given.correct_cases or (),
        evaluate=given.evaluate_cases or (),
        other=given.other_cases or (),
        alone=given.alone,
        rehearse_labelled=given.rehearse_labelled,
    )
    print(f"{counted(len(cohort.correct), 'case')} to correct, {len(cohort.watched)} to score", flush=True)
    reference = reference_dice(given.reference or [], cohort.evaluate, dataset=dataset, device=plan.device)
    before = dice_by_case(dataset, cohort.watched, load_model(checkpoint, device=plan.device))
    runs: list[Result] = []
    result: Result = {}
    for pick, seed in draws(given.pick, given.seeds):
        print(f"{pick}, seed {seed}", flush=True)
        run = simulate_model(
            cohort,
            plan=plan,
            checkpoint=checkpoint,
            before=before,
            pick=pick,
            seed=seed,
            finetune=finetune,
            suggest_slices=suggest_slices,
        )
        if not run["rounds"]:
            raise InputError(f"there is no slice to correct by the pick {pick}")
        runs.append(run)
        rows = summarise_models(runs, evaluate=cohort.evaluate, other=cohort.other, reference=reference)
        described = _protocol(given, plan) | {"cohort": asdict(cohort)}
        result = {"protocol": described, "summary": rows, "reference": reference, "runs": runs}
        _write(given.output, result)
    print(model_table(result))
    save_model_figure(given.output / "simulation.png", result)
    return result


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    given = _parser().parse_args(arguments)
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    parse_hand(given.degrade)
    given.model = [Registry().path(str(model)) for model in given.model]
    plan = Plan(
        data=given.data,
        slices=given.slices,
        rounds=given.rounds,
        seconds=given.seconds,
        degrade=given.degrade,
        policy=with_settings(POLICIES[given.scope], given.set) if given.set else None,
        device=given.device,
        threads=given.threads,
    )
    check_writable(given.output / "simulation.json")
    (simulate_scans if given.scope == "scan" else simulate_models)(given, plan)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("training.simulate", __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="a dataset with masks, a file a slice (layout kaggle)")
    add("--model", type=Path, nargs="+", required=True, metavar="M", help="models or files; scope model takes one")
    add("--output", type=Path, required=True, metavar="DIR", help="where simulation.json and simulation.png go")
    add("--scope", choices=("scan", "model"), default="scan", help="adapt to each scan, or improve the model for all")
    add("--pick", choices=PICKS, nargs="+", default=["worst"], help="how slices are picked; several are compared")
    add("--seeds", type=positive_int, default=1, help="draws of what is picked at random")
    add("--slices", type=int, default=3, help="corrections before each round; in scope model over all cases together")
    add("--rounds", type=int, default=1, help="rounds one after the other, each with further slices corrected")
    add("--seconds", type=float, default=60.0, help="time budget of a round")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a round's policy: blend=1, fit.steps=20",
    )
    add("--degrade", default="", help="shift:N moves the border by N pixels, drop misses the smallest piece")
    add("--cases", nargs="+", help="scope scan: these alone; * stands for anything, here and below")
    add("--limit", type=positive_int, help="scope scan: the first so many cases")
    add("--correct-cases", nargs="+", help="scope model: cases to correct slices of")
    add("--evaluate-cases", nargs="+", help="scope model: cases to get better (default: the rest of the unseen ones)")
    add("--other-cases", nargs="+", help="scope model: cases that must not get worse")
    add("--reference", type=Path, nargs="+", metavar="CKPT", help="scope model: what the evaluated cases could reach")
    masks = parser.add_mutually_exclusive_group()
    masks.add_argument(
        "--all-unlabelled", action="store_true", help="nothing but the corrections is labelled (the default)"
    )
    masks.add_argument(
        "--rehearse-labelled", action="store_true", help="the cases the checkpoint was trained on are there, with masks"
    )
    add("--alone", action="store_true", help="no other unseen case lies in the dataset, not even without its mask")
    add("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    add("--threads", type=positive_int, help="CPU threads (default: all)")
    add("--jobs", type=positive_int, default=1, help="scope scan: runs at a time")
    return parser


def _protocol(given: argparse.Namespace, plan: Plan) -> Result:
    return protocol(
        plan,
        scope=given.scope,
        checkpoints=[path.name for path in given.model],
        references=[path.name for path in given.reference or []],
        picks=given.pick,
        seeds=given.seeds,
        rehearse_labelled=given.rehearse_labelled,
        alone=given.alone,
        changed=given.set,
    )


def _write(folder: Path, result: Result) -> None:
    save_json(folder / "simulation.json", result)


if __name__ == "__main__":
    sys.exit(main())
