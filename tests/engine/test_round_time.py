"""Rounds on a made-up clock, on which reading, predicting and training take what they take on large scans."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine import hold_back, round_data, slice_pools, trainings, tuning
from napari_unet_seg.engine.events import (
    CaseChecked,
    FitEvent,
    RoundEvent,
    RoundFinished,
    RoundStarted,
    StepDone,
    ValidationDone,
)
from napari_unet_seg.engine.finetune import finetune_events
from napari_unet_seg.engine.gate import Verdict
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.engine.round_data import Scan
from napari_unet_seg.engine.round_report import RoundReport
from napari_unet_seg.engine.samples import LabelledVolume
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.slice_order import spread
from napari_unet_seg.wording import counted
from tests.engine.datasets import SLICES, truth_of, write_phantoms

pytestmark = pytest.mark.usefixtures("one_thread")

READ, SLICE, PREPARED, STEP = 3.0, 0.4, 1.0, 2.0
"""Seconds for a scan, a slice, a scan in the store, and a step of one training."""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time: it stands still but for what is counted here."""
    moment = [0.0]
    read, predict, sample, fit = round_data._read, Segmenter.predict, slice_pools._samples, trainings.fit

    def slow_read(case: Case, channel_names: Sequence[str], *, scan_alone: bool) -> Scan:
        moment[0] += READ
        return read(case, channel_names, scan_alone=scan_alone)

    def slow_predict(self: Segmenter, volume: Volume, **options: Any) -> NDArray[np.float32]:
        slices = options.get("slices")
        moment[0] += SLICE * (volume.shape[0] if slices is None else len(slices))
        return predict(self, volume, **options)

    def slow_sample(scan: Scan, **options: Any) -> LabelledVolume:
        moment[0] += PREPARED
        return sample(scan, **options)

    def slow_fit(*arguments: Any, **options: Any) -> Iterator[FitEvent]:
        for event in fit(*arguments, **options):
            moment[0] += STEP * isinstance(event, StepDone)
            yield event

    monkeypatch.setattr(time, "perf_counter", lambda: moment[0])
    monkeypatch.setattr(round_data, "_read", slow_read)
    monkeypatch.setattr(Segmenter, "predict", slow_predict)
    monkeypatch.setattr(slice_pools, "_samples", slow_sample)
    monkeypatch.setattr(trainings, "fit", slow_fit)
    return moment


@pytest.fixture
def many(tmp_path: Path) -> Callable[[int], Dataset]:
    """Two corrected cases, six others with masks and four without."""

    def build(corrected: int) -> Dataset:
        dataset = open_dataset(write_phantoms(tmp_path / "data", "abcdefghijkl", masks="cdefgh"))
        for name in "ab":
            dataset.save_correction(name, truth_of(name), slices=range(2, 2 + corrected))
        return dataset

    return build


def round_of(dataset: Dataset, *, seconds: float, **options: Any) -> tuple[RoundReport, list[RoundEvent]]:
    """The outcome of a round, and what it told before."""
    policy = replace(POLICIES["model"], fit=replace(POLICIES["model"].fit, steps=12))
    *events, last = finetune_events(dataset, name="mine", seconds=seconds, threads=1, policy=policy, **options)
    assert isinstance(last, RoundFinished)
    return last.report, events


@pytest.mark.parametrize("seconds", [60.0, 120.0])
def test_many_large_scans_do_not_cost_more_time_than_there_is(
    many: Callable[[int], Dataset], now: list[float], seconds: float
) -> None:
    report, events = round_of(many(3), seconds=seconds)
    assert report.seconds == pytest.approx(now[0], abs=0.1)
    assert now[0] <= 1.1 * seconds
    assert isinstance(events[0], RoundStarted)
    assert events[0].elapsed <= 0.55 * seconds
    assert report.steps > 0
    # However few slices, something of everything that is checked.
    assert {(case.role, case.case in "ab") for case in report.cases} == {
        ("held back", True),
        ("rehearsal", False),
        ("confident", False),
        ("confident", True),
    }


def test_in_time_enough_everything_is_predicted(many: Callable[[int], Dataset], now: list[float]) -> None:
    report, _ = round_of(many(3), seconds=3600.0)
    assert report.steps == 12
    assert {(case.role, case.slices) for case in report.cases} == {
        ("held back", 3),
        ("rehearsal", SLICES),
        ("confident", SLICES),
        ("confident", SLICES - 3),
    }
    assert sorted(case.role for case in report.cases) == ["confident"] * 4 + ["held back"] * 2 + ["rehearsal"] * 3


def test_in_short_time_not_every_corrected_slice_is_asked_about(
    many: Callable[[int], Dataset], now: list[float]
) -> None:
    """Each look asks about them again."""
    report, _ = round_of(many(6), seconds=25.0)
    assert [case.slices for case in report.cases if case.role == "held back"] == [6, 3]
    assert report.slices_corrected == 12


def test_who_has_stopped_does_not_wait_for_all_checks(
    many: Callable[[int], Dataset], now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_STOP_SECONDS", 4.0)
    report, events = round_of(many(3), seconds=2000.0, should_stop=lambda: now[0] > 130)
    assert (report.stopped, 0 < report.steps < 12) == (True, True)
    assert {case.role for case in report.cases} == {"held back", "rehearsal", "confident"}
    (first, *_) = (event for event in events if isinstance(event, CaseChecked))
    # A step of four trainings and a look come before; there is something of every kind among what is checked.
    assert first.elapsed <= 130 + 4 * STEP + 6 * SLICE + 4
    assert now[0] - first.elapsed <= 4 + 3 * 8 * SLICE


def test_what_is_held_back_is_asked_about_before_what_is_known(
    many: Callable[[int], Dataset], now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a round in short time would be promoted on the word of nobody."""
    last = spread(range(6))[-1]
    monkeypatch.setattr(hold_back, "_fresh", lambda scan, learned: [scan.corrected[last]])
    report, _ = round_of(many(6), seconds=25.0)
    assert [(case.case, case.slices) for case in report.cases if case.role == "held back"] == [("a", 1), ("b", 1)]


def test_weights_are_made_ready_once_for_all_scans(
    many: Callable[[int], Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    placed, place = list[Network](), Segmenter._place

    def count(self: Segmenter) -> None:
        placed.append(self._plain)
        place(self)

    monkeypatch.setattr(Segmenter, "_place", count)
    report, events = round_of(many(2), seconds=60.0)
    looks = sum(isinstance(event, ValidationDone) for event in events)
    # The parent, the blind trainings in each look, and the network of the round: twelve scans each.
    assert len(placed) <= 1 + 2 * looks + 1
    assert len(report.cases) > 6


@pytest.mark.parametrize(("share", "told"), [(0.1, "other programs kept the processor busy"), (1.7, "give it more")])
def test_a_round_that_made_few_steps_says_whose_fault_that_is(
    many: Callable[[int], Dataset], now: list[float], monkeypatch: pytest.MonkeyPatch, share: float, told: str
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: share * now[0])
    # Nothing is a gain: a round that is promoted gives no advice.
    monkeypatch.setattr(tuning, "judge", lambda *given, **options: Verdict(promoted=False, reason="refused"))
    report, _ = round_of(many(3), seconds=60.0)
    assert 0 < report.steps < 10
    assert report.reason == f"refused; only {counted(report.steps, 'step')} fitted into the time: {told}"
