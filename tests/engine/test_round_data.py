from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.sample import own_sample
from napari_unet_seg.engine.round_data import SAMPLE, Scan, SlicePools, is_speckled, read_round
from napari_unet_seg.errors import InputError
from tests.engine.datasets import SIZE, SLICES, write_phantoms

ROLES = ("pre", "flair", "post")
CPU = torch.device("cpu")


def drawn(draw: object, *, count: int = 400) -> set[int]:
    return set(draw(count, torch.Generator().manual_seed(0)).tolist())  # type: ignore[operator]


def test_noise_is_told_from_masks() -> None:
    rng = np.random.default_rng(0)
    disc = (np.hypot(*np.mgrid[-16:16, -16:16]) < 6).astype(np.uint8)
    assert not is_speckled(disc)
    assert not is_speckled(np.zeros((32, 32), np.uint8))
    assert is_speckled((rng.random((32, 32)) > 0.5).astype(np.uint8))
    assert is_speckled((rng.random((64, 64)) > 0.95).astype(np.uint8))
    assert is_speckled((rng.random((64, 64)) > 0.2).astype(np.uint8))
    small = np.zeros((32, 32), np.uint8)
    small[3, 3:8] = 1
    assert not is_speckled(small)
    lesions = np.zeros((256, 256), np.uint8)
    for row in range(8):
        lesions[10 * row : 10 * row + 2, 40:43] = 1
    assert not is_speckled(lesions)
    distance = np.hypot(*np.mgrid[-128:128, -128:128])
    assert not is_speckled(((distance > 50) & (distance < 52)).astype(np.uint8))


def test_a_scan_is_learned_from_its_corrected_slices_alone(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "ab", masks="a"))
    mask = dataset["a"].read_mask()
    assert mask is not None
    dataset.save_correction("a", mask, slices=[3, 5])
    data = read_round(dataset, scope="scan", case="a", channel_names=ROLES)
    assert [scan.case_id for scan in data.corrected] == ["a"]
    assert data.corrected[0].corrected == (3, 5)
    assert np.flatnonzero(data.corrected[0].labelled).tolist() == [3, 5]
    assert (data.labelled, data.unlabelled, data.count()) == ([], [], 2)


def test_the_model_keeps_the_other_cases_in_mind(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "abcd", masks="bc"))
    dataset.save_correction("a", np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert [scan.case_id for scan in data.corrected] == ["a"]
    assert sorted(scan.case_id for scan in data.labelled) == ["b", "c"]
    assert [scan.case_id for scan in data.unlabelled] == ["d"]


def test_where_nothing_else_is_labelled_the_sample_is_kept_in_mind_too(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "ab", masks=""))
    dataset.save_correction("a", np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert [scan.case_id for scan in data.unlabelled] == ["b", SAMPLE]
    sample = data.unlabelled[1]
    # Not its mask, but what the parent says of it: it stands for the scans that the parent comes from.
    assert not sample.labelled.any()
    for scan in (data.corrected[0], sample):
        scan.probability = np.zeros(scan.mask.shape, np.float32)
    pools = SlicePools([data.corrected[0], sample], device=CPU, rehearsal_weight=1.0, threshold=0.5)
    assert pools.store.images.shape[0] == SLICES + len(sample.mask)
    # It does not make small scans cost more.
    assert pools.size == (SIZE, SIZE)
    adapting = read_round(dataset, scope="scan", case="a", channel_names=ROLES)
    assert adapting.unlabelled == []


def test_a_corrected_sample_is_not_kept_as_it_was(tmp_path: Path) -> None:
    dataset = open_dataset(own_sample(tmp_path))
    mask = dataset.cases[0].read_mask()
    assert mask is not None
    dataset.save_correction(dataset.cases[0].case_id, mask, slices=[12])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert [scan.corrected for scan in data.corrected] == [(12,)]
    assert data.unlabelled == []


def test_noise_is_not_learned(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "a", masks=""))
    noise = (np.random.default_rng(0).random((SLICES, SIZE, SIZE)) > 0.5).astype(np.uint8)
    noise[4] = 0
    noise[4, 10:30, 10:30] = 1
    dataset.save_correction("a", noise, slices=[2, 4])
    data = read_round(dataset, scope="scan", case="a", channel_names=ROLES)
    assert data.corrected[0].corrected == (4,)
    assert data.speckled == [("a", 2)]


def test_nothing_corrected_is_said(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "ab", masks="a"))
    with pytest.raises(InputError, match="no slice of case a is corrected yet; correct and save some first"):
        read_round(dataset, scope="scan", case="a", channel_names=ROLES)
    with pytest.raises(InputError, match="no slice is corrected yet"):
        read_round(dataset, scope="model", case=None, channel_names=ROLES)


def test_a_correction_taken_back_is_none(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "a", masks="a"))
    saved = dataset.save_correction("a", np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    dataset.revert(saved.id)
    with pytest.raises(InputError, match="no slice of case a is corrected"):
        read_round(dataset, scope="scan", case="a", channel_names=ROLES)


def phantom_scan(*corrected: int, probability: float | None = 0.0) -> Scan:
    volume, mask = make_phantom(slices=8, size=48)
    labelled = np.isin(np.arange(8), corrected)
    said = None if probability is None else np.full(mask.shape, probability, np.float32)
    return Scan(case_id="a", volume=volume, mask=mask, corrected=corrected, labelled=labelled, probability=said)


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
    draw = pools.drawer([("b", 3), ("b", 5)], whole_cases=True, corrected_fraction=0.5, foreground_fraction=0.5)
    assert drawn(draw) == set(range(8))


def test_a_mask_file_that_is_gone_is_no_empty_slice(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "a", masks=""))
    dataset.save_correction("a", np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2, 4])
    (tmp_path / "a" / "a_3_mask.tif").unlink()
    data = read_round(open_dataset(tmp_path), scope="scan", case="a", channel_names=ROLES)
    assert data.corrected[0].corrected == (4,)
    (tmp_path / "a" / "a_5_mask.tif").unlink()
    with pytest.raises(InputError, match="the masks of the corrected slices are gone"):
        read_round(open_dataset(tmp_path), scope="scan", case="a", channel_names=ROLES)


def test_a_scan_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "abc", masks="b"))
    for z in range(SLICES):
        tifffile.imwrite(tmp_path / "c" / f"c_{z + 1}.tif", np.zeros((SIZE, SIZE, 3), np.uint8))
    dataset.save_correction("a", np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert ([scan.case_id for scan in data.labelled], data.unlabelled) == (["b"], [])


def test_slices_that_were_not_asked_about_are_not_learned() -> None:
    scan = phantom_scan(2, 4)
    scan.predicted = np.isin(np.arange(8), (2, 4, 6))
    pools = SlicePools([scan], device=CPU, rehearsal_weight=0.5, threshold=0.5)
    assert drawn(pools.drawer([], corrected_fraction=0.5, foreground_fraction=0.5)) == {2, 4, 6}
