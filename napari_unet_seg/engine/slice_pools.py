"""The slices of a round in one store, and which of them a batch is drawn from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch

from napari_unet_seg.engine.round_clock import late
from napari_unet_seg.engine.round_data import SAMPLE, Scan
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.working_grid import to_working_grid


class SlicePools:
    """The slices of a round in one store, and which of them a batch is drawn from.

    Parameters
    ----------
    scans : sequence of Scan
        Their probabilities known, unless every slice is labelled.
    others : sequence of Scan
        More of them, to be left out where the time is short, but for the first and the package's sample.
    device : torch.device
        Where the slices lie.
    rehearsal_weight : float
        How much a slice counts whose target is the parent's word.
    threshold : float
        The parent's: a slice of which it says nothing that reaches it is to stay empty.
    until : float
        The moment from which others are left out.
    """

    def __init__(
        self,
        scans: Sequence[Scan],
        others: Sequence[Scan] = (),
        *,
        device: torch.device,
        rehearsal_weight: float,
        threshold: float,
        until: float = math.inf,
    ) -> None:
        self.size = (0, 0)
        """Height and width of the largest slice of the dataset, on the working grid."""

        held: list[Scan] = []

        def samples() -> Iterator[LabelledVolume]:
            took = 0.0
            for place, scan in enumerate((*scans, *others)):
                if place > len(scans) and scan.case_id != SAMPLE and late(until, expected=took):
                    continue
                began = time.perf_counter()
                held.append(scan)
                sample = _samples(scan, rehearsal_weight=rehearsal_weight, threshold=threshold)
                if scan.case_id != SAMPLE:
                    _, height, width = sample.mask.shape
                    self.size = max(self.size[0], height), max(self.size[1], width)
                yield sample
                # The store has prepared it by now.
                took = max(took, time.perf_counter() - began)

        self.store = SliceStore(samples(), device=device)
        self.others = [scan.case_id for scan in held[len(scans) :]]
        """Names of the others that are in it."""
        self.known = torch.from_numpy(np.concatenate([scan.labelled for scan in held]))
        """For each slice of the store whether its target is a true mask, not the parent's word."""
        self._place: dict[tuple[str, int], int] = {}
        start = 0
        corrected = set()
        for scan in held:
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
        hidden_cases: Collection[str] = (),
        corrected_fraction: float,
        foreground_fraction: float,
    ) -> Callable[[int, torch.Generator], torch.Tensor]:
        """A way to draw batches that never holds some of the slices.

        Parameters
        ----------
        held_back : collection of (str, int)
            Case and slice.
        hidden_cases : collection of str
            Cases of which no slice is drawn.
        corrected_fraction, foreground_fraction : float
            See `TunePolicy`.
        """
        hidden = {self._place[key] for key in held_back}
        hidden |= {place for (case, _), place in self._place.items() if case in hidden_cases}
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
    if scan.probability is not None and scan.predicted is not None:
        told = scan.predicted & ~known
        target[told] = scan.probability[told]
        # Half a doubt beside a corrected slice would otherwise grow into a mask where there was none; not so where the
        # parent is asked anew of each slice as it is augmented (`TunePolicy.teach_as_seen`), which takes its place.
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
