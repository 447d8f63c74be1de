"""A model's figures as its published project computes them, on the slices that the project's split gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import SliceId
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.postprocess import any_class
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.whole_slices import resized_image, resized_target
from napari_unet_seg.errors import InputError
from training.seed_metrics import SeedMetrics


@dataclass(frozen=True, kw_only=True)
class PredictedSlices:
    """Truth and probability of some slices, in the order in which they were asked for, at the network's own size."""

    slices: tuple[SliceId, ...]
    truth: tuple[Mask, ...]
    """``(Y, X)`` uint8, 0 or 1."""

    probability: tuple[NDArray[np.float16], ...]
    """``(Y, X)``."""


def on_grid(volume: Volume, mask: Mask, size: tuple[int, int] | None) -> tuple[Volume, Mask]:
    """Image and mask at the size a network is trained at, as the training resizes them.

    Parameters
    ----------
    volume : Volume
        ``(C, Z, Y, X)``.
    mask : ndarray
        ``(Z, Y, X)``.
    size : (int, int), optional
        Height and width; None leaves both as they are.
    """
    if size is None or tuple(volume.shape[1:]) == tuple(size):
        return volume, mask
    z, y, x = volume.spacing
    spacing = z, y * volume.shape[1] / size[0], x * volume.shape[2] / size[1]
    scaled = replace(volume, data=resized_image(volume.data, size), spacing=spacing)
    return scaled, resized_target(mask, size, soft=False)


def predict_slices(
    segmenter: Segmenter, dataset: Dataset, slices: Sequence[SliceId], *, size: tuple[int, int] | None
) -> PredictedSlices:
    """Predict slices, each scan read once.

    Parameters
    ----------
    segmenter : Segmenter
        The model.
    dataset : Dataset
        It has the cases.
    slices : sequence of (str, int)
        Case id and slice number.
    size : (int, int), optional
        Height and width that the network was trained at; None for that of the scans.

    Raises
    ------
    InputError
        If there is no slice, or a case cannot be read.
    """
    if not slices:
        raise InputError("the split leaves no slice to score", path=dataset.root)
    numbers: dict[str, list[int]] = {}
    for case_id, z in slices:
        numbers.setdefault(case_id, []).append(z)
    found: dict[SliceId, tuple[Mask, NDArray[np.float16]]] = {}
    for case_id, wanted in numbers.items():
        mask = dataset[case_id].read_mask()
        if mask is None:
            raise InputError(f"case {case_id} has no mask", path=dataset.root)
        dataset[case_id].check_mask()
        volume, truth = on_grid(dataset[case_id].read_image(), mask, size)
        probability = segmenter.predict(volume, slices=wanted)
        soft = any_class(probability)
        for z in wanted:
            found[case_id, z] = (truth[z] > 0).astype(np.uint8), soft[z].astype(np.float16)
    return PredictedSlices(
        slices=tuple(slices),
        truth=tuple(found[one][0] for one in slices),
        probability=tuple(found[one][1] for one in slices),
    )


def seed_figures(predicted: PredictedSlices, *, smooth: float, batch_size: int) -> dict[str, Any]:
    """``dice``, ``iou`` and ``accuracy`` over batches of the project's own size, and ``slices``, their number."""
    metrics = SeedMetrics(smooth)
    for start in range(0, len(predicted.slices), batch_size):
        here = slice(start, start + batch_size)
        metrics.update(_joined(predicted.truth[here]), _joined(predicted.probability[here]))
    return {**metrics.result(), "slices": len(predicted.slices)}


def telling_slices(predicted: PredictedSlices, count: int) -> list[int]:
    """Places of slices worth a picture: tumours from small to large, evenly spread; fewer where there are fewer."""
    areas = np.array([mask.sum() for mask in predicted.truth])
    ordered = [int(place) for place in np.argsort(areas, kind="stable") if areas[place]]
    return list(dict.fromkeys(ordered[place] for place in _spread(len(ordered), count)))


def _spread(length: int, count: int) -> Iterator[int]:
    """Middles of `count` equal parts of ``range(length)``."""
    return (min(length - 1, int((part + 0.5) * length / count)) for part in range(count if length else 0))


def _joined(parts: Sequence[NDArray[Any]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))
