"""Trainings that go on step by step, so that they can be timed by turns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.config import FitConfig, KerasAugmentConfig, UNetConfig
from napari_unet_seg.engine.events import FitEvent, StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.keras_augment import keras_augment
from napari_unet_seg.engine.losses import make_loss
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore

ENDLESS = 10**9
"""Steps of a training that nobody waits the end of."""


class Training(Protocol):
    """What can be timed."""

    def step(self) -> None:
        """Train on one batch."""


def phantom_slices(count: int, *, size: int) -> LabelledVolume:
    """So many slices of ``(size, size)``, uint8, all labelled, out of several phantom heads."""
    depth = min(count, 32)
    heads = [make_phantom(slices=depth, size=size, seed=seed) for seed in range(-(-count // depth))]
    volume = heads[0][0]
    data = np.concatenate([head.data for head, _ in heads], axis=1)[:, :count]
    return LabelledVolume(
        volume=Volume(data=data, channel_names=volume.channel_names, spacing=volume.spacing),
        mask=np.concatenate([mask for _, mask in heads])[:count],
        labelled=np.ones(count, dtype=bool),
    )


class OurTraining:
    """`fit`, held after every step.

    Parameters
    ----------
    network : UNetConfig
        What is trained, from fresh weights.
    store : SliceStore
        On the device that trains.
    config : FitConfig
        How; with as many steps as anyone will ask for.
    flair : int or None
        See `fit`.
    """

    def __init__(self, network: UNetConfig, store: SliceStore, config: FitConfig, *, flair: int | None) -> None:
        torch.manual_seed(config.seed)
        self._events: Iterator[FitEvent] = fit(build_network(network), store, config, flair=flair)

    def step(self) -> None:
        """Train on one batch."""
        while not isinstance(next(self._events), StepDone):
            pass


class PlainTraining:
    """The same network, batches, loss and optimiser in PyTorch as one writes it.

    Float32, channels first, a loop by hand; the augmentation is made on the training's device.

    Parameters
    ----------
    network : UNetConfig
        What is trained, from fresh weights.
    slices : LabelledVolume
        Bytes at the size that is trained on.
    batch : int
        Slices of a step.
    augment : KerasAugmentConfig
        The ranges.
    learning_rate : float
        Of Adam.
    device : torch.device
        Where it trains, and where the slices lie.
    """

    def __init__(
        self,
        network: UNetConfig,
        slices: LabelledVolume,
        *,
        batch: int,
        augment: KerasAugmentConfig,
        learning_rate: float,
        device: torch.device,
    ) -> None:
        torch.manual_seed(0)
        self._network = build_network(network).to(device).train()
        self._images = torch.from_numpy(slices.volume.data.swapaxes(0, 1).astype(np.float32) / 255).to(device)
        self._masks = torch.from_numpy((slices.mask[:, None] > 0).astype(np.float32)).to(device)
        self._batch, self._augment, self._device = batch, augment, device
        self._loss_function = make_loss("bce+dice")
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=learning_rate)
        self._generator = torch.Generator().manual_seed(0)
        self._order: list[torch.Tensor] = []
        self.loss = math.nan
        """Of the last step."""

    def step(self) -> None:
        """Train on one batch."""
        if not self._order:
            self._order = list(torch.randperm(len(self._images), generator=self._generator).split(self._batch))
        index = self._order.pop().to(self._device)
        image, mask = keras_augment(
            self._images[index], self._masks[index], config=self._augment, generator=self._generator
        )
        loss = self._loss_function(self._network(image), mask)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self.loss = loss.item()
