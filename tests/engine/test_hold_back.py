import numpy as np
import pytest

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.hold_back import Turn, patients, turns
from napari_unet_seg.engine.round_data import Scan


def scan(name: str, *slices: int) -> Scan:
    volume, mask = make_phantom(slices=8, size=24)
    labelled = np.isin(np.arange(8), slices)
    return Scan(case_id=name, volume=volume, image_hash=name, mask=mask, corrected=slices, labelled=labelled)


def keys(turn: Turn) -> list[tuple[str, int]]:
    return list(turn.held_back)


def test_a_single_slice_is_not_held_back() -> None:
    assert turns([scan("a", 3)], learned=(), most=3) == []


@pytest.mark.parametrize("slices", [(1, 2), (1, 2, 3), (0, 1, 2, 3, 4, 5, 6)])
def test_each_slice_of_one_scan_is_held_back_once(slices: tuple[int, ...]) -> None:
    groups = turns([scan("a", *slices)], learned=(), most=3)
    assert len(groups) == min(3, len(slices))
    assert sorted(key for group in groups for key in group.held_back) == [("a", z) for z in slices]
    sizes = [len(group.held_back) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    assert not any(group.hidden_cases for group in groups)


def test_cases_are_held_back_whole() -> None:
    groups = turns([scan("a", 1, 2, 3), scan("b", 4), scan("c", 5, 6)], learned=(), most=2)
    assert sorted(len(group.held_back) for group in groups) == [3, 3]
    cases = [{case for case, _ in group.held_back} for group in groups]
    assert [group.hidden_cases for group in groups] == cases
    assert not cases[0] & cases[1]


def test_what_the_parent_knows_is_not_held_back_while_there_is_news() -> None:
    old, new = scan("a", 1, 2), scan("b", 3, 4)
    groups = turns([old, new], learned=old.fingerprints(), most=2)
    # News of one case among several: that case is held back whole.
    assert [(keys(group), group.hidden_cases) for group in groups] == [([("b", 3), ("b", 4)], {"b"})]
    everything = [*old.fingerprints(), *new.fingerprints()]
    assert len(turns([old, new], learned=everything, most=2)) == 2


def test_a_slice_corrected_anew_is_news() -> None:
    before = scan("a", 1, 2)
    after = scan("a", 1, 2)
    after.mask[1, :5, :5] = 1
    assert [keys(group) for group in turns([after], learned=before.fingerprints(), most=3)] == [[("a", 1)]]


def test_two_scans_of_a_patient_are_held_back_together() -> None:
    first, second, other = scan("sub-01_ses-01", 1, 2), scan("sub-01_ses-02", 3), scan("sub-02_ses-01", 4)
    groups = turns([first, second, other], learned=(), most=3)
    assert sorted(sorted(group.hidden_cases) for group in groups) == [
        ["sub-01_ses-01", "sub-01_ses-02"],
        ["sub-02_ses-01"],
    ]
    assert sorted(len(group.held_back) for group in groups) == [1, 3]
    # News of one scan: nothing is seen of the other one either.
    (group,) = turns([first, second, other], learned=[*first.fingerprints(), *other.fingerprints()], most=3)
    assert keys(group) == [("sub-01_ses-02", 3)]
    assert group.hidden_cases == {"sub-01_ses-01", "sub-01_ses-02"}


def test_a_patient_held_back_is_not_seen_in_scans_that_nobody_corrected() -> None:
    corrected = [scan("sub-01_ses-01", 1, 2), scan("sub-02_ses-01", 4)]
    groups = turns(corrected, learned=(), most=2, others=[scan("sub-01_ses-02"), scan("sub-03_ses-01")])
    assert sorted(sorted(group.hidden_cases) for group in groups) == [
        ["sub-01_ses-01", "sub-01_ses-02"],
        ["sub-02_ses-01"],
    ]


def test_two_scans_of_one_patient_alone_are_dealt_out_slice_by_slice() -> None:
    groups = turns([scan("sub-01_ses-01", 1, 2), scan("sub-01_ses-02", 3)], learned=(), most=2)
    assert [keys(group) for group in groups] == [
        [("sub-01_ses-01", 1), ("sub-01_ses-02", 3)],
        [("sub-01_ses-01", 2)],
    ]
    assert not any(group.hidden_cases for group in groups)


def test_a_copy_of_a_scan_is_of_its_patient() -> None:
    one, copy = scan("a", 1), scan("b", 1)
    copy.image_hash = one.image_hash
    assert patients([one, copy, scan("c", 1)]) == {"a": "a", "b": "a", "c": "c"}
