"""What one set of models scores against another on the same patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_unet_seg.engine.evaluate import bootstrap_interval


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
        ``mean``, ``ci95`` (paired bootstrap over patients), ``better`` and ``worse`` (numbers of patients).
    """
    differences = [dice[case] - reference[case] for case in dice]
    return {
        "mean": float(np.mean(differences)),
        "ci95": list(bootstrap_interval(differences)),
        "better": sum(difference > 0 for difference in differences),
        "worse": sum(difference < 0 for difference in differences),
    }
