"""What a round of retraining learns from: corrected slices, and what the model should keep in mind beside them."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.sample import sample_case_path
from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.engine.round_clock import RoundClock, late
from napari_unet_seg.engine.round_report import Scope
from napari_unet_seg.engine.speckle import is_speckled
from napari_unet_seg.engine.working_grid import working_factor
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted

SAMPLE = "sample of the package"
"""Stands for its case among the scans of a round."""

_LABELLED_CASES = 12
_UNLABELLED_CASES = 8

_CORRECTED_UNTIL, _OTHERS_UNTIL = 0.25, 0.2
"""Parts of the time after which no more corrected scans, and no more others, are read."""

_MOST_BYTES = 2 * 2**30
"""Scans are held up to here, the corrected ones first."""


@dataclass(kw_only=True, eq=False)
class Scan:
    """One scan in a round."""

    case_id: str
    volume: Volume
    """Its channels in the model's order."""

    image_hash: str = ""
    """`image_hash.image_hash` of the case as it was read."""

    mask: Mask
    """``(Z, Y, X)`` as the dataset has it; 0 where nothing is labelled."""

    corrected: tuple[int, ...] = ()
    """Corrected slices to learn from, ascending."""

    gone: tuple[int, ...] = ()
    """Corrected slices that the scan, or their mask, no longer has."""

    damage: str = ""
    """What is wrong with a mask file of it, in words; empty if all can be used."""

    labelled: NDArray[np.bool_]
    """``(Z,)``: slices whose mask counts as true, the corrected ones among them."""

    probability: NDArray[np.float32] | None = None
    """``(Z, Y, X)``: what the parent says of it."""

    predicted: NDArray[np.bool_] | None = None
    """``(Z,)``: slices of which it has said that; None like `probability`."""

    @property
    def nbytes(self) -> int:
        """Bytes that a round holds of it: pixels, mask and probabilities, here and in the store learned from."""
        return 2 * self.volume.data.nbytes + 6 * self.mask.size

    def fingerprints(self) -> list[str]:
        """What is learned of it: a text for each corrected slice, that changes with its pixels."""
        return [
            f"{self.image_hash[:16]}:{z}:{hashlib.sha256(np.packbits(self.mask[z] > 0).tobytes()).hexdigest()[:16]}"
            for z in self.corrected
        ]


@dataclass(kw_only=True)
class RoundData:
    """The scans of a round."""

    corrected: list[Scan]
    labelled: list[Scan] = field(default_factory=list)
    """Other scans with a mask."""

    unlabelled: list[Scan] = field(default_factory=list)
    """Other scans without one."""

    speckled: list[tuple[str, int]] = field(default_factory=list)
    """Corrected slices that are noise and are not learned from."""

    left_out: list[str] = field(default_factory=list)
    """What else was corrected and is not learned from, and why, in words."""

    def count(self) -> int:
        """Number of corrected slices to learn from."""
        return sum(len(scan.corrected) for scan in self.corrected)

    def nbytes(self) -> int:
        """Bytes that a round holds of them, see `Scan.nbytes`."""
        return sum(scan.nbytes for scan in (*self.corrected, *self.labelled, *self.unlabelled))


