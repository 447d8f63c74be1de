"""The dataset of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet_seg.errors import InputError, reading

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Dataset


def open_for_reading(path: Path, overlay: Path | None) -> Dataset:
    """The dataset of a command that only reads it.

    Raises
    ------
    InputError
        If there is none, or the folder with its corrections is not there: without them, masks would be read
        uncorrected. It is the first save that makes one.
    """
    from napari_unet_seg.data.dataset import open_dataset

    if overlay is not None:
        with reading(overlay):
            there = overlay.expanduser().exists()
        if not there:
            raise InputError(
                "there is no such folder; give --overlay the folder with the corrections, or leave it out", path=overlay
            )
    return open_dataset(path, overlay)
