"""What one set of models scores against another on the same patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.interval import bootstrap_interval


def paired_difference(dice: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, Any]:
    """How volume Dice differs, patient by patient.

    Parameters
    ----------
    dice : mapping
        By case.
    reference : mapping
        The same, of what it is compared with; every case of `dice` is there.

    Returns
    -------
    dict
        ``mean``, ``ci95`` (paired bootstrap over patients, None for a single one), ``better`` and ``worse`` (numbers
        of patients).
    """
    differences = [dice[case] - reference[case] for case in dice]
    by_patient: dict[str, float] = {}
    for case, difference in zip(dice, differences, strict=True):
        by_patient[patient_of(case)] = by_patient.get(patient_of(case), 0.0) + difference
    return {
        "mean": float(np.mean(differences)),
        "ci95": bootstrap_interval(differences, cases=list(dice)),
        "better": sum(difference > 0 for difference in by_patient.values()),
        "worse": sum(difference < 0 for difference in by_patient.values()),
    }
