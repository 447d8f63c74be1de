"""Which corrected slices are kept from a training, so that they can tell what it is worth."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from napari_unet_seg.engine.round_data import Scan

Key = tuple[str, int]
"""A case and a slice of it."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one training does not see."""

    held_back: tuple[Key, ...]
    """Corrected slices that tell what it has learned."""

    whole_cases: bool
    """Whether it sees nothing else of their cases either."""


def turns(scans: Sequence[Scan], *, learned: Collection[str], most: int, seed: int = 0) -> list[Turn]:
    """Corrected slices in groups, each of which one training does not see.

    Several cases are held back whole: slices of one scan are too alike to speak for other scans. A single scan's
    slices are dealt out in order, so that a training sees slices from all of its height. What the parent has learned
    before is not held back as long as there is anything new: it knows those.

    Parameters
    ----------
    scans : sequence of Scan
        The corrected ones.
    learned : collection of str
        `Scan.fingerprints` that the parent has learned from.
    most : int
        Number of groups at most.
    seed : int
        Decides which cases go together.

    Returns
    -------
    list of Turn
        Empty where there is but one corrected slice.
    """
    fresh = {scan.case_id: _fresh(scan, learned) for scan in scans}
    if not any(fresh.values()):
        fresh = {scan.case_id: list(scan.corrected) for scan in scans}
    news = [(case, slices) for case, slices in fresh.items() if slices]
    if sum(len(scan.corrected) for scan in scans) < 2:
        return []
    if sum(bool(scan.corrected) for scan in scans) > 1:
        random.Random(seed).shuffle(news)
        # The cases with most slices first, each into the smallest group.
        news.sort(key=lambda item: -len(item[1]))
        groups: list[list[Key]] = [[] for _ in range(min(most, len(news)))]
        for case, slices in news:
            min(groups, key=len).extend((case, z) for z in slices)
        return [Turn(held_back=tuple(group), whole_cases=True) for group in groups]
    case, slices = news[0]
    number = min(most, len(slices))
    return [
        Turn(held_back=tuple((case, z) for z in slices[start::number]), whole_cases=False) for start in range(number)
    ]


def _fresh(scan: Scan, learned: Collection[str]) -> list[int]:
    return [z for z, text in zip(scan.corrected, scan.fingerprints(), strict=True) if text not in learned]
