"""The training loop: one generator of events for the command line, the dock and the cluster."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from napari_unet_seg.engine.augment import augment
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.events import EpochDone, FitEvent, FitFinished, StepDone
from napari_unet_seg.engine.losses import make_loss
from napari_unet_seg.engine.samples import SliceStore
from napari_unet_seg.engine.unet import UNet, to_channels_last


class LossNotFinite(ArithmeticError):
    """The loss became NaN or infinite; the network that was passed in is as the last `EpochDone` left it."""


def learning_rate_factor(progress: float, *, coarse_fraction: float = 0.0) -> float:
    """Share of the peak rate at a point of the training.

    Warm-up over the first twentieth, then a cosine down to a hundredth. With a coarse part, the cosine ends at a third
    where the resolution doubles, and a second one leads on from there: the network has to learn the new scale.

    Parameters
    ----------
    progress : float
        0 at the first step, 1 at the last.
    coarse_fraction : float
        Part of the training at half resolution.
    """
    warm_up, middle, end = 0.05, 1 / 3, 0.01

    def cosine(high: float, low: float, part: float) -> float:
        return low + (high - low) * 0.5 * (1 + math.cos(math.pi * part))

    if progress < warm_up:
        return max(0.02, progress / warm_up)
    if coarse_fraction <= warm_up or coarse_fraction >= 1:
        return cosine(1.0, end, (progress - warm_up) / (1 - warm_up))
    if progress < coarse_fraction:
        return cosine(1.0, middle, (progress - warm_up) / (coarse_fraction - warm_up))
    return cosine(middle, end, (progress - coarse_fraction) / (1 - coarse_fraction))


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


def _draw(store: SliceStore, tumour_fraction: float, count: int, generator: torch.Generator) -> Tensor:
    return store.draw(count, tumour_fraction=tumour_fraction, generator=generator)


def _distance(network: nn.Module, start: Sequence[Tensor]) -> Tensor:
    """Squared distance of the weights from where they started."""
    parts = [((now - then) ** 2).sum() for now, then in zip(network.parameters(), start, strict=True)]
    return torch.stack(parts).sum()


def fit(
    network: UNet,
    store: SliceStore,
    config: FitConfig,
    *,
    flair: int | None = None,
    draw: Callable[[int, torch.Generator], Tensor] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[FitEvent]:
    """Train a network; its weights become the running average of the trained ones.

    Parameters
    ----------
    network : UNet
        Updated in place at each `EpochDone` and at the end, so what is there is worth keeping at any time.
    store : SliceStore
        The labelled slices.
    config : FitConfig
        How.
    flair : int, optional
        The channel that stands in for sequences left out by the augmentation.
    draw : callable, optional
        ``(count, generator) -> (count,)`` slice numbers of a batch; by default `SliceStore.draw` with the
        configuration's share of tumour.
    should_stop : callable
        Asked before each step; when it returns True, the loop ends and keeps what it has.

    Yields
    ------
    FitEvent
        `StepDone` and `EpochDone` on the way, `FitFinished` at the end.

    Raises
    ------
    LossNotFinite
        Before a step that would spoil the weights.
    """
    device = store.device
    generator = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)
    loss_function = make_loss(config.loss)
    if draw is None:
        draw = functools.partial(_draw, store, config.tumour_fraction)
    learner = copy.deepcopy(network).to(device).train()
    if config.frozen_statistics:
        freeze_statistics(learner)
    to_channels_last(learner)
    start = [parameter.detach().clone() for parameter in learner.parameters()] if config.anchor else []
    average = copy.deepcopy(learner)
    optimiser = torch.optim.AdamW(
        learner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=device.type == "cuda"
    )
    half_precision = device.type == "cuda"
    started = time.perf_counter()
    epoch_started, epoch_loss, done, stopped = started, 0.0, 0, False
    before = 0.0
    for step in range(config.steps):
        if should_stop():
            stopped = True
            break
        progress = step / config.steps
        if config.seconds is not None:
            progress = max(progress, (time.perf_counter() - started) / config.seconds)
            if progress >= 1 and done:
                break
        factor = learning_rate_factor(min(progress, 1.0), coarse_fraction=config.coarse_fraction)
        rate = config.learning_rate * factor
        if config.travel is not None:
            # The mean of the factor over a training is a half.
            rate = min(rate, 2 * config.travel * factor * max(progress - before, 1 / config.steps))
            before = progress
        for group in optimiser.param_groups:
            group["lr"] = rate
        index = draw(config.batch_size, generator)
        image, mask, centre = store.batch(index, context=network.config.context)
        image, mask = augment(
            image,
            mask,
            centre=centre,
            patch=config.patch,
            coarse=progress < config.coarse_fraction,
            flair=flair,
            config=config.augment,
            generator=generator,
            soft=store.soft,
        )
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half_precision):
            logits = learner(image)
        loss = loss_function(logits.float(), mask, store.weights[index.to(device)])
        if start:
            loss = loss + config.anchor * _distance(learner, start)
        value = loss.item()
        if not math.isfinite(value):
            raise LossNotFinite(f"the loss became {value} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(learner.parameters(), max_norm=5.0)
        optimiser.step()
        done = step + 1
        update_average(average, learner, decay=min(config.ema_decay, done / (done + 10)))
        epoch_loss += value
        yield StepDone(step=done, steps=config.steps, loss=value, elapsed=time.perf_counter() - started)
        if done % config.steps_per_epoch == 0:
            network.load_state_dict(average.state_dict())
            now = time.perf_counter()
            yield EpochDone(
                epoch=done // config.steps_per_epoch,
                step=done,
                loss=epoch_loss / config.steps_per_epoch,
                seconds=now - started,
                slices_per_second=config.steps_per_epoch * config.batch_size / (now - epoch_started),
            )
            epoch_started, epoch_loss = now, 0.0
    if done:
        network.load_state_dict(average.state_dict())
    yield FitFinished(steps=done, seconds=time.perf_counter() - started, stopped=stopped)
