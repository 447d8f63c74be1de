"""Retraining from corrections: one round, from a dataset to a version of a model."""

from __future__ import annotations

import hashlib
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
from napari_unet_seg.data.given_mask import as_seconds
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, read_description
from napari_unet_seg.engine.device import choose_device, usable_cores
from napari_unet_seg.engine.events import RoundEvent, RoundFinished
from napari_unet_seg.engine.incumbent import check_comparable, find_incumbent, in_use
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.policy import POLICIES, TunePolicy
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_clock import RoundClock
from napari_unet_seg.engine.round_data import read_round
from napari_unet_seg.engine.round_report import RoundReport, Scope
from napari_unet_seg.engine.tuning import Round
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError

_OVERTAKEN = (
    "another version was put in use while this round ran, which it was not compared with; it is kept, and can be "
    "brought back"
)
_UNSEEN = "the window was closed before the round came to its end; it is kept, and can be brought back"


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
    is_watched: Callable[[], bool] = lambda: True,
) -> Iterator[RoundEvent]:
    """Retrain a model from a dataset's corrections, and tell how it goes.

    The parent is never changed. Whatever is learned is kept as a version of the model `name`; it takes the place of the
    version in use only if it gained on corrected slices that it did not learn from, lost next to nothing elsewhere
    (`TunePolicy.most_loss`), and does no worse than that version, where it is not the parent.

    Parameters
    ----------
    dataset : Dataset
        With corrections.
    model : str or Path
        The parent: a name in the registry, or a checkpoint. The command line takes `name` itself by default where it
        is there and the round is for every scan; here that has to be said.
    name : str
        The model that the result is a version of; made if it is not there.
    scope : {"scan", "model"}
        Adapt to one scan, from its corrected slices, for that scan alone; or improve the model for every scan, from
        all corrections.
    case : str, optional
        The case, for one scan.
    seconds : float
        Time for everything. Where it is short, less is read, and new weights are checked on fewer slices.
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
    is_watched : callable
        Asked at the end: whether anybody sees what comes of it. Where nobody does, nothing new is put in use.

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
    if not isinstance(scope, str) or scope not in POLICIES:
        raise InputError(f"scope must be scan or model, got {scope!r}")
    if scope == "scan" and case is None:
        raise InputError("scope scan needs a case: the scan to adapt to")
    if scope == "model" and case is not None:
        raise InputError("scope model takes all corrected cases; leave the case out, or choose scope scan")
    seconds = as_seconds(seconds)
    if not seconds > 0:
        raise InputError(f"seconds must be positive, got {seconds:g}")
    clock = RoundClock(started=started, seconds=seconds)
    registry = registry or Registry()
    line = VersionLine(name, registry=registry)
    parent = registry.path(str(model))
    network, description, parent_bytes = _load_with_content(parent)
    parent_hash = hashlib.sha256(parent_bytes).hexdigest()
    if description.network.classes != 1:
        raise InputError("models of several classes cannot be retrained yet", path=parent)
    if description.resize is not None or description.normalisation != "head-zscore":
        raise InputError("models of whole, resized slices cannot be retrained from corrections", path=parent)
    adapted_to = description.adapted_to
    if scope == "model" and adapted_to is not None:
        raise InputError(f"this model was adapted to the scan {adapted_to}; begin with one for all scans", path=parent)
    with _threads(threads), _random_numbers(device):
        data = read_round(
            dataset,
            scope=scope,
            case=case,
            channel_names=description.channel_names,
            seed=seed,
            clock=clock,
            should_stop=should_stop,
        )
        hash_of_scan = data.corrected[0].image_hash if scope == "scan" else ""
        if adapted_to is not None and description.training.get("image_hash") != hash_of_scan:
            raise InputError(f"this model was adapted to the scan {adapted_to}; begin with another one", path=parent)
        _check_line(line, scope=scope, scan=hash_of_scan)
        line.check_writable(size=len(parent_bytes))
        replaced, incumbent = in_use(line, parent_hash), find_incumbent(line, parent_hash)
        if incumbent is not None:
            check_comparable(incumbent, data.corrected[0].volume, name=name)
        one_round = Round(
            data=data,
            network=network,
            description=description,
            scope=scope,
            policy=policy or POLICIES[scope],
            device=device,
            seed=seed,
            clock=clock,
            should_stop=should_stop,
            incumbent=incumbent,
        )
        yield from one_round.run()
        with registry.alone():
            # Another process may have begun something else under this name meanwhile.
            _check_line(line, scope=scope, scan=hash_of_scan)
            line.begin(parent, content=parent_bytes)
            # Another round may have come to its end meanwhile.
            verdict = one_round.verdict
            if verdict.promoted and in_use(line, parent_hash) != replaced:
                verdict = replace(verdict, promoted=False, reason=f"{_OVERTAKEN}; {verdict.reason}")
            if verdict.promoted and not is_watched():
                verdict = replace(verdict, promoted=False, reason=f"{_UNSEEN}; {verdict.reason}")
            report = RoundReport(
                name=name,
                parent=str(model),
                scope=scope,
                promoted=verdict.promoted,
                seconds=round(clock.elapsed(), 1),
                steps=one_round.steps,
                slices_corrected=data.count() + len(data.speckled),
                before=verdict.before,
                after=verdict.after,
                reason=verdict.reason,
                stopped=one_round.stopped,
                cases=tuple(one_round.cases),
            )
            number = 0
            if report.steps:
                tuned = replace(
                    description,
                    name=name,
                    parent=parent_hash,
                    min_fraction=one_round.min_fraction(),
                    # Scores of the parent say nothing of its child.
                    metrics={},
                    training=_training(description, one_round, report, case=case, image_hash=hash_of_scan),
                )
                number = line.add(one_round.network, tuned, promoted=report.promoted).number
        yield RoundFinished(report=replace(report, seconds=round(clock.elapsed(), 1), version=number))


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
        can be loaded in any case: where the round was not promoted, it is what it was before, or the parent where there
        was none.
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


def _load_with_content(path: Path) -> tuple[Network, Description, bytes]:
    """A model and the bytes of its file, the one of the other: another process may promote a version meanwhile."""
    content = read_bytes(path)
    while True:
        network, description = load_checkpoint(path)
        before, content = content, read_bytes(path)
        if content == before:
            return network, description, content


def _check_line(line: VersionLine, *, scope: Scope, scan: str) -> None:
    """Refuse a name under which something else lies: an adaptation is worth nothing for other scans."""
    versions = line.versions()
    held = [each.description for each in versions if each.number]
    if line.path.is_file() and not any(each.current for each in versions):
        # No version yet: imported, from another machine perhaps, or the process that made it was killed.
        held.append(read_description(line.path))
    # What the line began with, whatever that was, has the name of where it comes from.
    rounds = [each.training for each in held if each.name == line.name or not versions]
    for known in rounds:
        if known.get("scope") == "scan" and (scope == "model" or known.get("image_hash") != scan):
            raise InputError(f"model {line.name!r} holds rounds for the scan {known.get('case')}; choose another name")
    if scope == "scan" and line.path.is_file() and any(known.get("scope") != "scan" for known in rounds):
        raise InputError(f"model {line.name!r} is one for all scans; choose another name for a scan's own")


def _training(
    description: Description, one_round: Round, report: RoundReport, *, case: str | None, image_hash: str
) -> dict[str, Any]:
    """What a checkpoint's description says of the round that made it; `description` is the parent's."""
    before, corrected = description.training, one_round.data.corrected
    record = report.to_json() | {"case": case, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    # The header has the name itself, the file the version.
    del record["name"], record["version"]
    learned = [text for scan in corrected for text in scan.fingerprints()]
    seen = [*(scan.case_id for scan in corrected if scan.corrected), *one_round.learned_from]
    cases = list(before.get("cases", []))
    return {
        "scope": report.scope,
        "case": case,
        "image_hash": image_hash,
        "cases": [*cases, *(each for each in seen if each not in cases)],
        "cases_before": list(before.get("cases_before", [])),
        "held_out": [each for each in before.get("held_out", []) if each not in seen],
        "learned": sorted({*learned, *(before.get("learned", []) if report.scope == "model" else [])}),
        "held_back": one_round.judged_by,
        "data_fingerprint": _fingerprint(learned),
        "round": record,
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "device": str(choose_device(one_round.device).device),
    }


def _fingerprint(learned: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(learned)).encode(errors="surrogatepass")).hexdigest()


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Train on this many threads, and leave the caller's number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _random_numbers(device: str) -> Iterator[None]:
    """Seed as a training does, and leave the caller's random numbers as they were."""
    chosen = choose_device(device).device
    with torch.random.fork_rng(devices=[chosen] if chosen.type == "cuda" else []):
        yield
