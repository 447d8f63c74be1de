"""One round of tuning: a network that learns from all corrections, checked by others that do not see some of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.events import EpochDone, FitEvent, RoundEvent, RoundStarted, StepDone, ValidationDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.gate import CONFIDENT, HELD_BACK, REHEARSAL, Verdict, confident_dice, held_back_dice, judge
from napari_unet_seg.engine.hold_back import Key, turns
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.round_data import RoundData, Scan, SlicePools
from napari_unet_seg.engine.round_report import CaseReport, Scope
from napari_unet_seg.engine.segmenter import Segmenter, Stopped
from napari_unet_seg.engine.unet import UNet

_LOOKS = 10
"""Looks at what is held back in a round."""

_CHECKED_CASES = 4
"""Most labelled, and most unlabelled, scans that are kept out of the training to check it."""

_PREDICTING_SHARE = 0.15
"""Part of the time that may go into predicting scans to keep in mind, beyond the corrected ones."""

_SLACK = 0.02
"""By how much the last look may be worse than the best one and its weights still be taken."""


def blend(parent: UNet, tuned: UNet, *, share: float) -> UNet:
    """A network whose weights lie between two others': 0 the parent's, 1 the tuned ones."""
    result = copy.deepcopy(parent)
    weights = {
        name: torch.lerp(old, tuned.state_dict()[name].to(old.device), share) if old.is_floating_point() else old
        for name, old in parent.state_dict().items()
    }
    result.load_state_dict(weights)
    return result.eval()


@dataclass(kw_only=True, eq=False)
class _Turn:
    """A training beside the one that counts, blind to some corrected slices."""

    network: UNet
    held_back: list[Key]
    events: Iterator[FitEvent]

    def advance(self) -> None:
        """Train one step, so that `network` has its weights."""
        for event in self.events:
            if isinstance(event, EpochDone):
                return


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """What the held-back slices said at one moment, and the weights of that moment."""

    dice: float
    by_case: dict[str, float]
    network: UNet


@dataclass(kw_only=True, eq=False)
class Round:
    """A round, from corrections to weights and a verdict on them.

    The trainings advance in step, so that what the blind ones show holds for the one that counts at the same moment: a
    cross-validation that runs along.
    """

    data: RoundData
    network: UNet
    """The parent; after `run` the weights that the round offers."""

    description: Description
    scope: Scope
    policy: TunePolicy
    device: str
    seed: int
    started: float
    deadline: float
    """When everything must be done, by `time.perf_counter`, as `started`."""

    should_stop: Callable[[], bool]
    steps: int = 0
    stopped: bool = False
    cases: list[CaseReport] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(promoted=False, reason="", before=0.0, after=0.0))

    def __post_init__(self) -> None:
        self._parent = copy.deepcopy(self.network)
        self._segmenters: dict[str, Segmenter] = {}
        self._seconds_after = 0.5
        """What is to be done after the training takes about this long."""

    def run(self) -> Iterator[RoundEvent]:
        """Train, look, and judge; the attributes hold what came of it."""
        try:
            yield from self._run()
        except Stopped:
            self.stopped = True
        finally:
            self._segmenters.clear()
        if self.stopped and not self.verdict.reason:
            self.network = self._parent
            self._refuse("stopped before it had learned anything")

    def _run(self) -> Iterator[RoundEvent]:
        data = self.data
        if not data.count():
            if not data.speckled:
                raise Stopped
            where = ", ".join(f"slice {z} of {case}" for case, z in data.speckled[:3])
            self._refuse(f"the corrections look like noise, not like masks ({where}); nothing was learned")
            return
        trained, checked = self._predict()
        learned = set(self.description.training.get("learned", []))
        held_back = turns(data.corrected, learned=learned, most=self.policy.folds, seed=self.seed)
        truth = {(scan.case_id, z): scan.mask[z] > 0 for scan in data.corrected for z in scan.corrected}
        probability = {scan.case_id: scan.probability for scan in data.corrected}
        before = self._score(
            {key: probability[key[0]][key[1]] for keys in held_back for key in keys},  # type: ignore[index]
            truth,
        )
        yield RoundStarted(
            scope=self.scope,
            slices_corrected=data.count(),
            cases=sum(bool(scan.corrected) for scan in data.corrected),
            rehearsal=len(data.labelled) + len(data.unlabelled),
            seconds=self.deadline - self.started,
            elapsed=self._elapsed(),
        )
        look = yield from self._train(held_back, trained, truth=truth, before=before)
        if not self.steps:
            raise Stopped
        tuned = self.network if look is None else look.network
        self.network = blend(self._parent, tuned, share=self.policy.blend)
        self._check(checked, held_back, before=before, look=look)

    def _predict(self) -> tuple[list[Scan], list[Scan]]:
        """Have the parent predict every scan that needs it; the scans to keep in mind, and those to check by."""
        data = self.data
        checked = self._halve(data.labelled) + self._halve(data.unlabelled)
        for scan in data.corrected:
            self._predict_scan(scan)
        began, share = time.perf_counter(), _PREDICTING_SHARE * (self.deadline - self.started)
        done = 0
        for scan in data.unlabelled:
            if done and time.perf_counter() - began > share:
                break
            self._predict_scan(scan)
            done += 1
        del data.unlabelled[done:]
        if self.scope == "scan" or not data.unlabelled:
            checked += [scan for scan in data.corrected if len(scan.corrected) < len(scan.mask)]
        checked = [scan for scan in checked if scan.labelled.any() or scan.probability is not None]
        for scan in checked:
            started = time.perf_counter()
            if scan.probability is None:
                self._predict_scan(scan)
                self._seconds_after += time.perf_counter() - started
            else:
                self._seconds_after += self._pace * len(scan.mask)
        others = [scan for scan in data.labelled + data.unlabelled if scan not in checked]
        if not others:
            # A single other scan has to do for both.
            others = data.labelled + data.unlabelled
        return others, checked

    @staticmethod
    def _halve(scans: list[Scan]) -> list[Scan]:
        """The scans to check by: half of them at most, or the only one."""
        return scans[: min(_CHECKED_CASES, max(1, len(scans) // 2))]

    def _predict_scan(self, scan: Scan) -> None:
        started = time.perf_counter()
        scan.probability = self._segmenter(scan).predict(scan.volume, should_stop=self.should_stop)
        self._pace = (time.perf_counter() - started) / len(scan.mask)

    def _segmenter(self, scan: Scan) -> Segmenter:
        """One for each scan: it keeps what it works out about the volume it sees."""
        if scan.case_id not in self._segmenters:
            self._segmenters[scan.case_id] = Segmenter(self._parent, self.description, device=self.device)
        return self._segmenters[scan.case_id]

    def _train(
        self,
        held_back: list[list[Key]],
        trained: list[Scan],
        *,
        truth: dict[Key, NDArray[np.bool_]],
        before: dict[str, float],
    ) -> Generator[RoundEvent, None, _Look | None]:
        """Advance all trainings in step; returns the look whose weights are to be taken, if there was one."""
        policy = self.policy
        pools = SlicePools(
            [*self.data.corrected, *trained],
            device=choose_device(self.device).device,
            rehearsal_weight=policy.rehearsal_weight,
        )
        budget = max(0.5, self.deadline - time.perf_counter() - self._seconds_after)
        config = replace(policy.fit, seconds=budget, patch=self._patch(pools), seed=self.seed)
        main = self._start(self.network, pools, config, hidden=[])
        beside = []
        for number, keys in enumerate(held_back, start=1):
            network = copy.deepcopy(self._parent)
            blind = replace(config, batch_size=policy.fold_batch, seed=self.seed + number)
            events = self._start(network, pools, blind, hidden=keys)
            beside.append(_Turn(network=network, held_back=keys, events=events))
        looks: list[_Look] = []
        next_look = time.perf_counter() + budget / _LOOKS
        cost = 0.0
        fresh = False
        began_step = time.perf_counter()
        for event in main:
            if isinstance(event, StepDone):
                self.steps = event.step
                yield replace(event, elapsed=self._elapsed())
            if not isinstance(event, EpochDone):
                continue
            for turn in beside:
                turn.advance()
            fresh = True
            now = time.perf_counter()
            # Another step must fit, as well as the look after it.
            out_of_time = now + (now - began_step) + cost > self.deadline - self._seconds_after
            if beside and (now >= next_look or out_of_time) and not self.should_stop():
                began = time.perf_counter()
                looks.append(self._look(beside, truth))
                yield self._tell(looks[-1], before)
                next_look, cost, fresh = time.perf_counter() + budget / _LOOKS, time.perf_counter() - began, False
            if out_of_time:
                break
            began_step = time.perf_counter()
        self.stopped = self.should_stop()
        if beside and self.steps and (not looks or (fresh and not self.stopped)):
            looks.append(self._look(beside, truth))
            yield self._tell(looks[-1], before)
        if not looks:
            return None
        best = max(looks, key=lambda look: look.dice)
        return looks[-1] if looks[-1].dice >= best.dice - _SLACK else best

    def _patch(self, pools: SlicePools) -> tuple[int, int]:
        """What the network was trained on, or less where the scans are smaller."""
        height, width = self.description.input_size
        multiple = self.description.network.multiple
        rows, columns = (-(-n // multiple) * multiple for n in pools.store.images.shape[-2:])
        return min(height, rows), min(width, columns)

    def _start(self, network: UNet, pools: SlicePools, config: FitConfig, *, hidden: list[Key]) -> Iterator[FitEvent]:
        names = self.description.channel_names
        return fit(
            network,
            pools.store,
            config,
            flair=names.index("flair") if "flair" in names else None,
            draw=pools.drawer(
                hidden,
                corrected_fraction=self.policy.corrected_fraction,
                foreground_fraction=self.policy.foreground_fraction,
            ),
            should_stop=self.should_stop,
        )

    def _look(self, beside: Sequence[_Turn], truth: dict[Key, NDArray[np.bool_]]) -> _Look:
        """Predict each held-back slice by the training that does not see it."""
        scans = {scan.case_id: scan for scan in self.data.corrected}
        planes: dict[Key, NDArray[np.float32]] = {}
        for turn in beside:
            network = blend(self._parent, turn.network, share=self.policy.blend)
            for case in dict.fromkeys(case for case, _ in turn.held_back):
                wanted = [z for name, z in turn.held_back if name == case]
                segmenter = self._segmenter(scans[case])
                segmenter.use(network)
                said = segmenter.predict(scans[case].volume, slices=wanted)
                planes |= {(case, z): said[z] for z in wanted}
        by_case = self._score(planes, truth)
        return _Look(
            dice=float(np.mean(list(by_case.values()))), by_case=by_case, network=copy.deepcopy(self.network).eval()
        )

    def _score(self, planes: dict[Key, NDArray[np.float32]], truth: dict[Key, NDArray[np.bool_]]) -> dict[str, float]:
        """Dice of some slices, by case."""
        threshold = self.description.threshold
        return {
            case: held_back_dice(
                [planes[key] >= threshold for key in planes if key[0] == case],
                [truth[key] for key in planes if key[0] == case],
            )
            for case in dict.fromkeys(case for case, _ in planes)
        }

    def _tell(self, look: _Look, before: dict[str, float]) -> ValidationDone:
        return ValidationDone(
            step=self.steps, dice=look.dice, before=float(np.mean(list(before.values()))), elapsed=self._elapsed()
        )

    def _check(
        self,
        checked: Sequence[Scan],
        held_back: Sequence[Sequence[Key]],
        *,
        before: dict[str, float],
        look: _Look | None,
    ) -> None:
        """Score the weights offered on everything they are to be checked by, and judge."""
        if look is not None:
            slices = [case for keys in held_back for case, _ in keys]
            self.cases += [
                CaseReport(
                    case=case, role=HELD_BACK, slices=slices.count(case), before=before[case], after=look.by_case[case]
                )
                for case in before
            ]
        for scan in checked:
            report = self._check_scan(scan)
            if report is not None:
                self.cases.append(report)
        only_empty = not any((scan.mask[z] > 0).any() for scan in self.data.corrected for z in scan.corrected)
        self.verdict = judge(self.cases, policy=self.policy, only_empty=only_empty)

    def _check_scan(self, scan: Scan) -> CaseReport | None:
        assert scan.probability is not None
        segmenter = self._segmenter(scan)
        segmenter.use(self.network)
        said = segmenter.predict(scan.volume)
        corrected = np.isin(np.arange(len(scan.mask)), scan.corrected)
        if not scan.corrected and scan.labelled.any():
            known = scan.labelled
            old, new = (segmenter.mask(each)[known] for each in (scan.probability, said))
            return CaseReport(
                case=scan.case_id,
                role=REHEARSAL,
                slices=int(known.sum()),
                before=count(old, scan.mask[known]).dice,
                after=count(new, scan.mask[known]).dice,
            )
        open_slices = ~corrected
        mask = (said[open_slices] >= self.description.threshold).astype(np.uint8)
        dice = confident_dice(scan.probability[open_slices], mask, threshold=self.description.threshold)
        if dice is None:
            return None
        return CaseReport(case=scan.case_id, role=CONFIDENT, slices=int(open_slices.sum()), before=1.0, after=dice)

    def _refuse(self, reason: str) -> None:
        self.verdict = Verdict(promoted=False, reason=reason, before=0.0, after=0.0)

    def _elapsed(self) -> float:
        return time.perf_counter() - self.started
