"""The honest figures of a model that a published project's recipe trained, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import Part, Split, patient_of, pictures_of_unknown
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores, score_case, score_cases, summarise
from napari_unet_seg.engine.postprocess import any_class
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import InputError

FROM_LEAKED = "leaked patients"
WHOLE_PATIENTS = "unseen patients"
SINGLE_PICTURES = "single pictures"


@dataclass(frozen=True, kw_only=True)
class Honest:
    """Scores without smoothing, by case, every slice counted that may be."""

    kind: str
    """`WHOLE_PATIENTS`, `SINGLE_PICTURES` or `FROM_LEAKED`."""

    remark: str
    """What that means, in a sentence."""

    summary: dict[str, Any]
    """As `evaluate.summarise` has it."""

    cases: list[dict[str, Any]]


def honest_scores(segmenter: Segmenter, dataset: Dataset, split: Split, part: Part) -> Honest:
    """Score a model on whole patients of a part who were not trained on, or, where there are none, say so.

    A split of slices leaves hardly a patient whole. Then the slices of the part are scored alone, by patient: the
    network has not seen them, but their neighbours.

    Parameters
    ----------
    segmenter : Segmenter
        The model.
    dataset : Dataset
        It has the cases.
    split : Split
        What the model was trained with.
    part : {"validation", "test"}
        Where it is scored.

    Raises
    ------
    InputError
        If the part is empty, or a case cannot be read.
    """
    unseen = split.unseen_cases(part)
    chosen = "; the weights are those that did best on them" if part == "validation" else ""
    if not unseen:
        cases, slices = _leaked(segmenter, dataset, split, part)
        remark = (
            f"no patient was left out of the training: these are the {len(slices)} slices of the part alone, in "
            f"{len(cases)} patients whose other slices were trained on"
        )
        return _honest(FROM_LEAKED, remark + chosen, cases, slices)
    cases, slices = score_cases([dataset[case_id] for case_id in unseen], segmenter)
    assumed = pictures_of_unknown({case_id: dataset[case_id].read_shape()[0] for case_id in unseen})
    if len(assumed) == len(cases):
        remark = f"{len(cases)} pictures of the part; which patients they are of is not known"
        return _honest(SINGLE_PICTURES, remark + chosen, cases, slices)
    what = "whole scans" if len(slices) > len(cases) else f"{len(cases)} pictures"
    remark = f"{what} of {len({patient_of(one) for one in unseen})} patients of whom no slice was trained on"
    if assumed:
        remark += f"; the names of {len(assumed)} pictures tell no patient: each is taken for one"
    return _honest(WHOLE_PATIENTS, remark + chosen, cases, slices)


def _leaked(
    segmenter: Segmenter, dataset: Dataset, split: Split, part: Part
) -> tuple[list[CaseScores], list[SliceScores]]:
    cases: list[CaseScores] = []
    slices: list[SliceScores] = []
    for case_id, numbers in split.by_case(part).items():
        truth = dataset[case_id].read_mask()
        if truth is None:
            raise InputError(f"case {case_id} has no mask", path=dataset.root)
        dataset[case_id].check_mask()
        volume = dataset[case_id].read_image()
        probability = segmenter.predict(volume, slices=numbers)
        chosen = np.zeros(len(truth), dtype=np.bool_)
        chosen[numbers] = True
        scores, several = score_case(
            case_id,
            y_pred=segmenter.mask(probability),
            probability=any_class(probability),
            y=truth,
            labelled=chosen,
            spacing=volume.spacing,
            voxel_ml=volume.voxel_ml,
        )
        # Single slices, put together, are no body: there is no distance between surfaces.
        cases.append(replace(scores, hd95_mm=None))
        slices += several
    if not cases:
        raise InputError(f"the split has no slice in its part {part}", path=dataset.root)
    return cases, slices


def _honest(kind: str, remark: str, cases: Sequence[CaseScores], slices: Sequence[SliceScores]) -> Honest:
    return Honest(kind=kind, remark=remark, summary=summarise(cases, slices), cases=[asdict(one) for one in cases])
