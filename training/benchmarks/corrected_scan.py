"""What the benchmarks of retraining share: a scan with corrected slices, and a place for models of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.phantom import write_kaggle


def write_corrected_scan(folder: Path, *, slices: int, size: int, corrected: int = 3) -> Dataset:
    """A phantom of which a few slices through the middle of the lesion are corrected and nothing else is labelled."""
    root = write_kaggle(folder, patients=1, slices=slices, size=size)
    labelled = open_dataset(root)
    truth = labelled.cases[0].read_mask()
    assert truth is not None
    for path in root.rglob("*_mask.tif"):
        path.unlink()
    dataset = open_dataset(root)
    areas = truth.sum(axis=(1, 2))
    chosen = sorted(int(z) for z in areas.argsort()[::-1][:corrected])
    dataset.save_correction(dataset.cases[0].case_id, truth, chosen, model="default", annotator="benchmark")
    return dataset


@contextmanager
def own_models(folder: Path) -> Iterator[None]:
    """Keep models in a folder, in this process and its children, so that no benchmark touches the user's."""
    former = os.environ.get("NAPARI_UNET_SEG_HOME")
    os.environ["NAPARI_UNET_SEG_HOME"] = str(folder)
    try:
        yield
    finally:
        if former is None:
            del os.environ["NAPARI_UNET_SEG_HOME"]
        else:
            os.environ["NAPARI_UNET_SEG_HOME"] = former
