"""Pictures of a case: the slice with most tumour and the one with most mistakes, plain and with outlines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.report import outline_picture, shown_channel
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CasePicture:
    """One slice: at the left as the scanner shows it, at the right with truth (green) and prediction (magenta)."""

    pixels: NDArray[np.uint8]
    """``(Y, X, 3)``."""

    z: int
    wrong: int
    """Pixels in which truth and prediction differ."""

    why: str
    """Why this slice, in words."""


class CasePictures:
    """Makes the pictures of cases, each with the model that has not seen it; a model is loaded once.

    Parameters
    ----------
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    """

    def __init__(self, *, device: str = "auto") -> None:
        self._device = device
        self._loaded: tuple[Path, Segmenter] | None = None

    def of(self, case: Case, checkpoint: Path) -> list[CasePicture]:
        """One or two pictures of a case; InputError if it has no mask any more."""
        truth = case.read_mask()
        if truth is None:
            raise InputError(f"case {case.case_id} has no mask")
        if self._loaded is None or self._loaded[0] != checkpoint:
            self._loaded = checkpoint, load_model(checkpoint, device=self._device)
        segmenter = self._loaded[1]
        volume = case.read_image()
        y_pred = segmenter.mask(segmenter.predict(volume))
        image = shown_channel(volume, segmenter.description.channel_names)
        return _pictures(image, truth=truth, y_pred=y_pred, labelled=case.labelled_slices())


def _pictures(image: NDArray[Any], *, truth: Mask, y_pred: Mask, labelled: NDArray[np.bool_]) -> list[CasePicture]:
    wrong = ((truth > 0) != (y_pred > 0)).sum(axis=(1, 2)) * labelled
    tumour = (truth > 0).sum(axis=(1, 2)) * labelled
    chosen = {int(wrong.argmax()): "most mistakes"}
    if tumour.any():
        most = int(tumour.argmax())
        chosen[most] = "most tumour and most mistakes" if most in chosen else "most tumour"
    empty = np.zeros_like(truth[0])
    pictures = []
    for z, why in sorted(chosen.items()):
        plain = outline_picture(image[z], truth=empty, y_pred=empty)
        outlined = outline_picture(image[z], truth=truth[z], y_pred=y_pred[z])
        pixels = np.concatenate((plain, outlined), axis=1)
        pictures.append(CasePicture(pixels=pixels, z=z, wrong=int(wrong[z]), why=why))
    return pictures
