"""What networks say of the scans of a round, and how good that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.gate import CONFIDENT, REHEARSAL, confident_dice, held_back_dice
from napari_unet_seg.engine.hold_back import Key, Turn
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.round_data import Scan
from napari_unet_seg.engine.round_report import CaseReport
from napari_unet_seg.engine.segmenter import Segmenter

Planes = dict[Key, NDArray[np.float32]]
"""What was said of some slices, ``(Y, X)`` each."""


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
        self._segmenters: dict[str, Segmenter] = {}
        self.seconds_of: dict[str, float] = {}
        """How long the prediction of each scan took."""

    def predict(self, scan: Scan, *, only: Sequence[int] | None = None) -> None:
        """Have the parent predict a scan, or some of its slices, and keep that with the scan."""
        started = time.perf_counter()
        scan.probability = self._segmenter(scan).predict(scan.volume, slices=only, should_stop=self._should_stop)
        if only is not None:
            scan.predicted = np.isin(np.arange(len(scan.mask)), only)
        self.seconds_of[scan.case_id] = time.perf_counter() - started

    def _segmenter(self, scan: Scan) -> Segmenter:
        """One for each scan: it keeps what it works out about the volume it sees."""
        if scan.case_id not in self._segmenters:
            self._segmenters[scan.case_id] = Segmenter(self._parent, self._description, device=self._device)
        return self._segmenters[scan.case_id]

    def before(self, held_back: Sequence[Turn]) -> dict[str, float]:
        """Dice of the parent on the held-back slices, by case."""
        probability = {scan.case_id: scan.probability for scan in self._corrected}
        planes: Planes = {}
        for turn in held_back:
            for case, z in turn.held_back:
                said = probability[case]
                assert said is not None
                planes[case, z] = said[z]
        return self.score(planes)

    def say(self, network: Network, keys: Collection[Key]) -> Planes:
        """What a network says of some corrected slices, ``(Y, X)`` each."""
        planes: Planes = {}
        for scan in self._corrected:
            wanted = [z for case, z in keys if case == scan.case_id]
            if wanted:
                segmenter = self._segmenter(scan)
                segmenter.use(network)
                said = segmenter.predict(scan.volume, slices=wanted)
                planes |= {(scan.case_id, z): said[z] for z in wanted}
        return planes

    def score(self, planes: Planes) -> dict[str, float]:
        """Dice of some corrected slices, by case."""
        threshold = self._description.threshold
        masks = {scan.case_id: scan.mask for scan in self._corrected}
        found: dict[str, list[int]] = {}
        for case, z in planes:
            found.setdefault(case, []).append(z)
        return {
            case: held_back_dice([planes[case, z] >= threshold for z in slices], [masks[case][z] > 0 for z in slices])
            for case, slices in found.items()
        }

    def tells(self, scan: Scan) -> bool:
        """Whether anything is known of a scan that the new weights can be checked by."""
        assert scan.probability is not None
        if not scan.corrected and scan.labelled.any():
            return True
        said, threshold = scan.probability[self._open(scan)], self._description.threshold
        return confident_dice(said, (said >= threshold).astype(np.uint8), threshold=threshold) is not None

    @staticmethod
    def _open(scan: Scan) -> NDArray[np.bool_]:
        """``(Z,)``: slices that nobody corrected."""
        return ~np.isin(np.arange(len(scan.mask)), scan.corrected)

    def check(self, scan: Scan, network: Network) -> CaseReport | None:
        """How new weights do on a scan; None where nothing is known of it to go by."""
        assert scan.probability is not None
        segmenter = self._segmenter(scan)
        segmenter.use(network)
        said = segmenter.predict(scan.volume)
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
        rest = self._open(scan)
        mask = (said[rest] >= self._description.threshold).astype(np.uint8)
        dice = confident_dice(scan.probability[rest], mask, threshold=self._description.threshold)
        if dice is None:
            return None
        return CaseReport(case=scan.case_id, role=CONFIDENT, slices=int(rest.sum()), before=1.0, after=dice)


def mean(scores: Mapping[str, float]) -> float:
    """Mean over the cases; 0 where there are none."""
    return float(np.mean(list(scores.values()))) if scores else 0.0
