"""What the parent is asked before a round: of the corrected scans, and of others, as far as the time goes."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from napari_unet_seg.engine.hold_back import Key
from napari_unet_seg.engine.round_clock import RoundClock, shared_out
from napari_unet_seg.engine.round_data import SAMPLE, RoundData, Scan
from napari_unet_seg.engine.round_scorer import PART, RoundScorer
from napari_unet_seg.engine.slice_order import alternate, spread
from napari_unet_seg.errors import InputError

_CHECKED_CASES = 4
"""Most labelled, and most unlabelled, scans that are kept out of the training to check it."""

_HELD_BACK_SHARE = 0.08
"""Part of the time that the corrected slices may take: each look at them takes as long again."""

_CORRECTED_UNTIL, _OTHERS_UNTIL = 0.32, 0.42
"""Parts of the time that are gone when no more is asked of the corrected scans, and of others."""

_LABELLED_SHARE = 0.1
"""Part of the time that labelled scans may take: it is for the check alone, which takes as long again."""

_LEAST_HELD_BACK = 3
"""Corrected slices of a scan that are asked about whatever the time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Scans with what the parent says of them."""

    others: list[Scan]
    """Those to keep in mind that nobody corrected."""

    checked: list[Scan]
    """Those that the new weights are checked by: other ones, and the corrected ones' other slices."""


def ask_parent(data: RoundData, scorer: RoundScorer, clock: RoundClock, *, held_back: Collection[Key] = ()) -> Asked:
    """Have the parent predict what a round needs; where time is short fewer slices, but some of all that is checked.

    Unlabelled scans for which there was no time are taken out of the data.

    Parameters
    ----------
    data : RoundData
    scorer : RoundScorer
    clock : RoundClock
    held_back : collection of Key
        Corrected slices that the round is to be judged by: they come before the others.
    """
    _ask_about_corrected(data.corrected, scorer, clock, held_back)
    until = clock.moment(_OTHERS_UNTIL)
    soon = min(until, time.perf_counter() + _LABELLED_SHARE * clock.seconds)
    known = _ask_about_others(_half(data.labelled), scorer, until=soon)
    data.unlabelled[:] = _ask_about_others(data.unlabelled, scorer, until=until)
    checked = known + _half(data.unlabelled)
    others = [scan for scan in data.labelled + data.unlabelled if scan not in checked]
    if len(checked) == 1 and not others and not known:
        # A single other scan has to do for both; but what was learned from a mask is not checked by that mask.
        others = checked[:]
    return Asked(others=others, checked=checked + [scan for scan in data.corrected if scorer.to_check(scan)])


def _ask_about_corrected(
    scans: Sequence[Scan], scorer: RoundScorer, clock: RoundClock, held_back: Collection[Key]
) -> None:
    until = time.perf_counter() + _HELD_BACK_SHARE * clock.seconds
    for scan, turn in shared_out(scans, until=until):
        first = [z for z in scan.corrected if (scan.case_id, z) in held_back]
        rest = [z for z in scan.corrected if z not in first]
        scorer.predict(scan, [*spread(first), *spread(rest)], until=turn, least=_LEAST_HELD_BACK)
    least = PART
    for scan, turn in shared_out(scans, until=clock.moment(_CORRECTED_UNTIL)):
        rest = np.flatnonzero(~np.isin(np.arange(len(scan.mask)), scan.corrected)).tolist()
        scorer.predict(scan, spread(rest), until=turn, least=least)
        least = 0 if rest else least


def _ask_about_others(scans: Sequence[Scan], scorer: RoundScorer, *, until: float) -> list[Scan]:
    """The scans of which anything was told, one at least."""
    told: list[Scan] = []
    for scan, turn in shared_out(scans, until=until):
        # The sample stands for all that the parent has learned from.
        least = PART if not told or scan.case_id == SAMPLE else 0
        try:
            scorer.predict(scan, _in_order(scan), until=turn, least=least)
        except InputError:
            # Nobody corrected it: the round does not depend on it.
            continue
        if scan.predicted is not None and scan.predicted.any():
            told.append(scan)
    return told


def _in_order(scan: Scan) -> list[int]:
    """The slices to be asked about: all of an unlabelled scan, else those with a mask, with and without tumour."""
    if not scan.labelled.any():
        return spread(range(len(scan.mask)))
    tumour = (scan.mask > 0).any(axis=(1, 2))
    with_tumour, without = (np.flatnonzero(scan.labelled & each).tolist() for each in (tumour, ~tumour))
    return alternate(spread(with_tumour), spread(without))


def _half(scans: list[Scan]) -> list[Scan]:
    """The scans to check by: half of them at most, or the only one."""
    return scans[: min(_CHECKED_CASES, max(1, len(scans) // 2))]
