"""Which slices of a scan a number format may have decided, pieces and all.

Half the digits change few pixels of a mask, and those lie on its border. But a single pixel may join a piece to the
tumour, or make it as large as it takes to stay, and then all of the piece hangs on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.postprocess import foreground_box, mask_from_probability

MARGIN = 0.03
"""By how much a probability in bfloat16 may be off near the threshold. Of the LGG scans, the pixels that bfloat16 takes
across the threshold lie within 0.027 of it."""


def borderline_slices(
    probability: NDArray[np.float32],
    *,
    threshold: float,
    largest_component: bool,
    min_fraction: float,
    margin: float = MARGIN,
) -> list[int]:
    """The slices whose undecided pixels decide whether others, which are sure, stay in the mask.

    Parameters
    ----------
    probability : ndarray
        ``(Z, Y, X)`` of one class.
    threshold, largest_component, min_fraction
        As for `mask_from_probability`.
    margin : float
        Probabilities this near to the threshold are undecided.

    Returns
    -------
    list of int
        In ascending order: those where sure pixels would come or go if all undecided ones were foreground, or none, and
        the ones beside them, as far as they have undecided pixels themselves.
    """
    if not largest_component and min_fraction == 0:
        return []
    box = foreground_box(probability >= threshold - margin)
    if box is None:
        return []
    inside = probability[box]
    masks = [
        mask_from_probability(inside, threshold=level, largest_component=largest_component, min_fraction=min_fraction)
        for level in (threshold - margin, threshold, threshold + margin)
    ]
    sure = inside >= threshold + margin
    hanging = ((masks[0] != masks[1]) | (masks[2] != masks[1])) & sure
    planes = hanging.any(axis=(1, 2))
    beside = planes.copy()
    beside[1:] |= planes[:-1]
    beside[:-1] |= planes[1:]
    undecided = (np.abs(inside - threshold) < margin).any(axis=(1, 2))
    return [int(z) + box[0].start for z in np.flatnonzero(beside & undecided)]
