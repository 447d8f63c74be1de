"""One round of tuning: a network that learns from all corrections, checked by others that do not see some of them."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.events import (
    CaseChecked,
    EpochDone,
    FitEvent,
    RoundEvent,
    RoundStarted,
    StepDone,
    ValidationDone,
)
from napari_unet_seg.engine.fit import Retarget, fit
from napari_unet_seg.engine.gate import HELD_BACK, Verdict, judge
from napari_unet_seg.engine.hold_back import Turn, turns
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.round_data import SAMPLE, RoundData, Scan, SlicePools
from napari_unet_seg.engine.round_report import CaseReport, Scope
from napari_unet_seg.engine.round_scorer import Planes, RoundScorer, mean
from napari_unet_seg.engine.segmenter import Stopped
from napari_unet_seg.engine.unet import to_channels_last
from napari_unet_seg.errors import InputError

_LOOKS = 10
"""Looks at what is held back in a round."""

_CHECKED_CASES = 4
"""Most labelled, and most unlabelled, scans that are kept out of the training to check it."""

_CORRECTED_SHARE, _OTHERS_SHARE = 0.25, 0.15
"""Parts of the time that may go into predicting the corrected scans, and others to keep in mind."""

_FEW_STEPS = 5
"""Steps below which a refusal says that the time was short."""


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
    turn: Turn
    events: Iterator[FitEvent]

    def advance(self) -> None:
        """Train one step, so that `network` has its weights."""
        for event in self.events:
            if isinstance(event, EpochDone):
                return


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """What the held-back slices said at one moment, and the weights of that moment."""

    planes: Planes
    """What was said of each held-back slice, ``(Y, X)``."""

    dice: float
    """Their mean score."""

    network: Network


@dataclass(kw_only=True, eq=False)
class Round:
    """A round, from corrections to weights and a verdict on them.

    The trainings advance in step, so that what the blind ones show holds for the one that counts at the same moment: a
    cross-validation that runs along.
    """

    data: RoundData
    network: Network
    """The parent; after `run` the weights that the round offers."""

    description: Description
    scope: Scope
    policy: TunePolicy
    device: str
    seed: int
    started: float
    """When the round began, by `time.perf_counter`."""

    seconds: float
    """Time for everything."""

    should_stop: Callable[[], bool]
    incumbent: tuple[Network, Collection[str]] | None = None
    """What the weights would replace, where that is not the parent, and `Scan.fingerprints` of what it has learned."""

    steps: int = 0
    stopped: bool = False
    learned_from: list[str] = field(default_factory=list)
    """Names of other cases whose masks were learned."""
    cases: list[CaseReport] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(promoted=False, reason="", before=0.0, after=0.0))

    def __post_init__(self) -> None:
        self._deadline = self.started + self.seconds
        self._parent = copy.deepcopy(self.network)
        self._scorer = RoundScorer(
            self._parent,
            self.description,
            corrected=self.data.corrected,
            device=self.device,
            should_stop=self.should_stop,
        )
        self._seconds_after = 0.5
        """What is to be done after the training takes about this long."""

    def run(self) -> Iterator[RoundEvent]:
        """Train, look, and judge; the attributes hold what came of it."""
        try:
            yield from self._run()
        except Stopped:
            self.stopped = True
        if self.stopped and not self.verdict.reason:
            self.network = self._parent
            self._refuse("stopped before it had learned anything")

    def _run(self) -> Iterator[RoundEvent]:
        data = self.data
        if not data.count():
            self._refuse(f"the corrections look like noise, not like masks ({self._speckled()}); nothing was learned")
            return
        trained, checked = self._predict()
        learned = set(self.description.training.get("learned", []))
        held_back = turns(data.corrected, learned=learned, most=self.policy.folds, seed=self.seed)
        if not held_back and not any(self._scorer.tells(scan) for scan in checked if scan.case_id != SAMPLE):
            self._refuse("a single corrected slice cannot be checked in this scan; correct a second one")
            return
        self.learned_from = [scan.case_id for scan in trained if scan.labelled.any()]
        before = self._scorer.before(held_back)
        yield RoundStarted(
            scope=self.scope,
            slices_corrected=data.count(),
            cases=sum(bool(scan.corrected) for scan in data.corrected),
            rehearsal=len(data.labelled) + len(data.unlabelled),
            seconds=self.seconds,
            elapsed=self._elapsed(),
        )
        look = yield from self._train(held_back, trained, before=before)
        if not self.steps:
            raise Stopped
        tuned = self.network if look is None else look.network
        self.network = blend(self._parent, tuned, share=self.policy.blend)
        yield from self._check(checked, before=before, look=look)

    def _speckled(self) -> str:
        return ", ".join(f"slice {z} of {case}" for case, z in self.data.speckled[:3])

    def _predict(self) -> tuple[list[Scan], list[Scan]]:
        """Have the parent predict every scan that needs it; the scans to keep in mind, and those to check by."""
        data = self.data
        began, budget = time.perf_counter(), self.seconds
        for number, scan in enumerate(data.corrected):
            late = number and time.perf_counter() - began > _CORRECTED_SHARE * budget
            self._scorer.predict(scan, only=scan.corrected if late else None)
        began, told = time.perf_counter(), list[Scan]()
        for scan in data.unlabelled:
            late = time.perf_counter() - began > _OTHERS_SHARE * budget
            if told and late and scan.case_id != SAMPLE:
                continue
            try:
                self._scorer.predict(scan)
            except InputError:
                # Nobody corrected it: the round does not depend on it.
                continue
            told.append(scan)
        data.unlabelled[:] = told
        checked = self._half(data.labelled) + self._half(data.unlabelled)
        others = [scan for scan in data.labelled + data.unlabelled if scan not in checked]
        if len(checked) == 1 and not others:
            # A single other scan has to do for both.
            others = checked[:]
        if self.scope == "scan" or not data.unlabelled:
            checked += [scan for scan in data.corrected if scan.predicted is None]
        for scan in checked:
            if scan.probability is None:
                self._scorer.predict(scan)
            self._seconds_after += self._scorer.seconds_of[scan.case_id]
        return others, checked

    @staticmethod
    def _half(scans: list[Scan]) -> list[Scan]:
        """The scans to check by: half of them at most, or the only one."""
        return scans[: min(_CHECKED_CASES, max(1, len(scans) // 2))]

    def _train(
        self,
        held_back: Sequence[Turn],
        trained: list[Scan],
        *,
        before: dict[str, float],
    ) -> Generator[RoundEvent, None, _Look | None]:
        """Advance all trainings in step; returns the last look, if there was one, or the best where it was stopped.

        Not the best in any case: picked among ten by what it is then judged by, noise would pass for a gain.
        """
        policy = self.policy
        pools = SlicePools(
            [*self.data.corrected, *trained],
            device=choose_device(self.device).device,
            rehearsal_weight=policy.rehearsal_weight,
            threshold=self.description.threshold,
        )
        budget = max(0.5, self._deadline - time.perf_counter() - self._seconds_after)
        config = replace(policy.fit, seconds=budget, patch=self._patch(pools), seed=self.seed)
        retarget = self._teacher(pools) if policy.teach_as_seen else None
        main = self._start(self.network, pools, config, turn=None, retarget=retarget)
        beside = []
        for number, turn in enumerate(held_back, start=1):
            network = copy.deepcopy(self._parent)
            blind = replace(config, batch_size=policy.fold_batch, seed=self.seed + number)
            events = self._start(network, pools, blind, turn=turn, retarget=retarget)
            beside.append(_Blind(network=network, turn=turn, events=events))
        look: _Look | None = None
        best: _Look | None = None
        looked_at = 0
        next_look = time.perf_counter() + budget / _LOOKS
        cost = 0.0
        began_step = time.perf_counter()
        for event in main:
            if isinstance(event, StepDone):
                self.steps = event.step
                yield replace(event, elapsed=self._elapsed())
            if not isinstance(event, EpochDone):
                continue
            for blind_one in beside:
                blind_one.advance()
            now = time.perf_counter()
            # Another step must fit, as well as the look after it.
            out_of_time = now + (now - began_step) + cost > self._deadline - self._seconds_after
            if beside and (now >= next_look or out_of_time) and not self.should_stop():
                began = time.perf_counter()
                look, looked_at = self._look(beside), self.steps
                best = look if best is None or look.dice >= best.dice else best
                yield self._tell(look, before)
                next_look, cost = time.perf_counter() + budget / _LOOKS, time.perf_counter() - began
            if out_of_time:
                break
            began_step = time.perf_counter()
        self.stopped = self.should_stop()
        if beside and self.steps and (look is None or (looked_at < self.steps and not self.stopped)):
            look = self._look(beside)
            yield self._tell(look, before)
        return best if self.stopped and best is not None else look

    def _patch(self, pools: SlicePools) -> tuple[int, int]:
        """What the network was trained on, or less where the scans are smaller."""
        height, width = self.description.input_size
        multiple = self.description.network.multiple
        rows, columns = (-(-n // multiple) * multiple for n in pools.size)
        return min(height, rows), min(width, columns)

    def _start(
        self,
        network: Network,
        pools: SlicePools,
        config: FitConfig,
        *,
        turn: Turn | None,
        retarget: Retarget | None,
    ) -> Iterator[FitEvent]:
        return fit(
            network,
            pools.store,
            config,
            flair=flair_index(self.description.channel_names),
            draw=pools.drawer(
                () if turn is None else turn.held_back,
                whole_cases=turn is not None and turn.whole_cases,
                corrected_fraction=self.policy.corrected_fraction,
                foreground_fraction=self.policy.foreground_fraction,
            ),
            retarget=retarget,
            should_stop=self.should_stop,
        )

    def _teacher(self, pools: SlicePools) -> Retarget:
        """Puts the parent's word on the images of a batch in the place of targets that are no true masks."""
        parent = to_channels_last(copy.deepcopy(self._parent).to(pools.store.device)).requires_grad_(False)

        @torch.no_grad()
        def retarget(image: torch.Tensor, target: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            told = (~pools.known[index]).to(image.device)
            if told.any():
                target = target.clone()
                target[told] = parent(image[told]).float().sigmoid()
            return target

        return retarget

    def _look(self, beside: Sequence[_Blind]) -> _Look:
        """Predict each held-back slice by the training that does not see it."""
        planes: Planes = {}
        for blind in beside:
            network = blend(self._parent, blind.network, share=self.policy.blend)
            planes |= self._scorer.say(network, blind.turn.held_back)
        dice = mean(self._scorer.score(planes))
        return _Look(planes=planes, dice=dice, network=copy.deepcopy(self.network).eval())

    def _tell(self, look: _Look, before: dict[str, float]) -> ValidationDone:
        return ValidationDone(
            step=self.steps,
            dice=look.dice,
            before=mean(before),
            elapsed=self._elapsed(),
        )

    def _check(self, checked: Sequence[Scan], *, before: dict[str, float], look: _Look | None) -> Iterator[RoundEvent]:
        """Score the weights offered on everything they are to be checked by, and judge."""
        if look is not None:
            after, slices = self._scorer.score(look.planes), Counter(case for case, _ in look.planes)
            self.cases += [
                CaseReport(case=case, role=HELD_BACK, slices=slices[case], before=before[case], after=after[case])
                for case in before
            ]
        for scan in checked:
            report = self._scorer.check(scan, self.network)
            if report is not None:
                self.cases.append(report)
            # A sign of life: whoever has asked for the end does not wait in vain.
            yield CaseChecked(case=scan.case_id, elapsed=self._elapsed())
        self.verdict = judge(
            self.cases,
            policy=self.policy,
            corrected={scan.case_id for scan in self.data.corrected},
            only_empty=not any((scan.mask[z] > 0).any() for scan in self.data.corrected for z in scan.corrected),
            incumbent=self._against_incumbent(look),
        )
        notes = []
        if not self.verdict.promoted and self.steps < _FEW_STEPS:
            notes.append(f"only {self.steps} step(s) fitted into the time: give it more")
        if self.data.speckled:
            notes.append(f"{self._speckled()} looked like noise and was left out")
        self.verdict = replace(self.verdict, reason="; ".join([self.verdict.reason, *notes]))

    def _against_incumbent(self, look: _Look | None) -> tuple[float, float] | None:
        """Dice of what is to be replaced and of this round, on held-back slices that neither has learned."""
        if self.incumbent is None or look is None:
            return None
        network, learned = self.incumbent
        fresh = {
            (scan.case_id, z)
            for scan in self.data.corrected
            for z, text in zip(scan.corrected, scan.fingerprints(), strict=True)
            if text not in learned
        } & set(look.planes)
        if not fresh:
            return None
        ours = {key: look.planes[key] for key in fresh}
        return mean(self._scorer.score(self._scorer.say(network, fresh))), mean(self._scorer.score(ours))

    def _refuse(self, reason: str) -> None:
        self.verdict = Verdict(promoted=False, reason=reason, before=0.0, after=0.0)

    def _elapsed(self) -> float:
        return time.perf_counter() - self.started
