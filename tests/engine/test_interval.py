import numpy as np
import pytest
from scipy import stats

from napari_unet_seg.engine.interval import bootstrap_interval


def test_patients_are_drawn_with_all_their_scans() -> None:
    cases = ["TCGA_CS_4941_1996", "TCGA_CS_4941_1997", "TCGA_CS_4941_1998", "TCGA_DU_1111_1999"]
    # Of two patients, one in four draws is twice the first, one in four twice the second.
    assert bootstrap_interval([0.9, 0.9, 0.9, 0.1], cases=cases) == [0.1, 0.9]
    # Scan by scan, the mean of the worst draws would be that of two good scans and two bad ones.
    low, _ = bootstrap_interval([0.9, 0.9, 0.9, 0.1], cases="abcd") or [0, 0]
    assert low > 0.1


def test_of_one_scan_a_patient_it_is_the_interval_of_the_scans_and_repeats() -> None:
    values = [0.2, 0.9, 0.85, 0.8, 0.95]
    found = bootstrap_interval(values, cases="abcde")
    assert found == bootstrap_interval(values, cases="abcde")
    rng = np.random.default_rng(0)
    plain = stats.bootstrap((np.array(values),), np.mean, n_resamples=10_000, method="percentile", rng=rng)
    assert found == pytest.approx(list(plain.confidence_interval))
    assert bootstrap_interval([0.5, 0.5], cases="ab") == [0.5, 0.5]


def test_a_patient_alone_has_none() -> None:
    assert bootstrap_interval([0.5], cases="a") is None
    assert bootstrap_interval([0.5, 0.7], cases=["sub-01_ses-1", "sub-01_ses-2"]) is None
