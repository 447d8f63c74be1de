"""Which slices a batch is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.samples import SliceStore

Draw = Callable[[int, torch.Generator], Tensor]
"""``(count, generator) -> (count,)`` slice numbers."""


class Sampler(Protocol):
    """What chooses the slices of a training."""

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Slice numbers of the next batch, ``(count,)`` or fewer."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, beside the generator."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class Drawn:
    """Every batch drawn for itself, by a function that remembers nothing."""

    def __init__(self, draw: Draw) -> None:
        self.batch = draw

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class Passes:
    """Shuffled passes: every slice once, and the last batch of a pass as small as it comes.

    Parameters
    ----------
    slices : Tensor
        ``(N,)`` slice numbers.
    """

    def __init__(self, slices: Tensor) -> None:
        self._slices = slices
        self._order = slices[:0]
        self._next = 0

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """The next slices of this pass, or the first ones of a new one."""
        if self._next >= len(self._order):
            self._order = self._slices[torch.randperm(len(self._slices), generator=generator)]
            self._next = 0
        batch = self._order[self._next : self._next + count]
        self._next += len(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The order of this pass, and the place in it."""
        return {"order": self._order, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._order, self._next = state["order"], state["next"]


def make_sampler(store: SliceStore, config: FitConfig, draw: Draw | None = None) -> Sampler:
    """The sampler of a configuration, or of the caller's own draw."""
    if draw is not None:
        return Drawn(draw)
    if config.sampling == "epochs":
        return Passes(store.labelled)
    return Drawn(
        lambda count, generator: store.draw(count, tumour_fraction=config.tumour_fraction, generator=generator)
    )


def epoch_length(config: FitConfig, *, slices: int) -> int:
    """Steps of an epoch; with ``sampling="epochs"`` as many as a pass over `slices` labelled slices takes."""
    return -(-slices // config.batch_size) if config.sampling == "epochs" else config.steps_per_epoch
