"""What napari.yaml names: thin functions over the data code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Case

LayerData = tuple[Any, dict[str, Any], str]
PathLike = str | Path


def get_reader(path: PathLike | list[PathLike]) -> Callable[[PathLike | list[PathLike]], list[LayerData]] | None:
    """A reader for a scan or a folder of scans; None, so that other readers get their turn, for anything else.

    Names alone are looked at here, no pixels.
    """
    from napari_unet_seg.data.dataset import open_dataset
    from napari_unet_seg.errors import InputError

    if isinstance(path, list):
        return None
    path = Path(path)
    try:
        dataset = open_dataset(path)
    except InputError:
        return None
    # A folder of any images is not ours to claim: napari stacks it.
    return None if path.is_dir() and dataset.layout == "files" else read


def read(path: PathLike | list[PathLike]) -> list[LayerData]:
    """The first case at a path as layers: an image a sequence, and the mask as labels.

    Raises
    ------
    InputError
        If the scan cannot be read.
    """
    from napari_unet_seg.data.dataset import open_dataset

    assert not isinstance(path, list)
    return layers_of(open_dataset(Path(path)).cases[0])


def sample() -> list[LayerData]:
    """The embedded sample case."""
    from napari_unet_seg.data.sample import sample_case_path

    return read(sample_case_path())


def layers_of(case: Case) -> list[LayerData]:
    """A case as napari's layer data tuples, FLAIR on top of the images and the mask on top of all."""
    from napari_unet_seg.widgets.layers import image_layers, truth_layer

    volume, truth = case.read_image(), case.read_mask()
    layers: list[LayerData] = [(pixels, arguments, "image") for pixels, arguments in image_layers(volume)]
    if truth is not None:
        mask, arguments = truth_layer(truth, volume)
        layers.append((mask, arguments, "labels"))
    return layers
