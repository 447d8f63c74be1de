"""Which corrected slices are kept from a training, so that they can tell what it is worth."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.round_data import Scan

Key = tuple[str, int]
"""A case and a slice of it."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one training does not see."""

    held_back: tuple[Key, ...]
    """Corrected slices that tell what it has learned."""

    hidden_cases: frozenset[str] = frozenset()
    """Cases of which it sees nothing else either."""


def patients(scans: Iterable[Scan]) -> dict[str, str]:
    """Whom each scan is of: by its name (`patient_of`), and two copies of one image are of one patient.

    Returns
    -------
    dict
        Patient by case id.
    """
    of_image: dict[str, str] = {}
    return {
        scan.case_id: of_image.setdefault(scan.image_hash or scan.case_id, patient_of(scan.case_id)) for scan in scans
    }


def turns(
    scans: Sequence[Scan], *, learned: Collection[str], most: int, seed: int = 0, others: Iterable[Scan] = ()
) -> list[Turn]:
    """Corrected slices in groups, each of which one training does not see.

    Several patients are held back whole: slices of one are too alike to speak for others. A single patient's slices
    are dealt out in order, so that a training sees slices from all of a scan's height. What the parent has learned
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
        Decides which patients go together.
    others : iterable of Scan
        Those that nobody corrected: a patient who is held back whole is not seen in them either.

    Returns
    -------
    list of Turn
        Empty where there is but one corrected slice.
    """
    corrected = [scan for scan in scans if scan.corrected]
    if sum(len(scan.corrected) for scan in corrected) < 2:
        return []
    fresh = {scan.case_id: _fresh(scan, learned) for scan in corrected}
    if not any(fresh.values()):
        fresh = {scan.case_id: list(scan.corrected) for scan in corrected}
    whose = patients(corrected)
    news: dict[str, list[Key]] = {}
    for case, slices in fresh.items():
        if slices:
            news.setdefault(whose[case], []).extend((case, z) for z in slices)
    if len(set(whose.values())) == 1:
        (keys,) = news.values()
        number = min(most, len(keys))
        return [Turn(held_back=tuple(keys[start::number])) for start in range(number)]
    order = list(news)
    random.Random(seed).shuffle(order)
    # The patients with most slices first, each into the smallest group.
    order.sort(key=lambda patient: -len(news[patient]))
    groups: list[list[Key]] = [[] for _ in range(min(most, len(news)))]
    for patient in order:
        min(groups, key=len).extend(news[patient])
    everyone = patients((*corrected, *others))
    return [_turn(group, everyone) for group in groups]


def _turn(held_back: Sequence[Key], whose: Mapping[str, str]) -> Turn:
    hidden = {whose[case] for case, _ in held_back}
    cases = frozenset(case for case, patient in whose.items() if patient in hidden)
    return Turn(held_back=tuple(held_back), hidden_cases=cases)


def _fresh(scan: Scan, learned: Collection[str]) -> list[int]:
    return [z for z, text in zip(scan.corrected, scan.fingerprints(), strict=True) if text not in learned]
