"""The training loop: one generator of events for the command line, the dock and the cluster."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.augment import augment
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.device import has_bfloat16
from napari_unet_seg.engine.events import EpochDone, FitEvent, FitFinished, StepDone
from napari_unet_seg.engine.fit_state import Progress, State, Training
from napari_unet_seg.engine.losses import make_loss
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.prefetch import ReadAhead
from napari_unet_seg.engine.processes import Processes
from napari_unet_seg.engine.sampling import Draw, epoch_length, make_sampler
from napari_unet_seg.engine.schedule import Schedule
from napari_unet_seg.engine.slice_source import SliceSource
from napari_unet_seg.engine.unet import to_channels_last

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class LossNotFinite(ArithmeticError):
    """The loss became NaN or infinite; the network that was passed in is as the last `EpochDone` left it."""


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float) -> None:
    """Move the running average of the weights, and copy what is counted rather than learned."""
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def freeze_statistics(network: nn.Module) -> None:
    """Have batch normalisation use the statistics it has, and keep them, while everything else trains."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


Retarget = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(B, channels, Y, X)``, ``(B, 1, Y, X)`` and ``(B,)`` to ``(B, 1, Y, X)`` in 0..1."""


def make_optimiser(network: nn.Module, config: FitConfig, *, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser of a configuration."""
    parameters, fused = network.parameters(), device.type == "cuda"
    if config.optimiser == "adam":
        # Keras' epsilon.
        return torch.optim.Adam(parameters, lr=config.learning_rate, eps=1e-7, fused=fused)
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)


def uses_bfloat16(config: FitConfig, *, device: torch.device) -> bool:
    """Whether the network's arithmetic is in bfloat16."""
    return has_bfloat16(device) if config.precision == "auto" else config.precision == "bfloat16"


def _distance(network: nn.Module, start: Sequence[Tensor]) -> Tensor:
    """Squared distance of the weights from where they started."""
    parts = [((now - then) ** 2).sum() for now, then in zip(network.parameters(), start, strict=True)]
    return torch.stack(parts).sum()


def fit(
    network: Network,
    store: SliceSource,
    config: FitConfig,
    *,
    flair: int | None = None,
    draw: Draw | None = None,
    retarget: Retarget | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    state: State | None = None,
    save_state: Callable[[State], None] | None = None,
    fabric: Fabric | None = None,
) -> Generator[FitEvent, None, None]:
    """Train a network; its weights become the running average of the trained ones.

    Parameters
    ----------
    network : Network
        Updated in place at each `EpochDone` and at the end, so what is there is worth keeping at any time.
    store : SliceSource
        The labelled slices; those of a streamed store are read ahead by a thread, which ends with the generator.
    config : FitConfig
        How.
    flair : int, optional
        The channel that stands in for sequences left out by the augmentation.
    draw : callable, optional
        ``(count, generator) -> (count,)`` slice numbers of a batch; by default as the configuration's sampling says.
    retarget : callable, optional
        Images of a batch as the network sees them, their targets and slice numbers, to the targets that count.
    should_stop : callable
        Asked before each step; when it returns True, the loop ends and keeps what it has.
    validate : callable, optional
        Scores the weights that would be kept, at the end of each epoch: on the store's device, in evaluation mode.
        ``loss`` must be among the scores where a plateau or early stopping waits for it.
    state : dict, optional
        What `save_state` was given in a training with the same store and configuration. The losses go on as they would
        have without the interruption: on a CPU, with as many threads, to the last bit.
    save_state : callable, optional
        Takes the state at the end of each epoch, after the event, and where the loop ends within one.
    fabric : Fabric, optional
        Launched, with the strategy "ddp": each process runs this function with the same arguments and reads, changes
        and learns from its part of every batch. What comes of it is the same in all.

    Yields
    ------
    FitEvent
        `StepDone` and `EpochDone` on the way, `FitFinished` at the end.

    Raises
    ------
    LossNotFinite
        Before a step that would spoil the weights.
    ValueError
        If the state is of another training, a plateau or early stopping has no validation to go by, or a training with
        a time budget is to be shared out.
    """
    with ReadAhead(store, context=network.config.context) as reader:
        yield from _events(
            network,
            store,
            config,
            reader=reader,
            flair=flair,
            draw=draw,
            retarget=retarget,
            should_stop=should_stop,
            validate=validate,
            state=state,
            save_state=save_state,
            fabric=fabric,
        )


