from dataclasses import replace

import numpy as np

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.working_grid import to_working_grid


def test_a_scan_at_the_working_size_is_left_alone() -> None:
    volume, mask = make_phantom(slices=3, size=48)
    target = mask.astype(np.float32)
    assert to_working_grid(volume, target) == (volume, target)


def test_a_fine_scan_is_halved_with_its_target() -> None:
    volume, mask = make_phantom(slices=3, size=96)
    fine = replace(volume, spacing=(3.0, 0.5, 0.5), spacing_known=True)
    resized, target = to_working_grid(fine, (mask > 0).astype(np.float32))
    assert (resized.shape, target.shape) == ((3, 48, 48), (3, 48, 48))
    assert resized.spacing == (3.0, 1.0, 1.0)
    assert abs(target.sum() * 4 - (mask > 0).sum()) < 0.05 * (mask > 0).sum()
    assert 0 <= target.min() <= target.max() <= 1
