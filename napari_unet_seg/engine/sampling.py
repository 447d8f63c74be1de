"""Which slices a batch is made of, and which of them are made ready here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.slice_source import SliceSource

Draw = Callable[[int, torch.Generator], Tensor]
"""``(count, generator) -> (count,)`` slice numbers."""

_OWN_NUMBERS = 0x9E3779B9
"""Makes another seed of one. It is below 2**32, since a generator on the CPU takes no more of a seed."""


@dataclass(frozen=True)
class Part:
    """The samples of a batch that are read and changed here; by default all of them."""

    count: int
    """Samples of the whole batch."""

    rows: slice = field(default_factory=lambda: slice(None))
    """Those made here."""

    def draw(self, kind: Callable[..., Tensor], *shape: int, generator: torch.Generator) -> Tensor:
        """Random numbers of the samples made here, the same as if all were made here.

        Parameters
        ----------
        kind : callable
            `torch.rand` or `torch.randn`.
        *shape : int
            Of a sample's numbers.
        generator : torch.Generator
            It moves on by the numbers of the whole batch.

        Returns
        -------
        Tensor
            ``(b, *shape)`` for b samples made here, on the generator's device.
        """
        return kind((self.count, *shape), generator=generator, device=generator.device)[self.rows]


class Sampler(Protocol):
    """What chooses the slices of a training."""

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Slice numbers of the next batch, ``(count,)`` or fewer."""

    def upcoming(self, count: int, batches: int) -> Sequence[Tensor]:
        """What the next batches of `count` will be, at most so many, as far as that is known."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, beside the generator."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class Drawn:
    """Every batch drawn for itself, by a function that remembers nothing, with the numbers of the training itself.

    So nothing is known ahead: the generator's next numbers go into the augmentation first.
    """

    def __init__(self, draw: Draw) -> None:
        self.batch = draw

    def upcoming(self, count: int, batches: int) -> Sequence[Tensor]:
        """None."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class DrawnAhead:
    """Batches drawn for themselves by a generator of their own: the same ones, however many are asked for ahead.

    Parameters
    ----------
    draw : callable
        Remembers nothing.
    seed : int
        Of the generator.
    """

    def __init__(self, draw: Draw, *, seed: int) -> None:
        self._draw = draw
        self._own = torch.Generator().manual_seed(seed)
        self._drawn: deque[Tensor] = deque()

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """The next batch; the training's generator is left alone."""
        return self._drawn.popleft() if self._drawn else self._draw(count, self._own)

    def upcoming(self, count: int, batches: int) -> Sequence[Tensor]:
        """So many."""
        while len(self._drawn) < batches:
            self._drawn.append(self._draw(count, self._own))
        return list(self._drawn)[:batches]

    def state_dict(self) -> dict[str, Any]:
        """The batches drawn and not handed out yet, and the generator."""
        return {"drawn": list(self._drawn), "own": self._own.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; a state of a version without such a generator leaves it at its seed."""
        if "own" in state:
            self._drawn = deque(state["drawn"])
            self._own.set_state(state["own"])


class Passes:
    """Shuffled passes: every slice once, and the last batch of a pass as small as it comes.

    Parameters
    ----------
    slices : Tensor
        ``(N,)`` slice numbers.
    rarer : Tensor, optional
        Some of them, which come more often: `lacking` times in a pass, spread evenly over them.
    lacking : int
        How often, beside the once that every slice comes.
    """

    def __init__(self, slices: Tensor, *, rarer: Tensor | None = None, lacking: int = 0) -> None:
        self._slices = slices
        self._rarer = slices[:0] if rarer is None else rarer
        self._lacking = lacking
        self._order = slices[:0]
        self._next = 0

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """The next slices of this pass, or the first ones of a new one."""
        if self._next >= len(self._order):
            slices = self._with_rarer(generator)
            self._order = slices[torch.randperm(len(slices), generator=generator)]
            self._next = 0
        batch = self._order[self._next : self._next + count]
        self._next += len(batch)
        return batch

    def _with_rarer(self, generator: torch.Generator) -> Tensor:
        if not self._lacking:
            return self._slices
        whole, part = divmod(self._lacking, len(self._rarer))
        some = self._rarer[torch.randperm(len(self._rarer), generator=generator)[:part]]
        return torch.cat([self._slices, self._rarer.repeat(whole), some])

    def upcoming(self, count: int, batches: int) -> Sequence[Tensor]:
        """What is left of this pass."""
        starts = range(self._next, len(self._order), count)[:batches]
        return [self._order[start : start + count] for start in starts]

    def state_dict(self) -> dict[str, Any]:
        """The order of this pass, and the place in it."""
        return {"order": self._order, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._order, self._next = state["order"], state["next"]


def make_sampler(store: SliceSource, config: FitConfig, draw: Draw | None = None) -> Sampler:
    """The sampler of a configuration, or of the caller's own draw; the same for slices in memory and for streamed ones.

    What comes next is known but for a caller's own draw.
    """
    if draw is not None:
        return Drawn(draw)
    if config.sampling != "drawn":
        rarer = min(store.tumour, store.empty, key=len)
        return Passes(store.labelled, rarer=rarer, lacking=_lacking(config, store))

    def as_configured(count: int, generator: torch.Generator) -> Tensor:
        return store.draw(count, tumour_fraction=config.tumour_fraction, generator=generator)

    # With the seed of the augmentation, the draws would follow from the same numbers.
    return DrawnAhead(as_configured, seed=(config.seed ^ _OWN_NUMBERS) & 0xFFFFFFFF)


def epoch_length(config: FitConfig, store: SliceSource) -> int:
    """Steps of an epoch; unless samples are drawn, as many as a pass over the labelled slices of a store takes."""
    if config.sampling == "drawn":
        return config.steps_per_epoch
    return -(-(len(store.labelled) + _lacking(config, store)) // config.batch_size)


def _lacking(config: FitConfig, store: SliceSource) -> int:
    """How many more slices of the rarer kind a pass takes, to have as many of both."""
    fewer, more = sorted((len(store.tumour), len(store.empty)))
    return more - fewer if config.sampling == "balanced epochs" and fewer else 0