def read_round(
    dataset: Dataset,
    *,
    scope: Scope,
    case: str | None,
    channel_names: Sequence[str],
    seed: int = 0,
    clock: RoundClock | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RoundData:
    """Read what a round learns from.

    For one scan these are its corrected slices alone: a mask that the dataset has of its other slices is what scores
    are measured against, not something to learn. Where time or memory is short, the scans that were corrected last
    come first, and one other scan of each kind, with a mask and without, is read in any case.

    Parameters
    ----------
    dataset : Dataset
    scope : {"scan", "model"}
    case : str or None
        The case, for one scan.
    channel_names : sequence of str
        The model's.
    seed : int
        Decides which of many other cases are kept in mind.
    clock : RoundClock, optional
        The time of the round; by default it does not run out.
    should_stop : callable
        Asked before each case but the first.

    Raises
    ------
    InputError
        If nothing is corrected, or no corrected case can be used.
    """
    clock = clock or RoundClock()
    corrected = _corrected_cases(dataset, case if scope == "scan" else None)
    if not corrected:
        if not dataset.root.exists():
            raise InputError("is no longer there; is the disk still connected?", path=dataset.root)
        where = f"of case {case} " if scope == "scan" else ""
        elsewhere = ", or name the overlay folder that has them" if dataset.overlay is None else ""
        raise InputError(f"no slice {where}is corrected yet; correct and save some first{elsewhere}", path=dataset.root)
    data = RoundData(corrected=[])
    _read_corrected(data, corrected, channel_names, scan_alone=scope == "scan", clock=clock, should_stop=should_stop)
    order = {each.case_id: place for place, each in enumerate(dataset.cases)}
    data.corrected.sort(key=lambda scan: order[scan.case_id])
    for scan in data.corrected:
        _put_aside(scan, data)
    if not data.count() and not data.speckled:
        problem = f"the masks of the corrected slices are gone ({'; '.join(data.left_out)}); save the corrections again"
        raise InputError(problem, path=dataset.root)
    if scope == "model":
        if data.count():
            _pass_on(data)
        names = {each.case_id for each in corrected}
        others = [each for each in dataset.cases if each.case_id not in names]
        random.Random(seed).shuffle(others)
        _read_others(data, others, channel_names, clock=clock, should_stop=should_stop)
        if not data.labelled:
            # Where it is what was corrected, there is nothing to be kept of what the parent says of it.
            learned = {scan.image_hash for scan in data.corrected}
            data.unlabelled += [scan for scan in _sample(channel_names) if scan.image_hash not in learned]
    return data


def _corrected_cases(dataset: Dataset, only: str | None) -> list[Case]:
    """The case, or all that have corrected slices, the last corrected first."""
    if only is not None:
        return [dataset[only]] if dataset[only].corrected_slices() else []
    newest = {line.case: place for place, line in enumerate(dataset.corrections())}
    return [dataset[name] for name in sorted(dataset.corrected_slices(), key=lambda name: -newest.get(name, -1))]


def _read_corrected(
    data: RoundData,
    cases: Sequence[Case],
    channel_names: Sequence[str],
    *,
    scan_alone: bool,
    clock: RoundClock,
    should_stop: Callable[[], bool],
) -> None:
    """Read corrected scans, at least one, as far as time and memory go."""
    unusable: InputError | None = None
    until, longest = clock.moment(_CORRECTED_UNTIL), 0.0
    for place, case in enumerate(cases):
        if data.corrected and should_stop():
            break
        full = data.nbytes() >= _MOST_BYTES
        if data.corrected and (full or late(until, expected=longest)):
            short = "memory" if full else "time: give it more"
            data.left_out.append(f"{counted(len(cases) - place, 'corrected case')} did not fit into the {short}")
            break
        began = time.perf_counter()
        try:
            data.corrected.append(_read(case, channel_names, scan_alone=scan_alone))
        except InputError as error:
            # The corrections of other scans are worth a round without it.
            unusable = unusable or error
            data.left_out.append(f"case {case.case_id} was left out ({error})")
        longest = max(longest, time.perf_counter() - began)
    if unusable is not None and not data.corrected:
        raise unusable


def _put_aside(scan: Scan, data: RoundData) -> None:
    """Take the slices of a corrected scan that nothing can be learned from out of what is learned."""
    speckled = [z for z in scan.corrected if is_speckled(scan.mask[z])]
    data.speckled += [(scan.case_id, z) for z in speckled]
    scan.corrected = tuple(z for z in scan.corrected if z not in speckled)
    scan.labelled[speckled] = False
    if scan.gone:
        data.left_out.append(f"no longer there: {listed_slices(scan.gone)} of case {scan.case_id}")
    if scan.damage:
        data.left_out.append(f"a mask of case {scan.case_id} was left out ({scan.damage})")


def _pass_on(data: RoundData) -> None:
    """Count corrected scans without a correction to learn from among the others.

    As corrected ones they would be learned from, and the round then be checked by the same masks.
    """
    spoilt = [scan for scan in data.corrected if not scan.corrected]
    data.corrected = [scan for scan in data.corrected if scan.corrected]
    for scan in spoilt:
        (data.labelled if scan.labelled.any() else data.unlabelled).append(scan)


def _read_others(
    data: RoundData,
    cases: Sequence[Case],
    channel_names: Sequence[str],
    *,
    clock: RoundClock,
    should_stop: Callable[[], bool],
) -> None:
    """Read scans that nobody corrected; one that cannot be used is left out: the round does not depend on it."""
    kinds = [
        (data.labelled, iter([case for case in cases if case.has_mask]), _LABELLED_CASES),
        (data.unlabelled, iter([case for case in cases if not case.has_mask]), _UNLABELLED_CASES),
    ]
    until, longest, first = clock.moment(_OTHERS_UNTIL), 0.0, True
    # By turns, so that both kinds are there however early the time is up.
    while kinds:
        for kind in kinds[:]:
            scans, waiting, limit = kind
            full = len(scans) == limit or should_stop()
            short = not first and (data.nbytes() >= _MOST_BYTES or late(until, expected=longest))
            case = None if full or short else next(waiting, None)
            if case is None:
                kinds.remove(kind)
                continue
            began = time.perf_counter()
            with suppress(InputError):
                scan = _read(case, channel_names, scan_alone=False)
                # A copy would tell the trainings what is held back from them, or checked.
                if all(scan.image_hash != each.image_hash for each in (*data.corrected, *scans)):
                    scans.append(scan)
            longest = max(longest, time.perf_counter() - began)
        first = False


def _sample(channel_names: Sequence[str]) -> list[Scan]:
    """The sample of the package, whatever its mask: a scan like those the model comes from, to be kept in mind.

    The scans that a model was trained on are not here, and corrected ones may be unlike them.
    """
    try:
        (case,) = open_dataset(sample_case_path()).cases
        scan = _read(case, channel_names, scan_alone=True)
    except (FileNotFoundError, InputError):
        return []
    return [replace(scan, case_id=SAMPLE)]


def _read(case: Case, channel_names: Sequence[str], *, scan_alone: bool) -> Scan:
    # Before the mask: a slice that is saved meanwhile counts in the next round, not here with its old pixels.
    wanted = case.corrected_slices()
    image = case.read_image()
    check_usable(image)
    mask = case.read_mask()
    if mask is None:
        mask = np.zeros(image.shape, np.uint8)
    if mask.shape != image.shape:
        raise InputError(f"the mask of case {case.case_id} is {mask.shape}, the image {image.shape}", path=image.source)
    labelled = case.labelled_slices()
    # The scan may have lost slices since, and a mask file that is gone, or damaged, says nothing.
    corrected = tuple(z for z in wanted if z < len(labelled) and labelled[z])
    there, damage = case.masked_slices(), ""
    try:
        case.check_mask()
    except InputError as error:
        damage = str(error)
    if scan_alone:
        labelled = np.isin(np.arange(len(mask)), corrected)
    for axis in (1, 2):
        # What cannot be brought to the model's grid is told here, where one scan may be left out for it.
        working_factor(image, axis)
    volume, _ = arrange_channels(image, channel_names)
    return Scan(
        case_id=case.case_id,
        volume=volume,
        image_hash=image_hash(image),
        mask=mask,
        corrected=corrected,
        gone=tuple(z for z in wanted if z >= len(there) or not there[z]),
        damage=damage,
        labelled=labelled,
    )
