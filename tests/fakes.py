"""A model, a dataset and a round that cost nothing, for tests of what surrounds them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.events import RoundEvent, RoundFinished, RoundStarted
from napari_unet_seg.engine.round_process import RoundRequest
from napari_unet_seg.engine.round_report import CaseReport, RoundReport
from napari_unet_seg.errors import InputError


@dataclass
class FakeSegmenter:
    """Says that the brighter a voxel is on FLAIR, the likelier it is tumour."""

    description: Description = field(
        default_factory=lambda: Description(name="fake", network=UNetConfig(features=(2, 4), convolutions=(1, 1)))
    )
    device_note: str = "pretended device"
    delay: float = 0.0
    """Seconds a slice takes."""
    error: Exception | None = None
    calls: list[list[int] | None] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def predict(
        self,
        volume: Volume,
        *,
        slices: list[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        self.calls.append(slices)
        self.threads.add(threading.current_thread().name)
        check_usable(volume)
        if self.error is not None:
            raise self.error
        flair = (volume.data[volume.channel_names.index("flair")].astype(np.float32) / 128).clip(0, 1)
        result = np.zeros(volume.shape, np.float32)
        wanted = range(volume.shape[0]) if slices is None else slices
        for done, z in enumerate(wanted, 1):
            if should_stop is not None and should_stop():
                raise RuntimeError("stopped")
            time.sleep(self.delay)
            result[z] = flair[z]
            if progress is not None:
                progress(done, len(wanted))
        return result


@dataclass
class FakeCase:
    case_id: str
    volume: Volume
    mask: Mask | None

    @property
    def has_mask(self) -> bool:
        return self.mask is not None

    @property
    def has_original_mask(self) -> bool:
        return self.mask is not None

    def read_image(self) -> Volume:
        return self.volume

    def read_mask(self) -> Mask | None:
        if not self.corrected:
            return self.mask
        mask = np.zeros(self.volume.shape, np.uint8) if self.mask is None else self.mask.copy()
        for z, plane in self.corrected.items():
            mask[z] = plane
        return mask

    def originally_labelled(self) -> NDArray[np.bool_]:
        return np.full(self.volume.shape[0], self.mask is not None)

    def read_original_mask(self) -> Mask | None:
        return self.mask

    def read_truth(self) -> tuple[Mask | None, NDArray[np.bool_]]:
        return self.mask, self.originally_labelled()

    def check_mask(self) -> None:
        pass

    def labelled_slices(self) -> NDArray[np.bool_]:
        labelled = np.full(self.volume.shape[0], self.has_mask)
        labelled[list(self.corrected)] = True
        return labelled

    corrected: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def mask_notes(self) -> tuple[str, ...]:
        return self.notes

    def corrected_slices(self) -> list[int]:
        return sorted(self.corrected)


@dataclass
class FakeAutosave:
    kept: dict[int, NDArray[np.uint8]]
    shape: tuple[int, int, int] = (6, 32, 32)
    time: str = "2026-05-04T12:03:00+00:00"
    changed: tuple[int, ...] = ()

    @property
    def slices(self) -> tuple[int, ...]:
        return tuple(sorted(self.kept))

    def planes(self) -> dict[int, NDArray[np.uint8]]:
        return self.kept


@dataclass
class FakeDataset:
    root: Path
    cases: tuple[FakeCase, ...]
    layout: str = "fake"
    writable: bool = True
    overlay: Path | None = None
    repair_notes: tuple[str, ...] = ()
    unread: tuple[InputError, ...] = ()
    other: str | None = None
    """Who else has it open."""
    error: Exception | None = None
    """What the next save fails with, unless it overwrites."""
    log_error: Exception | None = None
    """What looking at the log of corrections fails with."""
    counted: list[str] = field(default_factory=list)
    """Threads on which the corrections of all cases were asked for."""
    saves: list[dict[str, object]] = field(default_factory=list)
    autosaves: dict[str, FakeAutosave] = field(default_factory=dict)

    def save_correction(self, case_id: str, mask: Mask, slices: list[int], **told: object) -> None:
        if self.error is not None and not told["overwrite"]:
            raise self.error
        self[case_id].corrected.update({z: mask[z].copy() for z in slices})
        self.saves.append({"case": case_id, "slices": slices, **told})
        self.autosaves.pop(case_id, None)

    def corrected_slices(self) -> dict[str, list[int]]:
        self.counted.append(threading.current_thread().name)
        if self.log_error is not None:
            raise self.log_error
        return {case.case_id: case.corrected_slices() for case in self.cases if case.corrected}

    def kept_edits(self) -> frozenset[str]:
        return frozenset(self.autosaves)

    def read_autosave(self, case_id: str) -> FakeAutosave | None:
        return self.autosaves.get(case_id)

    def autosave(self, case_id: str, mask: Mask, slices: list[int], **told: str) -> None:
        planes = {z: mask[z].copy() for z in slices}
        self.autosaves[case_id] = FakeAutosave(planes)

    def put_back_autosave(self, case_id: str, autosave: FakeAutosave) -> None:
        self.autosaves[case_id] = autosave

    def drop_autosave(self, case_id: str) -> None:
        self.autosaves.pop(case_id, None)

    def claim(self) -> str | None:
        return self.other

    def release(self) -> None:
        """There is no claim."""

    def __getitem__(self, case_id: str) -> FakeCase:
        for case in self.cases:
            if case.case_id == case_id:
                return case
        raise InputError(f"there is no case {case_id!r}")


def fake_dataset(*, slices: int = 6, size: int = 32) -> FakeDataset:
    """Three cases; the last one has no mask."""
    cases = []
    for seed, name in enumerate(("one", "two", "three")):
        volume, mask = make_phantom(slices=slices, size=size, seed=seed)
        cases.append(FakeCase(case_id=name, volume=volume, mask=None if name == "three" else mask))
    return FakeDataset(root=Path("scans"), cases=tuple(cases))


def round_report(**changes: object) -> RoundReport:
    """A promoted round of one case."""
    values: dict[str, object] = {
        "name": "mine",
        "parent": "default",
        "scope": "scan",
        "promoted": True,
        "seconds": 60.0,
        "steps": 200,
        "slices_corrected": 3,
        "before": 0.7,
        "after": 0.8,
        "reason": "held-back slices rose",
        "version": 1,
        "cases": (CaseReport(case="one", role="held back", slices=3, before=0.7, after=0.8),),
    }
    return RoundReport(**{**values, **changes})  # type: ignore[arg-type]


def round_started(**changes: object) -> RoundStarted:
    """Of a round of three slices."""
    values = {"scope": "scan", "slices_corrected": 3, "cases": 1, "rehearsal": 0, "seconds": 60.0}
    return RoundStarted(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class FakeRound:
    """Stands in for `round_process.run_round`: tells what a test puts in, until it is told of the end."""

    requests: list[RoundRequest] = field(default_factory=list)
    said: queue.Queue[RoundEvent | Exception] = field(default_factory=queue.Queue)
    on_stop: RoundReport | None = None
    """What it ends with when it is asked to."""
    nothing_on_stop: bool = False
    """It ends without a result when it is asked to."""
    running: int = 0

    def tell(self, *events: RoundEvent | Exception) -> None:
        for event in events:
            self.said.put(event)

    def finish(self, **changes: object) -> None:
        self.tell(RoundFinished(report=round_report(**changes)))

    def __call__(self, request: RoundRequest, *, should_stop: Callable[[], bool]) -> Iterator[RoundEvent]:
        self.requests.append(request)
        self.running += 1
        try:
            while True:
                stopping = should_stop()
                if stopping and self.nothing_on_stop:
                    return
                if stopping and self.on_stop is not None:
                    yield RoundFinished(report=self.on_stop)
                    return
                try:
                    event = self.said.get(timeout=0.01)
                except queue.Empty:
                    continue
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, RoundFinished):
                    return
        finally:
            self.running -= 1


@dataclass
class FakeSuggestion:
    slice: int
    reason: str = "the model is unsure"
    case: str = "one"
    score: float = 1.0


@dataclass
class FakeVersion:
    number: int
    current: bool = False
    promoted: bool = True
    scope: str = "scan"
    before: float | None = 0.7
    after: float | None = 0.8
    reason: str = "held-back slices rose"
    time: str = "2026-05-04T12:03:00+00:00"


@dataclass
class FakeVersions:
    """The versions of one model, or of whichever is asked for."""

    found: list[FakeVersion] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> FakeVersions:
        self.names.append(name)
        return self

    def versions(self) -> tuple[FakeVersion, ...]:
        return tuple(replace(version) for version in self.found)

    def restore(self, number: int) -> FakeVersion:
        for version in self.found:
            version.current = version.number == number
        return next(version for version in self.found if version.current)
