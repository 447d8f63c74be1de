"""One training of a recipe, from a dataset to its checkpoints."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import napari_unet_seg
from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.allocator import keep_freed_memory
from napari_unet_seg.engine.checkpoint import Description, file_hash, load_checkpoint
from napari_unet_seg.engine.device import choose_device, out_of_memory
from napari_unet_seg.engine.events import EpochDone, FitFinished, StepDone
from napari_unet_seg.engine.fit import LossNotFinite, fit, uses_bfloat16
from napari_unet_seg.engine.fit_state import State
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.processes import Processes
from napari_unet_seg.engine.sampling import epoch_length
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.errors import InputError, SegmentationError
from training.json_file import finite
from training.progress import progress_line, step_line
from training.recipe import Recipe
from training.run_folder import RunFolder, check_free, check_own, folder_of
from training.run_lock import only_run
from training.spill import Spill
from training.training_data import held_out, read_training_data
from training.validation import Validation

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_SILENCE = 30.0
"""Seconds after which a long epoch says how far it has come."""


def train(
    recipe: Recipe,
    *,
    data: Path | str,
    output: Path,
    folds: Path | None = None,
    fold: int | None = None,
    initial: Path | None = None,
    resume: bool = False,
    memory: int | None = None,
    fabric: Fabric | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a recipe; its checkpoints are there, and usable, from the first epoch on.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    data : Path or str
        A dataset with masks, or the URL of what `training.pack` made of one.
    output : Path
        The folder of the run, see `RunFolder`; or a ``.safetensors`` file, which the best checkpoint is copied to, and
        beside which the folder lies under the same name.
    folds : Path, optional
        JSON with the key ``folds``: lists of case ids.
    fold : int, optional
        The fold to leave out.
    initial : Path, optional
        A checkpoint to start from; it must not have seen the cases held out.
    resume : bool
        Go on with the run in the folder, if there is one; else a run that is there is refused.
    memory : int, optional
        Bytes of cases that each process may hold; more are streamed from shards in the folder. By default half of what
        is free.
    fabric : Fabric, optional
        Of the processes that train together; the first one writes.
    should_stop : callable
        Asked before each step.

    Returns
    -------
    Path
        The best checkpoint by validation loss, or the last one of a recipe that validates on nothing.

    Raises
    ------
    InputError
        If data, checkpoint or folder cannot be used, there is something in the place of the output, or another training
        is at work there.
    SegmentationError
        If memory ran out.
    """
    keep_freed_memory()
    processes = Processes(fabric)
    # On several machines, torchrun's count of restarts is not everywhere the same.
    resume = processes.agree(resume)
    with only_run(folder_of(output), resume=resume) if processes.rank == 0 else nullcontext():
        return _train(
            recipe,
            data=data,
            output=output,
            folds=folds,
            fold=fold,
            initial=initial,
            resume=resume,
            memory=memory,
            fabric=fabric,
            processes=processes,
            should_stop=should_stop,
        )


