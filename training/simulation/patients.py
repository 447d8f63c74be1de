"""Patients as a user has them: the images without the masks."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.layouts.kaggle import KaggleScan
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A scan and the truth about it, which only the annotator and the scores look at."""

    case: str
    volume: Volume
    truth: Mask
    """``(Z, Y, X)``."""

    labelled: NDArray[np.bool_]
    """``(Z,)``: a slice without a mask is unknown; it is never corrected and counts nowhere."""


def read_patient(case: Case) -> Patient:
    """Read image and mask; InputError where there is no mask."""
    truth = case.read_mask()
    if truth is None:
        raise InputError(f"case {case.case_id} has no mask to correct from")
    return Patient(case=case.case_id, volume=case.read_image(), truth=truth, labelled=case.labelled_slices())


def choose_cases(dataset: Dataset, patterns: Sequence[str]) -> list[str]:
    """Case ids that the patterns name, in the dataset's order; ``TCGA_CS_*`` stands for a site.

    Raises
    ------
    InputError
        If a pattern names none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {case.case_id for case in dataset if fnmatchcase(case.case_id, pattern)}
        # The error of a wrong name says which ones are near.
        chosen |= found or {dataset[pattern].case_id}
    return [case.case_id for case in dataset if case.case_id in chosen]


def unseen_cases(description: Description, dataset: Dataset) -> list[str]:
    """Cases of the dataset that a checkpoint holds out, of patients it was not trained on.

    Where its header names none held out, all cases of other patients.
    """
    held_out = set(description.training.get("held_out") or [])
    seen = description.trained_patients
    return [
        case.case_id
        for case in dataset
        if patient_of(case.case_id) not in seen and (case.case_id in held_out if held_out else bool(seen))
    ]


def patients_of(cases: Iterable[str]) -> set[str]:
    """The patients that cases are of."""
    return {patient_of(case_id) for case_id in cases}


def unlabelled_copy(
    dataset: Dataset, folder: Path, *, cases: Collection[str], labelled: Collection[str] = ()
) -> Dataset:
    """A dataset of links to the images of some cases, without their masks.

    Parameters
    ----------
    dataset : Dataset
        In the layout of the LGG dataset, a file a slice: there a case without masks is a case without those files.
    folder : Path
        Where to; it is made.
    cases : collection of str
        Cases that come without masks.
    labelled : collection of str
        Cases that come with them: copies, since a correction of a linked file would be written to the original.

    Raises
    ------
    InputError
        If the layout is another one.
    """
    for case_id in sorted({*cases, *labelled}):
        scan = dataset[case_id].scan
        if not isinstance(scan, KaggleScan):
            raise InputError("the simulation reads the layout kaggle alone; `convert` makes it", path=dataset.root)
        target = folder / case_id
        target.mkdir(parents=True)
        for each in scan.slices:
            (target / each.image_name).symlink_to(each.image.resolve())
            if case_id in labelled and each.mask_name is not None:
                shutil.copyfile(each.mask, target / each.mask_name)
    return open_dataset(folder)
