"""Scores of a model on a dataset: the honest ones first, the flattering ones for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Case, Dataset
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.data.volume import Mask, Volume, millilitres
from napari_unet_seg.engine.interval import bootstrap_interval
from napari_unet_seg.engine.metrics import Counts, count, hd95_mm
from napari_unet_seg.engine.postprocess import any_class
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import InputError, SegmentationError

Look = Callable[["CaseScores", Volume, Mask, Mask], None]
"""Takes the scores of a case, its scan, and the true and predicted mask ``(Z, Y, X)``."""

_SEED_BATCH = 32
_SEED_SMOOTH = 100.0


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """Scores of one case over its labelled slices; the keys of ``evaluate``'s JSON."""

    case: str
    dice: float
    iou: float
    hd95_mm: float | None
    """None where only one of the two masks is empty."""

    precision: float
    recall: float
    volume_ml_true: float
    volume_ml_pred: float
    spacing_known: bool = True
    """Whether mm and ml are those of the patient; otherwise voxels are taken as 1 mm."""

    corrected: bool = False
    """Whether slices of the mask are corrections by the user, perhaps of this model's own mask."""

    trained_on: bool = False
    """Whether the model has learned from this patient."""


@dataclass(frozen=True, kw_only=True)
class SliceScores:
    """What a slice adds to the figures that go by slices."""

    counts: Counts
    pixels: int
    soft_overlap: float
    """Sum of probability times truth."""

    soft_sum: float
    """Sum of the probability."""


def score_case(
    case_id: str,
    *,
    y_pred: Mask,
    probability: NDArray[np.float32],
    y: Mask,
    labelled: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    voxel_ml: float | None = None,
    spacing_known: bool = True,
) -> tuple[CaseScores, list[SliceScores]]:
    """Scores of one case.

    Parameters
    ----------
    case_id : str
        Its name.
    y_pred, y : ndarray
        Predicted and true mask, ``(Z, Y, X)``, foreground above 0.
    probability : ndarray
        ``(Z, Y, X)`` in 0..1, for the soft figures.
    labelled : ndarray
        ``(Z,)`` bool: a slice without a mask is unknown, not empty, and counts nowhere.
    spacing : (float, float, float)
        Along ``(z, y, x)`` in mm.
    voxel_ml : float, optional
        Volume of a voxel in ml; by default that of one whose sides stand at right angles.
    spacing_known : bool
        Whether it is that of the patient.

    Returns
    -------
    CaseScores, list of SliceScores
        Of the case, and of its labelled slices in order.

    Raises
    ------
    InputError
        If the two masks differ in shape.
    """
    if y.shape != y_pred.shape:
        raise InputError(f"case {case_id}: the mask has shape {y.shape}, the image {y_pred.shape}")
    slices = [
        SliceScores(
            counts=count(y_pred[z], y[z]),
            pixels=y[z].size,
            soft_overlap=float(probability[z][y[z] > 0].sum(dtype=np.float64)),
            soft_sum=float(probability[z].sum(dtype=np.float64)),
        )
        for z in np.flatnonzero(labelled)
    ]
    total = sum((item.counts for item in slices), Counts())
    voxel_ml = millilitres(spacing) if voxel_ml is None else voxel_ml
    scores = CaseScores(
        case=case_id,
        dice=total.dice,
        iou=total.iou,
        hd95_mm=hd95_mm(y_pred, y, spacing=spacing, labelled=labelled),
        precision=total.precision,
        recall=total.recall,
        volume_ml_true=(total.tp + total.fn) * voxel_ml,
        volume_ml_pred=(total.tp + total.fp) * voxel_ml,
        spacing_known=spacing_known,
    )
    return scores, slices


