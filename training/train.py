"""One training of a recipe, from a dataset to its checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.engine.allocator import keep_freed_memory
from napari_unet_seg.engine.checkpoint import Description, file_hash
from napari_unet_seg.engine.device import choose_device, out_of_memory
from napari_unet_seg.engine.events import EpochDone, FitFinished, StepDone
from napari_unet_seg.engine.fit import LossNotFinite, fit
from napari_unet_seg.engine.fit_state import State
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.processes import Processes
from napari_unet_seg.engine.sampling import epoch_length
from napari_unet_seg.errors import InputError, SegmentationError
from training.progress import progress_line, step_line
from training.recipe import Recipe
from training.run_folder import RunFolder, check_free, check_own, folder_of
from training.run_lock import only_run
from training.run_settings import run_description, run_settings
from training.spill import Spill
from training.starting_point import starting_point
from training.training_data import TrainingData, held_out, read_training_data
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
    first = processes.rank == 0
    say = _say if first else _keep_quiet
    folder = RunFolder(folder_of(output))
    with only_run(folder.path, resume=resume) if first else nullcontext():
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
        _tell(slices, device=device, processes=processes.count, say=say)
        recipe = _with_steps(recipe, slices)
        start = starting_point(recipe, slices, initial=initial)
        given = {"data": data, "folds": folds, "fold": fold, "initial": initial}
        settings = run_settings(recipe, slices, start, given=given, device=device, processes=processes.count)
        if first and state is None and output.suffix == ".safetensors":
            # Of the run that broke off; left there without its folder's, it would count as another run's.
            output.unlink(missing_ok=True)
        if first:
            folder.begin(settings, state)
        if state is not None:
            say(f"going on from step {state['progress']['step']} of {recipe.fit.steps}")
        try:
            _learn(
                recipe,
                slices,
                start.network,
                settings=settings,
                folder=folder if first else None,
                output=output,
                state=state,
                fabric=fabric,
                should_stop=should_stop,
                say=say,
                when_done=spill.remove,
            )
        except LossNotFinite as error:
            raise InputError(f"{error}; what was written before is there: {folder.path}") from error
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise SegmentationError(
                f"the memory of {device} is not enough for batches of {recipe.fit.batch_size} slices; start again with "
                f"fewer (--set fit.batch_size=N); what was written before is there: {folder.path}"
            ) from error
    return output if output.suffix == ".safetensors" else folder.best


def _tell(slices: TrainingData, *, device: torch.device, processes: int, say: Callable[[str], None]) -> None:
    """Say what there is to learn from, and who does it."""
    validated = len(slices.validation.labelled) if slices.validation is not None else 0
    say(
        f"{len(slices.train.labelled)} slices, {len(slices.train.tumour)} of them with tumour, "
        f"{validated} to validate on, on {device}" + (f" in {processes} processes" if processes > 1 else "")
    )
    if slices.patients_assumed:
        say(f"the names of {slices.patients_assumed} pictures tell no patient: each is taken for one")
    if processes > 1 and device.type == "cpu":
        say("on a CPU, batch normalisation counts each process' part of a batch by itself")


def _with_steps(recipe: Recipe, slices: TrainingData) -> Recipe:
    """The recipe with the steps that its epochs come to; InputError if it goes by a validation that there is not."""
    if not _validates(slices) and (recipe.fit.schedule == "plateau" or recipe.fit.early_stopping is not None):
        raise InputError(f"the recipe {recipe.name} goes by the validation loss, and its split leaves nothing for that")
    if recipe.epochs is None:
        return recipe
    steps = recipe.epochs * epoch_length(recipe.fit, slices.train)
    return dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, steps=steps))


def _validates(slices: TrainingData) -> bool:
    return slices.validation is not None and len(slices.validation.labelled) > 0


def _learn(
    recipe: Recipe,
    slices: TrainingData,
    network: Network,
    *,
    settings: Mapping[str, Any],
    folder: RunFolder | None,
    output: Path,
    state: State | None,
    fabric: Fabric | None,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
    when_done: Callable[[], None],
) -> None:
    """Train the network to its end, or until it is stopped; `folder` is None in all processes but the first."""
    per_epoch = epoch_length(recipe.fit, slices.train)

    def description_at(event: EpochDone | FitFinished) -> Description:
        step = event.step if isinstance(event, EpochDone) else event.steps
        scores = event.validation if isinstance(event, EpochDone) else None
        return run_description(recipe, settings, step=step, seconds=event.seconds, scores=scores)

    def save_state(state: State) -> None:
        done = state["progress"]
        if folder is not None:
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
            if isinstance(event, EpochDone) and folder is not None:
                folder.epoch_done(event, network, description_at(event))
                _copy(folder.best, output)
            elif isinstance(event, FitFinished):
                if not event.stopped:
                    when_done()
                if folder is None:
                    continue
                # A run that was done before stays as it is, to the last byte.
                progress = None if state is None else state["progress"]
                if progress is None or not progress["finished"] or not folder.is_complete(progress["step"]):
                    folder.finish(network, description_at(event), validated=_validates(slices))
                _copy(folder.best, output)
                say(f"{'stopped at step' if event.stopped else 'done, step'} {event.steps}; written: {folder.path}")
    finally:
        events.close()
        if folder is not None:
            folder.close()


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
