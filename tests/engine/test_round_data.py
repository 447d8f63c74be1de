import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch

from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.sample import own_sample
from napari_unet_seg.engine import round_data
from napari_unet_seg.engine.round_clock import RoundClock
from napari_unet_seg.engine.round_data import SAMPLE, Scan, read_round
from napari_unet_seg.engine.slice_pools import SlicePools
from napari_unet_seg.errors import InputError
from tests.engine.datasets import SIZE, SLICES, write_phantoms

ROLES = ("pre", "flair", "post")
CPU = torch.device("cpu")


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


def test_copies_of_a_scan_are_not_kept_in_mind(tmp_path: Path) -> None:
    write_phantoms(tmp_path, "abcd", masks="abc")
    for name, copy in ("ax", "by", "dz"):
        (tmp_path / copy).mkdir()
        for file in (tmp_path / name).iterdir():
            shutil.copy(file, tmp_path / copy / file.name.replace(name, copy, 1))
    dataset = open_dataset(tmp_path)
    dataset.save_correction("a", np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[2, 4])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    # That of a corrected one would tell what is held back, one of two alike what the round is checked by.
    assert names(data.corrected) == "a"
    assert sorted(names(data.labelled)) in (["b", "c"], ["c", "y"])
    assert names(data.unlabelled) in ("d", "z")


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


def test_a_scan_with_nothing_but_noise_corrected_is_one_of_the_others(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "abc", masks="b"))
    noise = (np.random.default_rng(0).random((SLICES, SIZE, SIZE)) > 0.5).astype(np.uint8)
    dataset.save_correction("a", np.zeros_like(noise), slices=[2])
    for name in "bc":
        dataset.save_correction(name, noise, slices=[4])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    # Learned from as a corrected scan, its other masks would then speak for the round.
    assert (names(data.corrected), names(data.labelled), names(data.unlabelled)) == ("a", "b", "c")
    assert data.speckled == [("b", 4), ("c", 4)]
    assert np.flatnonzero(~data.labelled[0].labelled).tolist() == [4]


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


def test_a_mask_file_that_is_gone_is_no_empty_slice(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "a", masks=""))
    dataset.save_correction("a", np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2, 4])
    (tmp_path / "a" / "a_3_mask.tif").unlink()
    data = read_round(open_dataset(tmp_path), scope="scan", case="a", channel_names=ROLES)
    assert data.corrected[0].corrected == (4,)
    (tmp_path / "a" / "a_5_mask.tif").unlink()
    with pytest.raises(InputError, match="the masks of the corrected slices are gone"):
        read_round(open_dataset(tmp_path), scope="scan", case="a", channel_names=ROLES)


def test_a_damaged_mask_is_not_learned_from_and_told_of(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "a", masks="a"))
    dataset.save_correction("a", np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2, 4])
    (tmp_path / "a" / "a_3_mask.tif").write_bytes(b"damaged")
    data = read_round(open_dataset(tmp_path), scope="model", case=None, channel_names=ROLES)
    (scan,) = data.corrected
    assert scan.corrected == (4,)
    assert np.flatnonzero(~scan.labelled).tolist() == [2]
    (said,) = data.left_out
    assert said.startswith("a mask of case a was left out (")
    assert "a_3_mask.tif: this is not a TIFF file" in said


def test_a_scan_that_cannot_be_used_does_not_stop_the_others(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "abc", masks="b"))
    for z in range(SLICES):
        tifffile.imwrite(tmp_path / "c" / f"c_{z + 1}.tif", np.zeros((SIZE, SIZE, 3), np.uint8))
    dataset.save_correction("a", np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert ([scan.case_id for scan in data.labelled], data.unlabelled) == (["b"], [])


def test_a_corrected_case_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    dataset = open_dataset(write_phantoms(tmp_path, "ab", masks=""))
    for name in "ab":
        dataset.save_correction(name, np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    (tmp_path / "b" / "b_4.tif").write_bytes(b"damaged")
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert [scan.case_id for scan in data.corrected] == ["a"]
    (said,) = data.left_out
    assert said.startswith("case b was left out (")
    (tmp_path / "a" / "a_4.tif").write_bytes(b"damaged")
    with pytest.raises(InputError, match="_4"):
        read_round(dataset, scope="model", case=None, channel_names=ROLES)


def test_a_corrected_case_of_impossible_pixels_is_told_of(tmp_path: Path) -> None:
    for name, spacing in (("a", 1.0), ("b", 80.0)):
        image = np.random.default_rng(0).integers(0, 200, (64, 64, 4), dtype=np.uint8)
        nib.save(nib.Nifti1Image(image, np.diag([spacing, spacing, 3.0, 1.0])), tmp_path / f"{name}.nii.gz")
    dataset = open_dataset(tmp_path)
    for name in "ab":
        dataset.save_correction(name, np.ones((4, 64, 64), np.uint8), slices=[2])
    data = read_round(dataset, scope="model", case=None, channel_names=("flair",))
    assert [scan.case_id for scan in data.corrected] == ["a"]
    (said,) = data.left_out
    assert said.startswith("case b was left out (")


def many(folder: Path) -> Dataset:
    """Three corrected cases, four more with masks and three without."""
    dataset = open_dataset(write_phantoms(folder, "abcdefghij", masks="defg"))
    for name in "cab":
        dataset.save_correction(name, np.ones((SLICES, SIZE, SIZE), np.uint8), slices=[2])
    return dataset


def names(scans: list[Scan]) -> str:
    return "".join(scan.case_id for scan in scans if scan.case_id != SAMPLE)


@pytest.mark.parametrize(
    ("seconds", "corrected", "left_out"),
    [
        (1000.0, "abc", []),
        (100.0, "ab", ["1 corrected case did not fit into the time: give it more"]),
        (1.0, "b", ["2 corrected cases did not fit into the time: give it more"]),
    ],
)
def test_in_short_time_the_last_corrected_are_read_and_some_of_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, corrected: str, left_out: list[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    read = round_data._read

    def slow(case: Case, channel_names: Sequence[str], *, scan_alone: bool) -> Scan:
        now[0] += 10
        return read(case, channel_names, scan_alone=scan_alone)

    monkeypatch.setattr(round_data, "_read", slow)
    data = read_round(many(tmp_path), scope="model", case=None, channel_names=ROLES, clock=RoundClock(seconds=seconds))
    assert (names(data.corrected), data.left_out) == (corrected, left_out)
    found = len(data.labelled), len(data.unlabelled)
    assert found == ((4, 3) if seconds == 1000 else (1, 1))


def test_in_little_memory_no_more_than_one_of_each_kind_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = many(tmp_path)
    everything = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert len(everything.corrected) == 3
    monkeypatch.setattr(round_data, "_MOST_BYTES", everything.corrected[0].nbytes)
    data = read_round(dataset, scope="model", case=None, channel_names=ROLES)
    assert names(data.corrected) == "b"
    assert (len(data.labelled), len(data.unlabelled)) == (1, 1)
    # The first of those that are there at other times.
    assert data.labelled[0].case_id == everything.labelled[0].case_id
    assert data.left_out == ["2 corrected cases did not fit into the memory"]