def summarise(cases: Sequence[CaseScores], slices: Sequence[SliceScores]) -> dict[str, Any]:
    """The summary of ``evaluate``'s JSON.

    The headline is ``volume_dice_mean``, the mean over the cases: over patients, where each has one.
    ``all_slice_dice_empty1``, ``seed_*_smooth100`` and ``accuracy`` are there to be compared with what others report:
    predicting nothing at all scores high on them.

    Parameters
    ----------
    cases : sequence of CaseScores
        At least one.
    slices : sequence of SliceScores
        The labelled slices of all cases, in order; the seeds' figures take them in batches of 32.
    """
    dice = [case.dice for case in cases]
    distances = [case.hd95_mm for case in cases if case.hd95_mm is not None]
    with_tumour = [item for item in slices if item.counts.tp + item.counts.fn]
    empty = [item for item in slices if not item.counts.tp + item.counts.fn]
    seed_dice, seed_iou = [], []
    for start in range(0, len(slices), _SEED_BATCH):
        batch = slices[start : start + _SEED_BATCH]
        overlap = sum(item.soft_overlap for item in batch)
        total = sum(item.soft_sum + item.counts.tp + item.counts.fn for item in batch)
        seed_dice.append((2 * overlap + _SEED_SMOOTH) / (total + _SEED_SMOOTH))
        seed_iou.append((overlap + _SEED_SMOOTH) / (total - overlap + _SEED_SMOOTH))
    wrong = sum(item.counts.fp + item.counts.fn for item in slices)
    pixels = sum(item.pixels for item in slices)
    worst = sorted(dice)[: max(1, round(len(dice) / 10))]
    return {
        "cases": len(cases),
        "patients": len({patient_of(case.case) for case in cases}),
        "volume_dice_mean": float(np.mean(dice)),
        "volume_dice_median": float(np.median(dice)),
        "volume_dice_worst_tenth": float(np.mean(worst)),
        "volume_dice_ci95": bootstrap_interval(dice, cases=[case.case for case in cases]),
        "volume_iou_mean": float(np.mean([case.iou for case in cases])),
        "hd95_mm_median": float(np.median(distances)) if distances else None,
        "hd95_mm_undefined": len(cases) - len(distances),
        "spacing_unknown": sum(not case.spacing_known for case in cases),
        "cases_corrected": sum(case.corrected for case in cases),
        "cases_trained_on": sum(case.trained_on for case in cases),
        "tumour_slice_dice_mean": float(np.mean([item.counts.dice for item in with_tumour])) if with_tumour else None,
        "empty_slice_false_positive_rate": float(np.mean([item.counts.fp > 0 for item in empty])) if empty else None,
        "all_slice_dice_empty1": float(np.mean([item.counts.dice for item in slices])),
        "seed_dice_smooth100": float(np.mean(seed_dice)),
        "seed_iou_smooth100": float(np.mean(seed_iou)),
        "accuracy": 1 - wrong / pixels,
    }


def score_cases(
    cases: Iterable[Case],
    segmenter: Segmenter,
    *,
    progress: Callable[[CaseScores], None] | None = None,
    look: Look | None = None,
    failed: Callable[[Case, Exception], None] | None = None,
) -> tuple[list[CaseScores], list[SliceScores]]:
    """Predict the cases that have a mask and score them.

    Parameters
    ----------
    cases : iterable of Case
        Those without a mask are passed over.
    segmenter : Segmenter
        The model.
    progress : callable, optional
        Called with the scores of each case as they come.
    look : callable, optional
        Called with them, the scan and both masks, which are let go of then.
    failed : callable, optional
        Called with each case that could not be used, or that the computation failed on; without it the first one
        raises.

    Returns
    -------
    list of CaseScores, list of SliceScores
        By case, and by labelled slice of all cases in order.
    """
    scores: list[CaseScores] = []
    slices: list[SliceScores] = []
    known = segmenter.description.trained_patients
    for case in cases:
        try:
            mask = case.read_mask()
            if mask is None:
                continue
            # The figures are of whole patients: with a slice that cannot be scored they would be of something else.
            case.check_mask()
            volume, corrected = case.read_image(), bool(case.corrected_slices())
            probability = segmenter.predict(volume)
            # Several classes: the soft figures take the whole foreground.
            soft = any_class(probability)
            y_pred = segmenter.mask(probability)
            one, several = score_case(
                case.case_id,
                y_pred=y_pred,
                probability=soft,
                y=mask,
                labelled=case.labelled_slices(),
                spacing=volume.spacing,
                voxel_ml=volume.voxel_ml,
                spacing_known=volume.spacing_known,
            )
        except (InputError, SegmentationError, MemoryError) as error:
            if failed is None:
                raise
            failed(case, error)
            continue
        one = replace(one, corrected=corrected, trained_on=patient_of(case.case_id) in known)
        scores.append(one)
        slices += several
        if progress is not None:
            progress(one)
        if look is not None:
            look(one, volume, mask, y_pred)
    return scores, slices


def evaluate(
    dataset: Dataset,
    segmenter: Segmenter,
    *,
    progress: Callable[[CaseScores], None] | None = None,
    look: Look | None = None,
    failed: Callable[[Case, Exception], None] | None = None,
) -> dict[str, Any]:
    """Score a model on every case of a dataset that has a mask.

    Parameters
    ----------
    dataset : Dataset
        What to score it on.
    segmenter : Segmenter
        The model.
    progress, look, failed : callable, optional
        See `score_cases`.

    Returns
    -------
    dict
        ``model``, ``dataset``, ``cases`` and ``summary``, as ``evaluate --json`` writes them.

    Raises
    ------
    InputError
        If no case has a usable mask.
    """
    scores, slices = score_cases(dataset.cases, segmenter, progress=progress, look=look, failed=failed)
    if not scores:
        raise InputError("no case has a usable mask to compare with", path=dataset.root)
    return {
        "model": segmenter.description.name,
        "dataset": str(dataset.root),
        "cases": [asdict(item) for item in scores],
        "summary": summarise(scores, slices),
    }
