"""How sure a mean over patients is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_unet_seg.data.splits import patient_of


def bootstrap_interval(values: Sequence[float], *, cases: Sequence[str], seed: int = 0) -> list[float] | None:
    """95% percentile bootstrap interval of the mean (Efron 1979), 10,000 resamples of patients.

    Scans of one patient are alike, so a patient is drawn with all of them.

    Parameters
    ----------
    values : sequence of float
        At least one.
    cases : sequence of str
        The case that each is of; see `patient_of`.
    seed : int
        Of the draws.

    Returns
    -------
    list of float or None
        Low and high; None where all are of one patient, who cannot tell how others would differ.
    """
    patients: dict[str, list[float]] = {}
    for case_id, value in zip(cases, values, strict=True):
        patients.setdefault(patient_of(case_id), []).append(value)
    if len(patients) < 2:
        return None
    if np.ptp(values) == 0:
        return [float(values[0])] * 2
    sums = np.array([np.sum(own) for own in patients.values()])
    counts = np.array([len(own) for own in patients.values()])
    interval = stats.bootstrap(
        (sums, counts),
        _mean,
        n_resamples=10_000,
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def _mean(sums: NDArray[Any], counts: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.asarray(sums.sum(axis=axis) / counts.sum(axis=axis))
