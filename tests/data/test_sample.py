from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.sample import own_sample, sample_case_path

NAMES = ("t1", "flair", "t1ce", "mask")


@pytest.fixture(scope="module")
def sample() -> dict[str, nib.Nifti1Image]:
    return {name: nib.load(sample_case_path() / f"sample_{name}.nii.gz") for name in NAMES}


def pixels(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj)


def test_is_small_enough_for_the_wheel() -> None:
    assert sum(path.stat().st_size for path in sample_case_path().iterdir()) <= 2_000_000


def test_files_share_one_grid(sample: dict[str, nib.Nifti1Image]) -> None:
    reference = sample["flair"]
    assert reference.header.get_zooms() == (1.0, 1.0, 5.0)
    assert nib.aff2axcodes(reference.affine) == ("L", "P", "S")
    for image in sample.values():
        assert image.shape == reference.shape
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(image.affine, reference.affine)


def test_mask_is_one_lesion_in_some_slices(sample: dict[str, nib.Nifti1Image]) -> None:
    mask = pixels(sample["mask"])
    assert set(np.unique(mask)) == {0, 1}
    filled = mask.any((0, 1))
    assert filled.any()
    assert not filled.all()
    assert 20 < mask.sum() * 5 / 1000 < 100  # ml; a voxel is 5 cubic millimetres


def test_contrasts_are_those_of_a_glioma(sample: dict[str, nib.Nifti1Image]) -> None:
    mask = pixels(sample["mask"]) > 0
    pre, flair, post = (pixels(sample[name]).astype(int) for name in ("t1", "flair", "t1ce"))
    brain = (flair > 30) & (flair < 100) & ~mask
    assert np.median(flair[mask]) > 1.3 * np.median(flair[brain])
    assert np.median(pre[mask]) < np.median(pre[brain])
    assert np.percentile((post - pre)[mask], 98) > 30


def test_the_user_s_copy_keeps_what_was_corrected(tmp_path: Path) -> None:
    copy = own_sample(tmp_path)
    dataset = open_dataset(copy)
    case = dataset.cases[0]
    mask = np.ones(case.read_image().shape, np.uint8)
    dataset.save_correction(case.case_id, mask, [3])
    assert own_sample(tmp_path) == copy
    assert open_dataset(copy).cases[0].read_mask()[3].all()
    assert not (sample_case_path() / ".unetseg").exists()


def test_where_nothing_can_be_written_the_sample_itself_is_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert own_sample(tmp_path / "file") == sample_case_path()
