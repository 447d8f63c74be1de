"""What a session opens datasets, models and adaptations with; torch and the layouts are imported when called."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.file_state import signature
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Dataset
    from napari_unet_seg.engine.checkpoint import Description


class Segmenting(Protocol):
    """What the session needs of a model; `engine.segmenter.Segmenter` has it."""

    description: Description
    device_note: str

    def predict(
        self,
        volume: Volume,
        *,
        slices: list[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Probabilities ``(Z, Y, X)`` or ``(K, Z, Y, X)``."""


def open_dataset(path: Path, *, overlay: Path | None = None) -> Dataset:
    """As `data.dataset.open_dataset`."""
    from napari_unet_seg.data.dataset import open_dataset

    return open_dataset(path, overlay=overlay)


def file_stamp(name: str) -> Hashable:
    """What changes when a model's file does; None where there is no file."""
    from napari_unet_seg.engine.registry import Registry

    try:
        return signature(Registry().path(name))
    except InputError:
        return None


@dataclass(frozen=True)
class OwnModel:
    """The model that rounds for a scan went to."""

    name: str
    in_use: bool = True
    """Whether it is adapted to the scan; else what was before is in use again."""


def find_own_model(image_hash: str) -> OwnModel | None:
    """The model that rounds for an image went to; None where there is none."""
    from napari_unet_seg.engine.registry import Registry

    model = Registry().model_of_scan(image_hash)
    return None if model is None else OwnModel(model.name, in_use=model.scope == "scan")


def load_model(name: str) -> Segmenting:
    """As `engine.segmenter.load_model`."""
    from napari_unet_seg.engine.segmenter import load_model

    return load_model(name)
