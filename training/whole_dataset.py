"""A dataset to train on or to measure with, of which nothing may be missing unsaid."""

from __future__ import annotations

from pathlib import Path

from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.errors import InputError


def open_whole(path: Path) -> Dataset:
    """The dataset at a path.

    Raises
    ------
    InputError
        If there is none, or part of it cannot be looked into: what was trained or scored without that would pass for
        the whole.
    """
    dataset = open_dataset(path)
    for each in dataset.unread:
        raise InputError(
            "this folder cannot be opened; allow reading it, or move it out of the dataset", path=each.path
        )
    return dataset
