"""Which slice to correct next, and why. No torch is loaded: the window calls this."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Case, Dataset
from napari_unet_seg.data.roles import arrange_channels, flair_index
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.bright_flair import bright_region
from napari_unet_seg.engine.expected_error import PER_BRIGHT, SliceSigns, error_alike, find_signs
from napari_unet_seg.engine.postprocess import any_class, mask_from_probability
from napari_unet_seg.errors import InputError, SegmentationError

if TYPE_CHECKING:
    from napari_unet_seg.engine.segmenter import Segmenter

_APART = 5.0
"""Distance in mm of two slices that count as neighbours; thinner ones tell more of each other."""

_KNOWN = 0.25
"""What a corrected slice tells of the error of its neighbour; of the next but one this squared, and so on."""

_HELPED = 0.1
"""By how much correcting a slice helps its neighbour, through what is learned from it; squared for the next but one.

It spreads the picks. Less of it puts more wrong pixels right at once, more of it leaves more for a round to gain."""

_REGION = 0.5
"""Share of bright regions, in scans where the model finds nothing, that are tumour."""

_LEAST = 1.0
"""Wrong pixels expected, below which a slice is left out."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A slice worth correcting."""

    case: str
    slice: int
    """As napari counts it, from 0."""

    score: float
    """Expected wrong pixels of this slice, less what is learned from slices corrected or suggested before it."""

    reason: str
    """A short phrase: ``"the mask jumps between slices 14 and 15"``."""


def suggest_slices(
    volume: Volume,
    probability: NDArray[np.float32],
    *,
    case: str,
    mask: Mask | None = None,
    corrected: Collection[int] = (),
    threshold: float = 0.5,
    flair: int | None,
) -> list[Suggestion]:
    """Slices of one scan to be corrected next.

    A slice's error is expected from signs that can be named (`find_signs`), then brought nearer to what was wrong in
    corrected slices beside it. The list is made one by one: what lies beside a slice that is taken already is worth
    less, since a correction helps its neighbours too.

    Parameters
    ----------
    volume : Volume
        ``(C, Z, Y, X)``.
    probability : ndarray
        ``(Z, Y, X)`` in 0..1.
    case : str
        Its name, for the suggestions.
    mask : ndarray, optional
        ``(Z, Y, X)`` as it is now: the model's, with corrected slices in place. By default the probability's.
    corrected : collection of int
        Slices that a person has settled; they are not suggested.
    threshold : float
        Of the mask.
    flair : int or None
        Which channel is FLAIR, if there is one.

    Returns
    -------
    list of Suggestion
        Worst first, scores descending; slices that look right are left out.

    Raises
    ------
    ValueError
        If image, probability and mask differ in shape.
    """
    if mask is None:
        mask = mask_from_probability(probability, threshold=threshold)
    if not mask.shape == probability.shape == volume.shape:
        raise ValueError(f"shapes differ: image {volume.shape}, probability {probability.shape}, mask {mask.shape}")
    bright = None if flair is None else volume.data[flair]
    signs = find_signs(probability, mask, bright, threshold=threshold)
    region = np.zeros(len(mask))
    if bright is not None and not signs.area.any():
        region = bright_region(bright)
        if region[list(corrected)].any():
            # A person looked at it and left it empty.
            region[:] = 0
    expected = signs.expected() + _REGION * region
    apart = _distances(volume)
    known, told_by = _known_errors(expected, probability, mask, corrected, threshold=threshold, apart=apart)
    return [
        Suggestion(
            case=case,
            slice=z,
            score=float(score),
            reason=_reason(z, signs, region=region[z], told_by=told_by.get(z)),
        )
        for z, score in _in_turn(known, corrected, apart)
    ]


