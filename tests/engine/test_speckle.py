from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_unet_seg.engine.speckle import is_speckled


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


@pytest.mark.parametrize("radius", range(3, 12))
def test_small_round_masks_are_no_noise(radius: int) -> None:
    """The corners that their bounding box has beside them are no holes."""
    rows, columns = np.mgrid[-32:32, -32:32]
    assert not is_speckled((np.hypot(rows, columns) <= radius).astype(np.uint8))
    # A lozenge fills only half of the box.
    assert not is_speckled((np.abs(rows) + np.abs(columns) <= radius).astype(np.uint8))


def test_real_masks_are_no_noise_at_any_size(lgg: Path) -> None:
    """Each of them, and made four times smaller."""
    for path in sorted(lgg.glob("*_mask.tif"))[:10]:
        for plane in tifffile.imread(path):
            assert not is_speckled(plane)
            assert not is_speckled(plane[2::4, 2::4])
