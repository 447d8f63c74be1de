"""One round of tuning: a network that learns from all corrections, checked by others that do not see some of them."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.events import CaseChecked, RoundEvent, RoundStarted
from napari_unet_seg.engine.gate import HELD_BACK, LEARNED, Contest, Verdict, judge
from napari_unet_seg.engine.hold_back import Key, patients, turns
from napari_unet_seg.engine.incumbent import Incumbent
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.parent_word import Asked, ask_parent
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.postprocess import confirmed_pieces, fraction_to_keep
from napari_unet_seg.engine.round_clock import RoundClock, shared_out
from napari_unet_seg.engine.round_data import SAMPLE, RoundData, Scan
from napari_unet_seg.engine.round_report import CaseReport, Scope
from napari_unet_seg.engine.round_scorer import PART, Planes, RoundScorer, mean
from napari_unet_seg.engine.segmenter import Stopped
from napari_unet_seg.engine.slice_pools import SlicePools
from napari_unet_seg.engine.trainings import Look, Trainings, blend
from napari_unet_seg.wording import counted

_READY_UNTIL = 0.5
"""Part of the time from which no more scans are made ready to be learned from."""

_CHECK_SHARE = 0.15
"""Part of the time that is set aside to check the new weights on scans."""

_WRITING_SECONDS = 0.5
_STOP_SECONDS = 20.0
"""How long the checks may take once somebody has asked for the end."""

_FEW_STEPS = 10
"""Steps below which a refusal says that the time was short, and a round for one scan is refused: after six, with three
slices of each of 34 scans put right, it lost more than it gained, whatever the held-back slices said."""

_STARVED = 0.5
"""Seconds of a processor in a second of a round; with fewer, others have had it: alone a round uses all there are."""

_ONE_SLICE = "a single corrected slice cannot be checked in this scan; correct a second one"
_ONE_PICTURE = "a single picture cannot be checked; correct several, and retrain the model for all"


@dataclass(kw_only=True, eq=False)
class Round:
    """A round, from corrections to weights and a verdict on them."""

    data: RoundData
    network: Network
    """The parent; after `run` the weights that the round offers."""

    description: Description
    scope: Scope
    policy: TunePolicy
    device: str
    seed: int
    clock: RoundClock
    should_stop: Callable[[], bool]
    incumbent: Incumbent | None = None
    """What the weights would replace, where that is not the parent."""

    steps: int = 0
    stopped: bool = False
    judged_by: list[str] = field(default_factory=list)
    """`Scan.fingerprints` of the held-back slices that were scored."""

    learned_from: list[str] = field(default_factory=list)
    """Names of other cases whose masks were learned."""
    cases: list[CaseReport] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(promoted=False, reason=""))

    def __post_init__(self) -> None:
        self._parent = copy.deepcopy(self.network)
        self._scorer = RoundScorer(
            self._parent,
            self.description,
            corrected=self.data.corrected,
            device=self.device,
            should_stop=self.should_stop,
        )
        self._corrected = {scan.case_id for scan in self.data.corrected}
        self._contest_seconds = 0.0
        self._began = time.perf_counter(), time.process_time()
        self._seconds_after = _WRITING_SECONDS
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
        self.verdict = replace(self.verdict, reason="; ".join([self.verdict.reason, *self._notes()]))

    def _run(self) -> Iterator[RoundEvent]:
        data = self.data
        if not data.count():
            self._refuse(f"the corrections look like noise, not like masks ({self._speckled()}); nothing was learned")
            return
        # The first optimiser of a process takes seconds to be made: the time left is shared out when they are gone.
        torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
        learned = set(self.description.training.get("learned", []))
        others = (*data.labelled, *data.unlabelled)
        held_back = turns(data.corrected, learned=learned, most=self.policy.folds, seed=self.seed, others=others)
        keys = {key for turn in held_back for key in turn.held_back}
        parent = ask_parent(data, self._scorer, self.clock, held_back=keys)
        checked = parent.checked
        if not held_back and not any(self._scorer.tells(scan) for scan in checked if scan.case_id != SAMPLE):
            single = len(data.corrected) == 1 and len(data.corrected[0].mask) == 1
            self._refuse(_ONE_PICTURE if single else _ONE_SLICE)
            return
        asked = self._asked(key for turn in held_back for key in turn.held_back)
        self._reserve(checked, asked)
        pools = self._pools(parent)
        yield RoundStarted(
            scope=self.scope,
            slices_corrected=data.count(),
            cases=sum(bool(scan.corrected) for scan in data.corrected),
            rehearsal=len({*pools.others, *(scan.case_id for scan in checked)} - self._corrected),
            seconds=self.clock.seconds,
            elapsed=self.clock.elapsed(),
        )
        before = self._scorer.before(asked)
        trainings = Trainings(
            parent=self._parent,
            network=self.network,
            description=self.description,
            policy=self.policy,
            pools=pools,
            held_back=held_back,
            asked=set(asked),
            scorer=self._scorer,
            clock=self.clock,
            end=self.clock.deadline - self._seconds_after,
            seed=self.seed,
            should_stop=self.should_stop,
        )
        look = yield from trainings.run(before)
        self.steps, self.stopped = trainings.steps, trainings.stopped
        if not self.steps:
            raise Stopped
        tuned = self.network if look is None else look.network
        self.network = blend(self._parent, tuned, share=self.policy.blend)
        yield from self._check(checked, before=before, look=look)

    def min_fraction(self) -> float:
        """Pieces of the new mask under this fraction of the largest one are to be left out."""
        usual = self.description.min_fraction
        if self.scope != "scan":
            return usual
        (scan,) = self.data.corrected
        planes = self._scorer.checked.get(scan.case_id, {})
        corrected = list(scan.corrected)
        if len(planes) + len(corrected) < len(scan.mask):
            # What is not known may join pieces, or be larger than them.
            return usual
        # What a corrected slice shows is not to be left out.
        mask, known = np.zeros(scan.mask.shape, np.uint8), np.zeros(scan.mask.shape, bool)
        for z, plane in planes.items():
            mask[z] = plane
        known[corrected] = scan.mask[corrected] > 0
        mask[known] = 1
        # Nor is what the parent found and the round confirms, a second lesion perhaps.
        known |= confirmed_pieces(
            self._scorer.parent_mask(scan), mask, corrected=corrected, share=self.policy.confirmed_share
        )
        return fraction_to_keep(mask, known, usual=max(usual, self.policy.min_fraction))

    def _speckled(self) -> str:
        return ", ".join(f"slice {z} of {case}" for case, z in self.data.speckled[:3])

    def _notes(self) -> list[str]:
        """What else is to be said of the verdict."""
        notes = []
        if self.steps and self._is_short() and not self.verdict.promoted and not self.stopped:
            advice = "other programs kept the processor busy" if self._was_starved() else "give it more"
            notes.append(f"only {counted(self.steps, 'step')} fitted into the time: {advice}")
        if self.data.speckled and self.data.count():
            were = "was" if len(self.data.speckled) == 1 else "were"
            notes.append(f"{self._speckled()} looked like noise and {were} left out")
        return notes + self.data.left_out

    def _asked(self, keys: Iterable[Key]) -> list[Key]:
        """The corrected slices among some that are scored: those that the parent has had the time to predict."""
        predicted = {scan.case_id: scan.predicted for scan in self.data.corrected}
        return [(case, z) for case, z in keys if (told := predicted[case]) is not None and told[z]]

    def _reserve(self, checked: Sequence[Scan], asked: Sequence[Key]) -> None:
        """Set time aside for what comes after the training."""
        pace = self._scorer.pace
        slices = sum(len(self._scorer.to_check(scan)) for scan in checked)
        self._seconds_after += min(_CHECK_SHARE * self.clock.seconds, pace * slices)
        if self.incumbent is not None:
            # Both may have to be asked.
            self._contest_seconds = 2 * pace * max(1, len(asked))
            self._seconds_after += self._contest_seconds

    def _pools(self, parent: Asked) -> SlicePools:
        """The store to learn from; what was read for it alone is let go of."""
        pools = SlicePools(
            self.data.corrected,
            parent.others,
            device=choose_device(self.device).device,
            rehearsal_weight=self.policy.rehearsal_weight,
            threshold=self.description.threshold,
            until=self.clock.moment(_READY_UNTIL),
        )
        self.learned_from = [
            scan.case_id for scan in parent.others if scan.labelled.any() and scan.case_id in pools.others
        ]
        for scans in (parent.others, self.data.labelled, self.data.unlabelled):
            scans.clear()
        return pools

    def _check(self, checked: Sequence[Scan], *, before: dict[str, float], look: Look | None) -> Iterator[RoundEvent]:
        """Score the weights offered on everything they are to be checked by, and judge."""
        if look is not None:
            self._score(HELD_BACK, look.planes, before=before)
            self.judged_by = [text for key, text in self._texts().items() if key in look.planes]
        else:
            # There is no more than what they have learned from.
            keys = self._asked(self._texts())
            self._score(LEARNED, self._scorer.say(self.network, keys), before=self._scorer.before(keys))
        yield from self._check_scans(checked)
        self.verdict = judge(
            self.cases,
            policy=self.policy,
            corrected=self._corrected,
            only_empty=not any((scan.mask[z] > 0).any() for scan in self.data.corrected for z in scan.corrected),
            one_patient=self.scope == "model" and len(self._patients()) < 2,
            contest=None if self.incumbent is None else self._contest(self.incumbent, look),
            few_steps=self.steps if self.scope == "scan" and self._is_short() else None,
        )

    def _patients(self) -> set[str]:
        """Those of whom there are corrected slices to learn from."""
        return set(patients(scan for scan in self.data.corrected if scan.corrected).values())

    def _is_short(self) -> bool:
        """Whether the time was too short, or the end asked for too soon."""
        return self.steps < min(_FEW_STEPS, self.policy.fit.steps)

    def _was_starved(self) -> bool:
        """Whether the round has waited for a processor most of its time: it gives way to other programs."""
        began, used = self._began
        return time.process_time() - used < _STARVED * (time.perf_counter() - began)

    def _score(self, role: str, planes: Planes, *, before: Mapping[str, float]) -> None:
        """Note how some corrected slices are told now."""
        after, slices = self._scorer.score(planes), Counter(case for case, _ in planes)
        self.cases += [
            CaseReport(case=case, role=role, slices=slices[case], before=before[case], after=after[case])
            for case in before
        ]

    def _check_scans(self, checked: Sequence[Scan]) -> Iterator[RoundEvent]:
        """Score the weights offered on scans, as far as the time goes, but on one of each kind at least."""
        end = self.clock.deadline - _WRITING_SECONDS - self._contest_seconds
        if self.stopped:
            end = min(end, time.perf_counter() + _STOP_SECONDS)
        done = set()
        for scan, turn in shared_out(checked, until=end):
            kind = scan.case_id in self._corrected, bool(scan.labelled.any())
            report = self._scorer.check(scan, self.network, until=turn, least=0 if kind in done else PART)
            if report is not None:
                self.cases.append(report)
                done.add(kind)
            # A sign of life: whoever has asked for the end does not wait in vain.
            yield CaseChecked(case=scan.case_id, elapsed=self.clock.elapsed())

    def _contest(self, incumbent: Incumbent, look: Look | None) -> Contest:
        """The round against the version in use, on slices that are new to both, or else known to both."""
        texts = self._texts()
        if look is not None:
            fresh = [key for key in look.planes if texts[key] not in incumbent.learned]
            if fresh:
                offered = mean(self._scorer.score({key: look.planes[key] for key in fresh}))
                return Contest(in_use=self._scorer.dice_of(incumbent, fresh), offered=offered, where="on what is new")
            known = incumbent.held_back_dice([texts[key] for key in look.planes])
            if known is not None:
                return Contest(in_use=known, offered=look.dice, where="on the same slices, held back from it as well")
        # Both have learned them; a single one perhaps this round alone, and to lose then says all the more.
        keys = list(texts if look is None else look.planes)
        offered = mean(self._scorer.score(self._scorer.say(self.network, keys)))
        return Contest(
            in_use=self._scorer.dice_of(incumbent, keys), offered=offered, where="on the corrections themselves"
        )

    def _texts(self) -> dict[Key, str]:
        """`Scan.fingerprints` by slice."""
        return {
            (scan.case_id, z): text
            for scan in self.data.corrected
            for z, text in zip(scan.corrected, scan.fingerprints(), strict=True)
        }

    def _refuse(self, reason: str) -> None:
        self.verdict = Verdict(promoted=False, reason=reason)
