import time

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.round_data import SAMPLE, Scan
from napari_unet_seg.engine.slice_pools import SlicePools

CPU = torch.device("cpu")


def drawn(draw: object, *, count: int = 400) -> set[int]:
    return set(draw(count, torch.Generator().manual_seed(0)).tolist())  # type: ignore[operator]


def phantom_scan(*corrected: int, probability: float | None = 0.0) -> Scan:
    volume, mask = make_phantom(slices=8, size=48)
    labelled = np.isin(np.arange(8), corrected)
    said = None if probability is None else np.full(mask.shape, probability, np.float32)
    return Scan(
        case_id="a",
        volume=volume,
        mask=mask,
        corrected=corrected,
        labelled=labelled,
        probability=said,
        predicted=None if said is None else np.ones(8, bool),
    )


def test_what_is_held_back_is_never_drawn() -> None:
    pools = SlicePools([phantom_scan(2, 4, 5)], device=CPU, rehearsal_weight=0.5, threshold=0.5)
    assert drawn(pools.drawer([], corrected_fraction=0.5, foreground_fraction=0.5)) == set(range(8))
    hidden = pools.drawer([("a", 4)], corrected_fraction=0.5, foreground_fraction=0.5)
    assert drawn(hidden) == set(range(8)) - {4}
    assert drawn(pools.drawer([], corrected_fraction=1.0, foreground_fraction=0.5)) == {2, 4, 5}


def test_targets_are_the_correction_or_the_parents_word() -> None:
    scan = phantom_scan(4, probability=0.25)
    assert scan.probability is not None
    scan.probability[5, 3, 3] = 0.75
    scan.probability[6] = 0.4
    store = SlicePools([scan], device=CPU, rehearsal_weight=0.5, threshold=0.5).store
    _, target, _ = store.batch(torch.tensor([4, 5, 6]), context=0)
    assert np.array_equal(target[0, 0].numpy(), (scan.mask[4] > 0).astype(np.float32))
    assert torch.allclose(target[1, 0, 10:], torch.tensor(0.25), atol=1 / 255)
    # Nothing in it reaches the threshold: it is to stay empty.
    assert not target[2].any()
    assert store.weights[[4, 5]].tolist() == [1.0, 0.5]


def test_unlabelled_slices_without_a_prediction_are_left_out() -> None:
    pools = SlicePools([phantom_scan(2, 4, probability=None)], device=CPU, rehearsal_weight=0.5, threshold=0.5)
    assert drawn(pools.drawer([], corrected_fraction=0.5, foreground_fraction=0.5)) == {2, 4}


def test_a_case_held_back_whole_is_not_seen_at_all() -> None:
    first, second = phantom_scan(2), phantom_scan(3, 5)
    second.case_id = "b"
    pools = SlicePools([first, second], device=CPU, rehearsal_weight=0.5, threshold=0.5)
    draw = pools.drawer([("b", 3), ("b", 5)], hidden_cases={"b"}, corrected_fraction=0.5, foreground_fraction=0.5)
    assert drawn(draw) == set(range(8))


def test_slices_that_were_not_asked_about_are_not_learned() -> None:
    scan = phantom_scan(2, 4)
    scan.predicted = np.isin(np.arange(8), (2, 4, 6))
    pools = SlicePools([scan], device=CPU, rehearsal_weight=0.5, threshold=0.5)
    assert drawn(pools.drawer([], corrected_fraction=0.5, foreground_fraction=0.5)) == {2, 4, 6}


def test_other_scans_are_left_out_where_the_time_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [phantom_scan(2), *(phantom_scan() for _ in range(4))]
    for scan, name in zip(scans, ("a", "b", "c", "d", SAMPLE), strict=True):
        scan.case_id = name
    for until, kept in ((1.0, ["b", "c", "d", SAMPLE]), (0.0, ["b", SAMPLE])):
        monkeypatch.setattr(time, "perf_counter", lambda: 0.5)
        pools = SlicePools(scans[:1], scans[1:], device=CPU, rehearsal_weight=1.0, threshold=0.5, until=until)
        assert pools.others == kept
        assert len(pools.known) == 8 * (1 + len(kept))
        draw = pools.drawer([], corrected_fraction=0.5, foreground_fraction=0.5)
        assert drawn(draw, count=4000) == set(range(len(pools.known)))
