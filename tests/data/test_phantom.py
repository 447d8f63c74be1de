from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.phantom import make_phantom, write_kaggle


@pytest.mark.parametrize("seed", range(8))
def test_lesion_is_bright_on_flair_in_some_slices(seed: int) -> None:
    volume, mask = make_phantom(seed=seed)
    flair = volume.data[1]
    brain = (flair > 30) & (mask == 0)
    assert np.median(flair[mask > 0]) > 1.3 * np.median(flair[brain])
    filled = mask.any((1, 2))
    assert filled.any()
    assert not filled.all()


def test_shape_type_and_geometry() -> None:
    volume, mask = make_phantom(slices=5, size=33, spacing=(5.0, 0.9, 0.8))
    assert volume.data.shape == (3, 5, 33, 33)
    assert volume.data.dtype == np.uint8
    assert volume.channel_names == ("pre", "flair", "post")
    assert mask.shape == volume.shape
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert volume.spacing == (5.0, 0.9, 0.8)
    np.testing.assert_array_equal(np.abs(np.diag(volume.affine)[:3]), (0.8, 0.9, 5.0))


def test_same_seed_same_head() -> None:
    first, first_mask = make_phantom(seed=3)
    again, again_mask = make_phantom(seed=3)
    other, _ = make_phantom(seed=4)
    np.testing.assert_array_equal(first.data, again.data)
    np.testing.assert_array_equal(first_mask, again_mask)
    assert (first.data != other.data).any()


def test_a_single_slice_shows_the_lesion() -> None:
    _, mask = make_phantom(slices=1)
    assert mask.any()


def test_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="16 pixels a side"):
        make_phantom(size=8)


def test_kaggle_tree_holds_the_phantoms(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path, patients=2, seed=5, slices=4, size=32)
    folders = sorted(root.iterdir())
    assert root.name == "kaggle_3m"
    assert len(folders) == 2
    volume, mask = make_phantom(seed=6, slices=4, size=32)
    stem = folders[1].name
    assert len(list(folders[1].iterdir())) == 8
    image = tifffile.imread(folders[1] / f"{stem}_3.tif")
    np.testing.assert_array_equal(image, np.moveaxis(volume.data[:, 2], 0, -1))
    np.testing.assert_array_equal(tifffile.imread(folders[1] / f"{stem}_3_mask.tif"), mask[2] * 255)