def _events(
    network: Network,
    store: SliceSource,
    config: FitConfig,
    *,
    reader: ReadAhead,
    flair: int | None,
    draw: Draw | None,
    retarget: Retarget | None,
    should_stop: Callable[[], bool],
    validate: Callable[[nn.Module], Mapping[str, float]] | None,
    state: State | None,
    save_state: Callable[[State], None] | None,
    fabric: Fabric | None,
) -> Iterator[FitEvent]:
    """What `fit` yields."""
    device = store.device
    processes = Processes(fabric)
    _check(config, processes, validated=validate is not None)
    torch.manual_seed(config.seed + processes.rank)
    loss_function = make_loss(config.loss)
    training = _begin(network, store, config, draw=draw, processes=processes)
    learner, average, optimiser, schedule = training.learner, training.average, training.optimiser, training.schedule
    now = training.restore(state) if state is not None else Progress()
    forward = processes.wrap(learner, synchronise=not config.frozen_statistics)
    half_precision = uses_bfloat16(config, device=device)
    steps_per_epoch = epoch_length(config, store)
    # As if it had begun so much earlier.
    started = time.perf_counter() - now.seconds
    epoch_started, epoch_slices, rate, stopped = time.perf_counter(), 0, config.learning_rate, False
    for step in range(now.step, config.steps):
        if schedule.over:
            break
        if processes.agree(should_stop()):
            stopped = True
            break
        progress = step / config.steps
        if config.seconds is not None:
            progress = max(progress, (time.perf_counter() - started) / config.seconds)
            if progress >= 1 and now.step:
                break
        rate = schedule.rate(progress)
        for group in optimiser.param_groups:
            group["lr"] = rate
        index = training.sampler.batch(config.batch_size, training.generator)
        upcoming = training.sampler.upcoming(config.batch_size, reader.depth)
        image, mask, centre = reader.batch(processes.own(index), [processes.own(coming) for coming in upcoming])
        image, mask = augment(
            image,
            mask,
            centre=centre,
            patch=config.patch,
            coarse=progress < config.coarse_fraction,
            flair=flair,
            config=config.augment,
            generator=training.generator,
            soft=store.soft,
            part=processes.part(len(index)),
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_precision):
            if retarget is not None:
                mask = retarget(image, mask, processes.own(index))
            logits = forward(image)
        logits = processes.whole(logits.float(), count=len(index))
        # A Dice over all pixels of the batch needs all of its masks.
        mask = processes.whole_targets(mask, count=len(index))
        loss = loss_function(logits, mask, store.weights[index.to(device)])
        penalty = config.anchor * _distance(learner, training.start) if training.start else None
        value = (loss if penalty is None else loss + penalty).item()
        if not math.isfinite(value):
            raise LossNotFinite(f"the loss became {value} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        processes.backward(loss, penalty)
        if config.clip_norm is not None:
            nn.utils.clip_grad_norm_(learner.parameters(), max_norm=config.clip_norm)
        optimiser.step()
        now.step = step + 1
        update_average(average, learner, decay=min(config.ema_decay, now.step / (now.step + 10)))
        now.epoch_loss += value
        epoch_slices += len(index)
        now.seconds = time.perf_counter() - started
        yield StepDone(step=now.step, steps=config.steps, loss=value, elapsed=now.seconds)
        if now.step % steps_per_epoch == 0:
            network.load_state_dict(average.state_dict())
            trained = time.perf_counter() - epoch_started
            scores = _validate(average, validate, processes) if validate is not None else None
            if scores is not None and "loss" in scores:
                schedule.validated(scores["loss"])
            now.seconds = time.perf_counter() - started
            epoch_loss, now.epoch_loss = now.epoch_loss / steps_per_epoch, 0.0
            yield EpochDone(
                epoch=now.step // steps_per_epoch,
                step=now.step,
                loss=epoch_loss,
                seconds=now.seconds,
                slices_per_second=epoch_slices / trained,
                learning_rate=rate,
                validation=scores,
            )
            now.finished = schedule.over or now.step == config.steps
            if save_state is not None:
                save_state(training.state(now))
            epoch_started, epoch_slices = time.perf_counter(), 0
    if now.step:
        network.load_state_dict(average.state_dict())
    if not now.finished:
        now.finished = not stopped
        if save_state is not None:
            save_state(training.state(now))
    yield FitFinished(steps=now.step, seconds=time.perf_counter() - started, stopped=stopped)


def _begin(
    network: Network, store: SliceSource, config: FitConfig, *, draw: Draw | None, processes: Processes
) -> Training:
    """A training before its first step."""
    learner = copy.deepcopy(network).to(store.device).train()
    if config.frozen_statistics:
        freeze_statistics(learner)
    to_channels_last(learner)
    return Training(
        learner=learner,
        average=copy.deepcopy(learner).eval(),
        optimiser=make_optimiser(learner, config, device=store.device),
        schedule=Schedule(config),
        sampler=make_sampler(store, config, draw),
        generator=torch.Generator().manual_seed(config.seed),
        start=[parameter.detach().clone() for parameter in learner.parameters()] if config.anchor else [],
        config=config,
        processes=processes,
        device=store.device,
    )


def _validate(
    average: nn.Module, validate: Callable[[nn.Module], Mapping[str, float]], processes: Processes
) -> dict[str, float]:
    """Scores of the first process, for all: were they to differ in the last bit, the processes would part ways."""
    scores = dict(validate(average)) if processes.rank == 0 else {}
    return processes.from_first(scores)


def _check(config: FitConfig, processes: Processes, *, validated: bool) -> None:
    if not validated and (config.schedule == "plateau" or config.early_stopping is not None):
        raise ValueError("a plateau and early stopping need a validation to go by")
    if processes.count > 1 and config.seconds is not None:
        raise ValueError("a training with a time budget cannot be shared out among processes: their clocks differ")
