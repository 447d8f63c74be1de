"""Retraining from corrections: one round, from a dataset to a version of a model."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.file_state import read_bytes
from napari_unet_seg.engine.checkpoint import file_hash, load_checkpoint
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.events import RoundEvent, RoundFinished
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.policy import POLICIES, TunePolicy
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_data import read_round
from napari_unet_seg.engine.round_report import RoundReport, Scope
from napari_unet_seg.engine.tuning import Round
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError


def finetune_events(
    dataset: Dataset,
    *,
    model: str | Path = "default",
    name: str,
    scope: Scope = "model",
    case: str | None = None,
    seconds: float = 60.0,
    device: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    registry: Registry | None = None,
    policy: TunePolicy | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[RoundEvent]:
    """Retrain a model from a dataset's corrections, and tell how it goes.

    The parent is never changed. Whatever comes of the round is kept as a version of the model `name`; it takes the
    place of the version before only if it gained on corrected slices that it did not learn from and lost nothing
    elsewhere.

    Parameters
    ----------
    dataset : Dataset
        With corrections.
    model : str or Path
        The parent: a name in the registry, or a checkpoint.
    name : str
        The model that the result is a version of; made if it is not there.
    scope : {"scan", "model"}
        Adapt to one scan, from its corrected slices, for that scan alone; or improve the model for every scan, from
        all corrections.
    case : str, optional
        The case, for one scan.
    seconds : float
        Time for everything.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    seed : int
        Of sampling and augmentation.
    threads : int, optional
        CPU threads; by default one for each core.
    registry : Registry, optional
        Where models lie; by default the user's.
    policy : TunePolicy, optional
        How, for experiments; by default the scope's own.
    should_stop : callable
        Asked before each batch; what has been learned by then is kept.

    Yields
    ------
    RoundEvent
        `RoundStarted`, then `StepDone` and `ValidationDone`, at the end `RoundFinished` with the report.

    Raises
    ------
    InputError
        If there is nothing to learn from, or model, name, case or device cannot be used.
    LossNotFinite
        If the training fails; nothing was written then.
    """
    started = time.perf_counter()
    if scope not in POLICIES:
        raise InputError(f"scope must be scan or model, got {scope!r}")
    if scope == "scan" and case is None:
        raise InputError("scope scan needs a case: the scan to adapt to")
    if scope == "model" and case is not None:
        raise InputError("scope model takes all corrected cases; leave the case out, or choose scope scan")
    if not seconds > 0:
        raise InputError(f"seconds must be positive, got {seconds:g}")
    registry = registry or Registry()
    line = VersionLine(name, registry=registry)
    parent = registry.path(str(model))
    network, description = load_checkpoint(parent)
    parent_bytes = read_bytes(parent)
    parent_hash = hashlib.sha256(parent_bytes).hexdigest()
    if description.network.classes != 1:
        raise InputError("models of several classes cannot be retrained yet", path=parent)
    if description.resize is not None or description.normalisation != "head-zscore":
        raise InputError("models of whole, resized slices cannot be retrained from corrections", path=parent)
    with _threads(threads):
        data = read_round(
            dataset,
            scope=scope,
            case=case,
            channel_names=description.channel_names,
            seed=seed,
            should_stop=should_stop,
        )
        hash_of_scan = data.corrected[0].image_hash if scope == "scan" else ""
        _check_line(line, scope=scope, scan=hash_of_scan)
        one_round = Round(
            data=data,
            network=network,
            description=description,
            scope=scope,
            policy=policy or POLICIES[scope],
            device=device,
            seed=seed,
            started=started,
            seconds=seconds,
            should_stop=should_stop,
            incumbent=_incumbent(line, parent_hash),
        )
        yield from one_round.run()
        line.begin(parent, content=parent_bytes)
        report = RoundReport(
            name=name,
            parent=str(model),
            scope=scope,
            promoted=one_round.verdict.promoted,
            seconds=round(time.perf_counter() - started, 1),
            steps=one_round.steps,
            slices_corrected=data.count(),
            before=one_round.verdict.before,
            after=one_round.verdict.after,
            reason=one_round.verdict.reason,
            stopped=one_round.stopped,
            cases=tuple(one_round.cases),
        )
        record = report.to_json() | {"case": case, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        # The header has the name itself, the file the version.
        del record["name"], record["version"]
        learned = [text for scan in data.corrected for text in scan.fingerprints()]
        seen = [*(scan.case_id for scan in data.corrected if scan.corrected), *one_round.learned_from]
        cases = list(description.training.get("cases", []))
        tuned = replace(
            description,
            name=name,
            parent=parent_hash,
            # Scores of the parent say nothing of its child.
            metrics={},
            training={
                "scope": scope,
                "case": case,
                "image_hash": hash_of_scan,
                "cases": [*cases, *(each for each in seen if each not in cases)],
                "held_out": [each for each in description.training.get("held_out", []) if each not in seen],
                "learned": sorted({*learned, *(description.training.get("learned", []) if scope == "model" else [])}),
                "data_fingerprint": _fingerprint(learned),
                "round": record,
                "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
                "device": str(choose_device(device).device),
            },
        )
        number = 0
        if report.steps:
            number = line.add(one_round.network, tuned, promoted=report.promoted).number
        seconds_taken = round(time.perf_counter() - started, 1)
        yield RoundFinished(report=replace(report, seconds=seconds_taken, version=number))


def finetune(
    dataset: Dataset,
    *,
    model: str | Path = "default",
    name: str,
    scope: Scope = "model",
    case: str | None = None,
    seconds: float = 60.0,
    device: str = "auto",
    seed: int = 0,
    threads: int | None = None,
    registry: Registry | None = None,
    policy: TunePolicy | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Retrain a model from a dataset's corrections; see `finetune_events` for the parameters.

    Returns
    -------
    dict
        ``name``, ``parent``, ``scope``, ``promoted``, ``seconds``, ``steps``, ``slices_corrected``, ``before`` and
        ``after`` (Dice on what was held back), ``reason``, ``version``, ``stopped``, ``cases``. The model ``name``
        can be loaded in any case: where the round was not promoted, it is what it was before.
    """
    report: RoundReport | None = None
    for event in finetune_events(
        dataset,
        model=model,
        name=name,
        scope=scope,
        case=case,
        seconds=seconds,
        device=device,
        seed=seed,
        threads=threads,
        registry=registry,
        policy=policy,
        should_stop=should_stop,
    ):
        if isinstance(event, RoundFinished):
            report = event.report
    assert report is not None
    return report.to_json()