def _train(
    recipe: Recipe,
    *,
    data: Path | str,
    output: Path,
    folds: Path | None,
    fold: int | None,
    initial: Path | None,
    resume: bool,
    memory: int | None,
    fabric: Fabric | None,
    processes: Processes,
    should_stop: Callable[[], bool],
) -> Path:
    first = processes.rank == 0
    say = _say if first else _keep_quiet
    folder = RunFolder(folder_of(output))
    if first and not resume:
        check_free(output)
    state = processes.from_first(folder.state() if first and resume else None)
    if first and resume and state is None:
        check_own(output)
    if Path(str(data).removeprefix("file://")).resolve().is_relative_to(folder.path.resolve() / "shards"):
        raise InputError("lies where the run keeps shards of its own; give another --output", path=Path(data))
    left_out = held_out(folds, fold) if folds is not None and fold is not None else []
    device = fabric.device if fabric is not None else _device(say)
    say(f"reading {data}")
    spill = Spill.beside(folder.path, device=device, memory=memory, resume=resume, fabric=fabric, say=say)
    slices = read_training_data(recipe, data, left_out=left_out, device=device, spill=spill)
    validated = len(slices.validation.labelled) if slices.validation is not None else 0
    say(
        f"{len(slices.train.labelled)} slices, {len(slices.train.tumour)} of them with tumour, "
        f"{validated} to validate on, on {device}" + (f" in {processes.count} processes" if processes.count > 1 else "")
    )
    if slices.patients_assumed:
        say(f"the names of {slices.patients_assumed} pictures tell no patient: each is taken for one")
    if processes.count > 1 and device.type == "cpu":
        say("on a CPU, batch normalisation counts each process' part of a batch by itself")
    per_epoch = epoch_length(recipe.fit, slices.train)
    if recipe.epochs is not None:
        recipe = dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, steps=recipe.epochs * per_epoch))
    if not validated and (recipe.fit.schedule == "plateau" or recipe.fit.early_stopping is not None):
        raise InputError(f"the recipe {recipe.name} goes by the validation loss, and its split leaves nothing for that")
    torch.manual_seed(recipe.fit.seed)
    network, parent = build_network(recipe.network), None
    if recipe.prior is not None:
        assert isinstance(network, UNet)
        network.set_prior(recipe.prior)
    licences = [recipe.licence] if any(name.startswith(recipe.licensed_prefix) for name in slices.cases) else []
    cases_before: list[str] = []
    if initial is not None:
        network, description = load_checkpoint(initial)
        parent = file_hash(initial)
        licences.append(description.licence)
        if description.network != recipe.network:
            raise InputError(f"its network is another one than that of the recipe {recipe.name}", path=initial)
        seen = description.trained_patients
        if overlap := [case_id for case_id in slices.held_out if patient_of(case_id) in seen]:
            raise InputError(f"it was trained on {len(overlap)} of the cases held out, or their patients", path=initial)
        cases_before = description.learned_cases
        network.train()
    settings = {
        "recipe": dataclasses.asdict(recipe),
        "seed": recipe.fit.seed,
        "data": str(data),
        "folds": str(folds) if folds is not None else None,
        "fold": fold,
        "initial": str(initial) if initial is not None else None,
        "parent": parent,
        "licence": "; ".join(dict.fromkeys(one for one in licences if one)),
        "cases": slices.cases,
        "cases_before": cases_before,
        "held_out": slices.held_out,
        "data_fingerprint": slices.fingerprint,
        "split_fingerprint": slices.split_fingerprint,
        "patients_assumed": slices.patients_assumed,
        "versions": {
            "napari_unet_seg": napari_unet_seg.__version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
        "device": str(device),
        "precision": "bfloat16" if uses_bfloat16(recipe.fit, device=device) else "float32",
        "processes": processes.count,
        "threads": torch.get_num_threads(),
    }
    if first and state is None and output.suffix == ".safetensors":
        # Of the run that broke off; left there without its folder's, it would count as another run's.
        output.unlink(missing_ok=True)
    if first:
        folder.begin(settings, state)
    if state is not None:
        say(f"going on from step {state['progress']['step']} of {recipe.fit.steps}")

    def description_at(event: EpochDone | FitFinished) -> Description:
        step = event.step if isinstance(event, EpochDone) else event.steps
        scores = event.validation if isinstance(event, EpochDone) else None
        return _description(recipe, settings, step=step, seconds=event.seconds, scores=scores)

    def save_state(state: State) -> None:
        done = state["progress"]
        if first:
            folder.save_state(state, at_once=done["finished"] or done["step"] % per_epoch > 0 or should_stop())

    events = fit(
        network,
        slices.train,
        recipe.fit,
        flair=flair_index(recipe.channel_names),
        should_stop=should_stop,
        validate=None
        if slices.validation is None
        else Validation(
            store=slices.validation, fit=recipe.fit, context=recipe.network.context, smooth=recipe.metric_smooth
        ),
        state=state,
        save_state=save_state,
        fabric=fabric,
    )
    said = time.monotonic()
    try:
        for event in events:
            if isinstance(event, StepDone) and time.monotonic() > said + _SILENCE:
                said = time.monotonic()
                say(step_line(event, recipe.fit))
            if isinstance(event, EpochDone):
                said = time.monotonic()
                say(progress_line(event, recipe.fit))
            if isinstance(event, EpochDone) and first:
                folder.epoch_done(event, network, description_at(event))
                _copy(folder.best, output)
            elif isinstance(event, FitFinished):
                if not event.stopped:
                    spill.remove()
                if not first:
                    continue
                # A run that was done before stays as it is, to the last byte.
                progress = None if state is None else state["progress"]
                if progress is None or not progress["finished"] or not folder.is_complete(progress["step"]):
                    folder.finish(network, description_at(event), validated=validated > 0)
                _copy(folder.best, output)
                say(f"{'stopped at step' if event.stopped else 'done, step'} {event.steps}; written: {folder.path}")
    except LossNotFinite as error:
        raise InputError(f"{error}; what was written before is there: {folder.path}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise SegmentationError(
            f"the memory of {device} is not enough for batches of {recipe.fit.batch_size} slices; start again with "
            f"fewer (--set fit.batch_size=N); what was written before is there: {folder.path}"
        ) from error
    finally:
        events.close()
        folder.close()
    return output if output.suffix == ".safetensors" else folder.best


def _description(recipe: Recipe, settings: dict[str, Any], *, step: int, seconds: float, scores: Any) -> Description:
    named = (
        *("cases", "cases_before", "held_out", "data_fingerprint", "split_fingerprint", "patients_assumed"),
        *("versions", "device", "processes"),
    )
    return Description(
        name=recipe.name,
        network=recipe.network,
        channel_names=recipe.channel_names,
        min_fraction=recipe.min_fraction,
        largest_component=recipe.largest_component,
        flip=recipe.flip,
        normalisation=recipe.normalisation,
        resize=recipe.resize,
        input_size=recipe.fit.patch,
        training={
            "recipe": recipe.name,
            "epochs": recipe.epochs,
            "fit": dataclasses.asdict(recipe.fit),
            "split": dataclasses.asdict(recipe.split),
            **{key: settings[key] for key in named},
            "steps_done": step,
            "seconds": round(seconds, 1),
            **({"validation": finite(scores)} if scores is not None else {}),
        },
        parent=settings["parent"],
        licence=settings["licence"],
    )


def _device(say: Callable[[str], None]) -> torch.device:
    """The first graphics card of NVIDIA's, or of AMD's, where it works; else the CPU."""
    choice = choose_device()
    if choice.device.type == "cuda":
        return choice.device
    if torch.cuda.is_available():
        say(choice.note)
    return torch.device("cpu")


def _copy(best: Path, output: Path) -> None:
    """Put the best checkpoint where the caller wants it as well."""
    if output.suffix == ".safetensors" and not (output.is_file() and file_hash(output) == file_hash(best)):
        write_bytes(output, best.read_bytes())


def _say(text: str) -> None:
    print(text, flush=True)


def _keep_quiet(_text: str) -> None:
    """What the first process says is enough."""
