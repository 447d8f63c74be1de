"""What networks say of the scans of a round, and how good that is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.gate import CONFIDENT, REHEARSAL, confident_dice, held_back_dice
from napari_unet_seg.engine.hold_back import Key
from napari_unet_seg.engine.incumbent import Incumbent
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.round_clock import late
from napari_unet_seg.engine.round_data import Scan
from napari_unet_seg.engine.round_report import CaseReport
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.slice_order import alternate, spread

Planes = dict[Key, NDArray[np.float32]]
"""What was said of some slices, ``(Y, X)`` each."""

PART = 8
"""Slices that are predicted between two looks at the clock."""


class RoundScorer:
    """Has networks predict the scans of a round, and scores what they say.

    Parameters
    ----------
    parent : Network
        In evaluation mode.
    description : Description
        Of the parent, and so of everything that is tuned from it.
    corrected : sequence of Scan
        The scans with corrected slices.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    should_stop : callable
        Asked before each batch of the parent's predictions.
    """

    def __init__(
        self,
        parent: Network,
        description: Description,
        *,
        corrected: Sequence[Scan],
        device: str,
        should_stop: Callable[[], bool],
    ) -> None:
        self._parent = parent
        self._description = description
        self._corrected = corrected
        self._device = device
        self._should_stop = should_stop
        self._segmenter: Segmenter | None = None
        self._asked: Network | None = None
        self._slices = 0
        self._seconds = 0.0
        self.checked: dict[str, dict[int, Mask]] = {}
        """What `check` found of corrected scans: the new mask of each slice, ``(Y, X)``."""

    @property
    def pace(self) -> float:
        """Seconds that a slice has taken so far, whatever its scan needed first among them."""
        return self._seconds / max(1, self._slices)

    def predict(self, scan: Scan, slices: Sequence[int], *, until: float = math.inf, least: int = 1) -> None:
        """Have the parent predict slices of a scan, as far as the time goes, and keep that with the scan.

        Parameters
        ----------
        scan : Scan
        slices : sequence of int
            Those that matter most come first.
        until : float
            The moment at which to end.
        least : int
            So many are predicted whatever the time.
        """
        said = self._say(scan, self._parent, slices, until=until, least=least, should_stop=self._should_stop)
        if scan.probability is None or scan.predicted is None:
            scan.probability = np.zeros(scan.mask.shape, np.float32)
            scan.predicted = np.zeros(len(scan.mask), bool)
        for z, plane in said.items():
            scan.probability[z] = plane
            scan.predicted[z] = True

    def _say(
        self,
        scan: Scan,
        network: Network,
        slices: Sequence[int],
        *,
        until: float = math.inf,
        least: int = 1,
        should_stop: Callable[[], bool] | None = None,
    ) -> dict[int, NDArray[np.float32]]:
        """What a network says of the first of some slices, ``(Y, X)`` each; see `predict`."""
        said: dict[int, NDArray[np.float32]] = {}
        while len(said) < len(slices):
            part = list(slices[len(said) : len(said) + PART])
            if late(until, expected=self.pace * len(part)):
                part = part[: max(0, least - len(said))]
            if not part:
                break
            began = time.perf_counter()
            probability = self._segmenter_of(network).predict(scan.volume, slices=part, should_stop=should_stop)
            # Copies: a view would keep the whole array.
            said |= {z: probability[z].copy() for z in part}
            self._slices += len(part)
            self._seconds += time.perf_counter() - began
        return said

    def _segmenter_of(self, network: Network) -> Segmenter:
        """One for all: it keeps what it works out about each volume, and to make weights ready takes it a while."""
        if self._segmenter is None:
            self._segmenter = Segmenter(network, self._description, device=self._device)
        elif network is not self._asked:
            self._segmenter.use(network)
        self._asked = network
        return self._segmenter

    def parent_mask(self, scan: Scan) -> Mask:
        """The parent's mask of a scan that it has predicted, ``(Z, Y, X)``; nothing on slices that it was not asked."""
        assert scan.probability is not None
        return self._segmenter_of(self._parent).mask(scan.probability)

    def before(self, keys: Collection[Key]) -> dict[str, float]:
        """Dice of the parent on corrected slices that it has predicted, by case."""
        probability = {scan.case_id: scan.probability for scan in self._corrected}
        planes: Planes = {}
        for case, z in keys:
            said = probability[case]
            assert said is not None
            planes[case, z] = said[z]
        return self.score(planes)

    def say(self, network: Network, keys: Collection[Key]) -> Planes:
        """What a network says of some corrected slices, ``(Y, X)`` each."""
        planes: Planes = {}
        for scan in self._corrected:
            wanted = [z for case, z in keys if case == scan.case_id]
            planes |= {(scan.case_id, z): plane for z, plane in self._say(scan, network, wanted).items()}
        return planes

    def score(self, planes: Planes, *, threshold: float | None = None) -> dict[str, float]:
        """Dice of some corrected slices, by case; the threshold is the parent's unless another is given."""
        threshold = self._description.threshold if threshold is None else threshold
        masks = {scan.case_id: scan.mask for scan in self._corrected}
        found: dict[str, list[int]] = {}
        for case, z in planes:
            found.setdefault(case, []).append(z)
        return {
            case: held_back_dice([planes[case, z] >= threshold for z in slices], [masks[case][z] > 0 for z in slices])
            for case, slices in found.items()
        }

    def dice_of(self, incumbent: Incumbent, keys: Collection[Key]) -> float:
        """Mean over the cases of the Dice of the version in use on some corrected slices."""
        planes: Planes = {}
        # Of its own: it may take other channels and neighbours than the parent.
        segmenter = Segmenter(incumbent.network, incumbent.description, device=self._device)
        for scan in self._corrected:
            wanted = [z for case, z in keys if case == scan.case_id]
            if wanted:
                said = segmenter.predict(scan.volume, slices=wanted)
                planes |= {(scan.case_id, z): said[z].copy() for z in wanted}
        return mean(self.score(planes, threshold=incumbent.description.threshold))

    def tells(self, scan: Scan) -> bool:
        """Whether anything is known of a scan that the new weights can be checked by."""
        slices = self.to_check(scan)
        if not slices or self._has_truth(scan):
            return bool(slices)
        assert scan.probability is not None
        said, threshold = scan.probability[slices], self._description.threshold
        return confident_dice(said, (said >= threshold).astype(np.uint8), threshold=threshold) is not None

    @staticmethod
    def _has_truth(scan: Scan) -> bool:
        return not scan.corrected and bool(scan.labelled.any())

    def to_check(self, scan: Scan) -> list[int]:
        """Slices that new weights can be checked by, those that tell most first: with tumour and without by turns."""
        if scan.probability is None or scan.predicted is None:
            return []
        asked = scan.predicted
        if self._has_truth(scan):
            usable, tumour = asked & scan.labelled, (scan.mask > 0).any(axis=(1, 2))
        else:
            usable = asked & ~np.isin(np.arange(len(scan.mask)), scan.corrected)
            tumour = (scan.probability >= self._description.threshold).any(axis=(1, 2))
        with_tumour, without = (np.flatnonzero(usable & each) for each in (tumour, ~tumour))
        return alternate(spread(with_tumour.tolist()), spread(without.tolist()))

    def check(self, scan: Scan, network: Network, *, until: float = math.inf, least: int = PART) -> CaseReport | None:
        """How new weights do on a scan; None where nothing is known of it to go by, or there was no time for it."""
        said = self._say(scan, network, self.to_check(scan), until=until, least=least)
        if not said or scan.probability is None:
            return None
        slices = sorted(said)
        before, after = np.zeros_like(scan.probability), np.zeros_like(scan.probability)
        before[slices] = scan.probability[slices]
        after[slices] = [said[z] for z in slices]
        if self._has_truth(scan):
            segmenter = self._segmenter_of(network)
            old, new = (count(segmenter.mask(each)[slices], scan.mask[slices]).dice for each in (before, after))
            return CaseReport(case=scan.case_id, role=REHEARSAL, slices=len(slices), before=old, after=new)
        threshold = self._description.threshold
        mask = (after[slices] >= threshold).astype(np.uint8)
        if scan.corrected:
            self.checked[scan.case_id] = dict(zip(slices, mask, strict=True))
        dice = confident_dice(before[slices], mask, threshold=threshold)
        if dice is None:
            return None
        return CaseReport(case=scan.case_id, role=CONFIDENT, slices=len(slices), before=1.0, after=dice)


def mean(scores: Mapping[str, float]) -> float:
    """Mean over the cases; 0 where there are none."""
    return float(np.mean(list(scores.values()))) if scores else 0.0