def _check_line(line: VersionLine, *, scope: Scope, scan: str) -> None:
    """Refuse a name under which something else lies: an adaptation is worth nothing for other scans."""
    versions = line.versions()
    # Version 0 is what the line began with, whatever that was.
    rounds = [version.description.training for version in versions if version.number and version.scope]
    for known in rounds:
        if known.get("scope") == "scan" and (scope == "model" or known.get("image_hash") != scan):
            raise InputError(f"model {line.name!r} is adapted to the scan {known.get('case')}; choose another name")
    if scope == "scan" and line.path.is_file() and (not versions or any(k.get("scope") != "scan" for k in rounds)):
        raise InputError(f"model {line.name!r} is one for all scans; choose another name for a scan's own")


def _incumbent(line: VersionLine, parent_hash: str) -> tuple[Network, list[str]] | None:
    """What a promoted round would replace, if that is not its parent, and what it has learned."""
    if not line.path.is_file() or file_hash(line.path) == parent_hash:
        return None
    network, description = load_checkpoint(line.path)
    return network, list(description.training.get("learned", []))


def _fingerprint(learned: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(learned)).encode()).hexdigest()


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Train on this many threads, and leave the caller's number as it was."""
    before = torch.get_num_threads()
    # Those that this process may use, not those that the machine has.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(wanted or usable or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
