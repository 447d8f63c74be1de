"""What a round of retraining learns from: corrected slices, and what the model should keep in mind beside them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.sample import sample_case_path
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.engine.round_report import Scope
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.working_grid import to_working_grid
from napari_unet_seg.errors import InputError

SAMPLE = "sample of the package"
"""Stands for its case among the scans of a round."""

_LABELLED_CASES = 12
_UNLABELLED_CASES = 8


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

    labelled: NDArray[np.bool_]
    """``(Z,)``: slices whose mask counts as true, the corrected ones among them."""

    probability: NDArray[np.float32] | None = None
    """``(Z, Y, X)``: what the parent says of it."""

    predicted: NDArray[np.bool_] | None = None
    """``(Z,)``: slices of which it was asked; None for all."""

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

    def count(self) -> int:
        """Number of corrected slices to learn from."""
        return sum(len(scan.corrected) for scan in self.corrected)


def is_speckled(plane: NDArray[np.generic]) -> bool:
    """Whether a slice of a mask ``(Y, X)`` is noise: most of its pixels, or of its holes, belong to nothing of a size.

    Small masks are not judged: many small lesions look the same.
    """
    foreground = plane != 0
    least = max(30, foreground.size // 200)
    if np.count_nonzero(foreground) < least:
        return False
    rows, columns = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    inside = foreground[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _is_dust(inside, least) or _is_dust(~inside, least)


def _is_dust(pixels: NDArray[np.bool_], least: int) -> bool:
    area = np.count_nonzero(pixels)
    if area < least:
        return False
    # A thin ring is gone when a cross is asked for, and stays when a square of two pixels is.
    crosses, squares = (ndimage.binary_opening(pixels, structure=shape) for shape in (None, np.ones((2, 2), bool)))
    return bool(np.count_nonzero(crosses) < 0.5 * area and np.count_nonzero(squares) < 0.65 * area)


def read_round(
    dataset: Dataset,
    *,
    scope: Scope,
    case: str | None,
    channel_names: Sequence[str],
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> RoundData:
    """Read what a round learns from.

    For one scan these are its corrected slices alone: a mask that the dataset has of its other slices is what scores
    are measured against, not something to learn.

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
    should_stop : callable
        Asked before each case but the first.

    Raises
    ------
    InputError
        If nothing is corrected, or a file of a corrected case cannot be used.
    """
    chosen = [dataset[case]] if scope == "scan" and case is not None else list(dataset.cases)
    corrected = [each for each in chosen if each.corrected_slices()]
    if not corrected:
        where = f"of case {case} " if scope == "scan" else ""
        raise InputError(f"no slice {where}is corrected yet; correct and save some first", path=dataset.root)
    data = RoundData(corrected=[])
    for each in corrected:
        if data.corrected and should_stop():
            return data
        scan = _read(each, channel_names, scan_alone=scope == "scan")
        speckled = [z for z in scan.corrected if is_speckled(scan.mask[z])]
        data.speckled += [(scan.case_id, z) for z in speckled]
        scan.corrected = tuple(z for z in scan.corrected if z not in speckled)
        scan.labelled[speckled] = False
        data.corrected.append(scan)
    if not data.count() and not data.speckled:
        raise InputError("the masks of the corrected slices are gone; save the corrections again", path=dataset.root)
    if scope == "model":
        others = [each for each in dataset.cases if each not in corrected]
        random.Random(seed).shuffle(others)
        with_mask = [each for each in others if each.has_mask]
        without = [each for each in others if not each.has_mask]
        for kept, pool, limit in (
            (data.labelled, with_mask, _LABELLED_CASES),
            (data.unlabelled, without, _UNLABELLED_CASES),
        ):
            kept += _read_others(pool, channel_names, limit=limit, should_stop=should_stop)
        if not data.labelled:
            # Where it is what was corrected, there is nothing to be kept of what the parent says of it.
            learned = {scan.image_hash for scan in data.corrected}
            data.unlabelled += [scan for scan in _sample(channel_names) if scan.image_hash not in learned]
    return data


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


def _read_others(
    cases: Iterable[Case], channel_names: Sequence[str], *, limit: int, should_stop: Callable[[], bool]
) -> list[Scan]:
    """Up to `limit` scans; one that cannot be used is left out: the round does not depend on it."""
    found: list[Scan] = []
    for case in cases:
        if len(found) == limit or should_stop():
            break
        try:
            found.append(_read(case, channel_names, scan_alone=False))
        except InputError:
            continue
    return found


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
    # A mask file that is gone since says nothing.
    corrected = tuple(z for z in wanted if labelled[z])
    if scan_alone:
        labelled = np.isin(np.arange(len(mask)), corrected)
    volume, _ = arrange_channels(image, channel_names)
    return Scan(
        case_id=case.case_id,
        volume=volume,
        image_hash=image_hash(image),
        mask=mask,
        corrected=corrected,
        labelled=labelled,
    )


class SlicePools:
    """The slices of a round in one store, and which of them a batch is drawn from.

    Parameters
    ----------
    scans : sequence of Scan
        Their probabilities known, unless every slice is labelled.
    device : torch.device
        Where the slices lie.
    rehearsal_weight : float
        How much a slice counts whose target is the parent's word.
    threshold : float
        The parent's: a slice of which it says nothing that reaches it is to stay empty.
    """

    def __init__(
        self, scans: Sequence[Scan], *, device: torch.device, rehearsal_weight: float, threshold: float
    ) -> None:
        self.size = (0, 0)
        """Height and width of the largest slice of the dataset, on the working grid."""

        def samples() -> Iterator[LabelledVolume]:
            for scan in scans:
                sample = _samples(scan, rehearsal_weight=rehearsal_weight, threshold=threshold)
                if scan.case_id != SAMPLE:
                    _, height, width = sample.mask.shape
                    self.size = max(self.size[0], height), max(self.size[1], width)
                yield sample

        self.store = SliceStore(samples(), device=device)
        self.known = torch.from_numpy(np.concatenate([scan.labelled for scan in scans]))
        """For each slice of the store whether its target is a true mask, not the parent's word."""
        self._place: dict[tuple[str, int], int] = {}
        start = 0
        corrected = set()
        for scan in scans:
            for z in range(len(scan.mask)):
                self._place[scan.case_id, z] = start + z
            corrected |= {start + z for z in scan.corrected}
            start += len(scan.mask)
        self._corrected = corrected
        tumour = self._with_tumour = set(self.store.tumour.tolist())
        usable = self.store.labelled.tolist()
        self._tumour = [place for place in usable if place in tumour and place not in corrected]
        self._empty = [place for place in usable if place not in tumour and place not in corrected]

    def drawer(
        self,
        held_back: Collection[tuple[str, int]],
        *,
        whole_cases: bool = False,
        corrected_fraction: float,
        foreground_fraction: float,
    ) -> Callable[[int, torch.Generator], torch.Tensor]:
        """A way to draw batches that never holds some of the slices.

        Parameters
        ----------
        held_back : collection of (str, int)
            Case and slice.
        whole_cases : bool
            Whether no slice of those cases is drawn.
        corrected_fraction, foreground_fraction : float
            See `TunePolicy`.
        """
        hidden = {self._place[key] for key in held_back}
        if whole_cases:
            cases = {case for case, _ in held_back}
            hidden |= {place for (case, _), place in self._place.items() if case in cases}
        seen = self._corrected - hidden
        kinds = [sorted(seen & self._with_tumour), sorted(seen - self._with_tumour)]
        # Slices that were emptied and slices with tumour count alike, however many there are of each.
        corrected = [torch.tensor(kind, dtype=torch.long) for kind in kinds if kind]
        tumour, empty = (
            torch.tensor([place for place in pool if place not in hidden], dtype=torch.long)
            for pool in (self._tumour, self._empty)
        )

        def draw(count: int, generator: torch.Generator) -> torch.Tensor:
            others = 0 if not len(tumour) + len(empty) else round(count * (1 - corrected_fraction))
            if not corrected:
                others = count
            with_tumour = int((torch.rand(others, generator=generator) < foreground_fraction).sum())
            with_tumour = 0 if not len(tumour) else others if not len(empty) else with_tumour
            wanted = [(tumour, with_tumour), (empty, others - with_tumour)]
            if corrected:
                first = (count - others) // len(corrected)
                first += int((count - others) % len(corrected) and torch.rand((), generator=generator) < 0.5)
                wanted += zip(corrected, (first, count - others - first), strict=False)
            parts = [
                pool[torch.randint(len(pool), (number,), generator=generator)] for pool, number in wanted if number
            ]
            return torch.cat(parts)

        return draw


def _samples(scan: Scan, *, rehearsal_weight: float, threshold: float) -> LabelledVolume:
    """A scan as the store takes it: true masks where there are any, elsewhere the parent's probabilities."""
    known = scan.labelled
    target = (scan.mask > 0).astype(np.float32)
    usable = known.copy()
    if scan.probability is not None:
        told = ~known if scan.predicted is None else scan.predicted & ~known
        target[told] = scan.probability[told]
        # Half a doubt beside a corrected slice would otherwise grow into a mask where there was none.
        target[told & (scan.probability < threshold).all(axis=(1, 2))] = 0
        usable |= told
    volume, target = to_working_grid(scan.volume, target)
    return LabelledVolume(
        volume=volume,
        # Of a soft store only the targets are looked at.
        mask=np.zeros(target.shape, np.uint8),
        labelled=usable,
        soft=target,
        weight=np.where(known, 1.0, rehearsal_weight).astype(np.float32),
    )
