"""The trainings of a round: one that learns from all corrections, and others beside it that do not see some of them."""

from __future__ import annotations

import copy
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.events import EpochDone, FitEvent, RoundEvent, StepDone, ValidationDone
from napari_unet_seg.engine.fit import Retarget, fit
from napari_unet_seg.engine.hold_back import Key, Turn
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.round_clock import RoundClock
from napari_unet_seg.engine.round_scorer import Planes, RoundScorer, mean
from napari_unet_seg.engine.slice_pools import SlicePools
from napari_unet_seg.engine.unet import to_channels_last

_LOOKS = 10
"""Looks at what is held back in a round."""

_LEAST_PAUSE = 4.0
"""Between two of them passes so many times what one takes."""

_PACED_BY = 5
"""Steps, the last ones, from which it is told how long another one takes."""


def blend(parent: Network, tuned: Network, *, share: float) -> Network:
    """A network whose weights lie between two others': 0 the parent's, 1 the tuned ones."""
    result = copy.deepcopy(parent)
    weights = {
        name: torch.lerp(old, tuned.state_dict()[name].to(old.device), share) if old.is_floating_point() else old
        for name, old in parent.state_dict().items()
    }
    result.load_state_dict(weights)
    return result.eval()


@dataclass(kw_only=True, eq=False)
class _Blind:
    """A training beside the one that counts, blind to some corrected slices."""

    network: Network
    asked: Sequence[Key]
    """Those of them that it is asked about."""

    events: Iterator[FitEvent]

    def advance(self) -> None:
        """Train one step, so that `network` has its weights."""
        for event in self.events:
            if isinstance(event, EpochDone):
                return


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What the held-back slices said at one moment, and the weights of that moment."""

    planes: Planes
    """What was said of each held-back slice, ``(Y, X)``."""

    dice: float
    """Their mean score."""

    network: Network


@dataclass(kw_only=True, eq=False)
class Trainings:
    """The trainings of a round, which advance in step.

    So what the blind ones show holds for the one that counts at the same moment: a cross-validation that runs along.
    """

    parent: Network
    network: Network
    """The parent's weights at first; trained in place."""

    description: Description
    """The parent's."""

    policy: TunePolicy
    pools: SlicePools
    held_back: Sequence[Turn]
    asked: Collection[Key]
    """The held-back slices that are scored."""

    scorer: RoundScorer
    clock: RoundClock
    end: float
    """The moment at which to end, by `time.perf_counter`."""

    seed: int
    should_stop: Callable[[], bool]

    steps: int = 0
    stopped: bool = False

    def run(self, before: Mapping[str, float]) -> Generator[RoundEvent, None, Look | None]:
        """Train; returns the last look, if there was one, or the best where it was stopped.

        Not the best in any case: picked among ten by what it is then judged by, noise would pass for a gain.

        Parameters
        ----------
        before : mapping of str to float
            Dice of the parent on the held-back slices, by case.
        """
        policy = self.policy
        budget = max(0.5, self.end - time.perf_counter())
        config = replace(policy.fit, seconds=budget, patch=self._patch(), seed=self.seed)
        retarget = self._teacher() if policy.teach_as_seen else None
        main = self._start(self.network, config, turn=None, retarget=retarget)
        beside = []
        for number, turn in enumerate(self.held_back, start=1):
            network = copy.deepcopy(self.parent)
            blind = replace(config, batch_size=policy.fold_batch, seed=self.seed + number)
            events = self._start(network, blind, turn=turn, retarget=retarget)
            asked = [key for key in turn.held_back if key in self.asked]
            beside.append(_Blind(network=network, asked=asked, events=events))
        look: Look | None = None
        best: Look | None = None
        looked_at = 0
        cost = self.scorer.pace * len(self.asked)
        next_look = time.perf_counter() + max(budget / _LOOKS, _LEAST_PAUSE * cost)
        began_step, durations = time.perf_counter(), deque[float](maxlen=_PACED_BY)
        for event in main:
            if isinstance(event, StepDone):
                self.steps = event.step
                yield replace(event, elapsed=self.clock.elapsed())
            if not isinstance(event, EpochDone):
                continue
            for blind_one in beside:
                blind_one.advance()
            now = time.perf_counter()
            durations.append(now - began_step)
            # Another step must fit, as well as the look after it; a single slow one says little of the next.
            out_of_time = now + statistics.median(durations) + cost > self.end
            if beside and (now >= next_look or out_of_time) and not self.should_stop():
                began = time.perf_counter()
                look, looked_at = self._look(beside), self.steps
                best = look if best is None or look.dice >= best.dice else best
                yield self._tell(look, before)
                cost = time.perf_counter() - began
                next_look = time.perf_counter() + max(budget / _LOOKS, _LEAST_PAUSE * cost)
            if out_of_time:
                break
            began_step = time.perf_counter()
        self.stopped = self.should_stop()
        if beside and self.steps and (look is None or (looked_at < self.steps and not self.stopped)):
            look = self._look(beside)
            yield self._tell(look, before)
        return best if self.stopped and best is not None else look

    def _patch(self) -> tuple[int, int]:
        """What the network was trained on, or less where the scans are smaller."""
        height, width = self.description.input_size
        multiple = self.description.network.multiple
        rows, columns = (-(-n // multiple) * multiple for n in self.pools.size)
        return min(height, rows), min(width, columns)

    def _start(
        self, network: Network, config: FitConfig, *, turn: Turn | None, retarget: Retarget | None
    ) -> Iterator[FitEvent]:
        return fit(
            network,
            self.pools.store,
            config,
            flair=flair_index(self.description.channel_names),
            draw=self.pools.drawer(
                () if turn is None else turn.held_back,
                hidden_cases=() if turn is None else turn.hidden_cases,
                corrected_fraction=self.policy.corrected_fraction,
                foreground_fraction=self.policy.foreground_fraction,
            ),
            retarget=retarget,
            should_stop=self.should_stop,
        )

    def _teacher(self) -> Retarget:
        """Puts the parent's word on the images of a batch in the place of targets that are no true masks."""
        pools = self.pools
        parent = to_channels_last(copy.deepcopy(self.parent).to(pools.store.device)).requires_grad_(False)

        @torch.no_grad()
        def retarget(image: torch.Tensor, target: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            told = (~pools.known[index]).to(image.device)
            if told.any():
                target = target.clone()
                target[told] = parent(image[told]).float().sigmoid()
            return target

        return retarget

    def _look(self, beside: Sequence[_Blind]) -> Look:
        """Predict each held-back slice by the training that does not see it."""
        planes: Planes = {}
        for blind in beside:
            network = blend(self.parent, blind.network, share=self.policy.blend)
            planes |= self.scorer.say(network, blind.asked)
        dice = mean(self.scorer.score(planes))
        return Look(planes=planes, dice=dice, network=copy.deepcopy(self.network).eval())

    def _tell(self, look: Look, before: Mapping[str, float]) -> ValidationDone:
        return ValidationDone(step=self.steps, dice=look.dice, before=mean(before), elapsed=self.clock.elapsed())