def suggest(
    dataset: Dataset,
    segmenter: Segmenter,
    *,
    cases: Iterable[str] | str | None = None,
    progress: Callable[[Case], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    failed: Callable[[Case, Exception], None] | None = None,
    noted: Callable[[Case, Sequence[str]], None] | None = None,
) -> list[Suggestion]:
    """Slices of a dataset to be corrected next, of all cases together.

    Parameters
    ----------
    dataset : Dataset
        Its corrections are taken into account.
    segmenter : Segmenter
        The model whose mask is to be corrected.
    cases : iterable of str, or str, optional
        Names of the cases to look at, or that of one; by default all.
    progress : callable, optional
        Called with each case when it is done.
    should_stop : callable, optional
        Asked before each batch.
    failed : callable, optional
        Called with each case that could not be used, or that the computation failed on; without it the first one
        raises.
    noted : callable, optional
        Called with each case and what had to be assumed of it, in words.

    Returns
    -------
    list of Suggestion
        Worst first.

    Raises
    ------
    InputError
        If there is no such case.
    Stopped
        If `should_stop` returned True.
    """
    found: list[Suggestion] = []
    names = [cases] if isinstance(cases, str) else cases
    for case in dataset.cases if names is None else [dataset[case_id] for case_id in names]:
        try:
            found += _suggest_case(case, segmenter, should_stop=should_stop, noted=noted)
        except (InputError, SegmentationError, MemoryError) as error:
            if failed is None:
                raise
            failed(case, error)
            continue
        if progress is not None:
            progress(case)
    # Stable, and descending within a case: each case's order stays.
    return sorted(found, key=lambda suggestion: -suggestion.score)


def _suggest_case(
    case: Case,
    segmenter: Segmenter,
    *,
    should_stop: Callable[[], bool] | None,
    noted: Callable[[Case, Sequence[str]], None] | None,
) -> list[Suggestion]:
    description = segmenter.description
    volume, assumed = arrange_channels(case.read_image(), description.channel_names)
    if noted is not None:
        noted(case, (*volume.notes, *assumed))
    probability = segmenter.predict(volume, should_stop=should_stop)
    mask = segmenter.mask(probability)
    corrected, stored = case.corrected_slices(), None
    if corrected:
        stored = case.read_mask()
        # The log also tells of slices that the scan has no longer.
        # A mask file that is gone since, or damaged, says nothing.
        labelled = case.labelled_slices()
        corrected = [z for z in corrected if z < len(mask) and labelled[z]]
        if noted is not None and (notes := case.mask_notes()):
            noted(case, notes)
    if stored is not None:
        if stored.shape != mask.shape:
            raise InputError(f"case {case.case_id}: the mask has shape {stored.shape}, the image {mask.shape}")
        mask[corrected] = stored[corrected]
    return suggest_slices(
        volume,
        any_class(probability),
        case=case.case_id,
        mask=mask,
        corrected=corrected,
        threshold=description.threshold,
        flair=flair_index(description.channel_names),
    )


def _distances(volume: Volume) -> NDArray[np.float64]:
    """Distance ``(Z, Z)`` of slices: 1 for neighbours, less where they are known to be thin."""
    thickness = min(1.0, volume.spacing[0] / _APART) if volume.spacing_known else 1.0
    z = np.arange(volume.shape[0]) * thickness
    return np.asarray(np.abs(np.subtract.outer(z, z)))


def _known_errors(
    expected: NDArray[np.float64],
    probability: NDArray[np.float32],
    mask: Mask,
    corrected: Collection[int],
    *,
    threshold: float,
    apart: NDArray[np.float64],
) -> tuple[NDArray[np.float64], dict[int, tuple[int, int]]]:
    """The errors in the light of corrected slices beside; and which of those, with how many pixels, raised one most."""
    result, told_by = expected.copy(), {}
    for z in np.flatnonzero(expected >= _LEAST):
        near = [known for known in corrected if known != z and apart[z, known] <= 2]
        if z in corrected or not near:
            continue
        weights = np.array([_KNOWN ** apart[z, known] for known in near])
        alike = [error_alike(probability, mask, known=known, z=int(z), threshold=threshold) for known in near]
        share = min(float(weights.sum()), 0.8)
        result[z] = (1 - share) * expected[z] + share * float(np.average(alike, weights=weights))
        strongest = int(np.argmax(weights * alike))
        if alike[strongest] > expected[z]:
            told_by[int(z)] = near[strongest], alike[strongest]
    return result, told_by


def _in_turn(
    expected: NDArray[np.float64], corrected: Collection[int], apart: NDArray[np.float64]
) -> list[tuple[int, float]]:
    """Slices with their scores: each time the worst, given that those before it are corrected."""
    left = expected.copy()
    for z in corrected:
        left *= 1 - _HELPED ** apart[z]
    order: list[tuple[int, float]] = []
    while left.size and left[z := int(left.argmax())] >= _LEAST:
        order.append((z, left[z]))
        # Of the slice itself nothing is left: its distance is 0.
        left *= 1 - _HELPED ** apart[z]
    return order


def _reason(z: int, signs: SliceSigns, *, region: float, told_by: tuple[int, int] | None) -> str:
    """The sign that says most to a person, not the one that weighs most: a long border weighs much and says little."""
    if told_by is not None:
        return f"{told_by[1]} pixels like those corrected in slice {told_by[0]}"
    if not signs.area[z]:
        if PER_BRIGHT * signs.bright[z] + _REGION * region > signs.doubted()[z]:
            return "no mask but bright FLAIR" + (" on one side" if region else "")
        return "no mask, but the model is unsure"
    if not signs.touches[z] and len(signs.area) > 1:
        return "the mask touches none of a neighbouring slice"
    jumps = {y: signs.jump[y] for y in (z - 1, z) if 0 <= y < len(signs.jump) and signs.jump[y] < 0.5}
    if jumps:
        y = min(jumps, key=lambda y: jumps[y])
        return f"the mask jumps between slices {y} and {y + 1}"
    if signs.unsure_border[z] >= 0.1:
        return f"model unsure along {signs.unsure_border[z]:.0%} of the border"
    if signs.alone[z] >= 0.1 * signs.area[z]:
        neighbours = "both neighbouring slices" if 0 < z < len(signs.area) - 1 else "the neighbouring slice"
        return f"{signs.alone[z]:.0f} pixels unlike {neighbours}"
    return f"{signs.border[z]:.0f} pixels of border, where masks err most"
