"""What napari.yaml names: thin functions over the data code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_unet_seg.data.dataset import Case
    from napari_unet_seg.data.volume import Mask, Volume

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
    """What lies at a path as layers: an image a sequence, and the ground truth as labels.

    Single pictures of one size, as in a COCO split, become the slices of one stack. Of several scans the first one is
    opened; the others are in the dock's table.

    Raises
    ------
    InputError
        If the scan cannot be read.
    """
    from napari_unet_seg.data.dataset import open_dataset
    from napari_unet_seg.errors import InputError

    assert not isinstance(path, list)
    dataset = open_dataset(Path(path))
    if len(dataset.cases) > 1:
        pictures = read_pictures(dataset.cases)
        if pictures is not None:
            return layers_of(*pictures)
        from napari.utils.notifications import show_info

        count, first = len(dataset.cases), dataset.cases[0].case_id
        show_info(f"{count} scans; {first} is shown. Open the folder in the U-Net dock for the others.")
    case = dataset.cases[0]
    layers = layers_of(case.read_image(), *case.read_truth())
    try:
        case.check_mask()
    except InputError as error:
        from napari.utils.notifications import show_warning

        show_warning(str(error))
    return layers


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer as NIfTI, TIFF or DICOM segmentation, with the geometry of the scan it was drawn on.

    Raises
    ------
    InputError
        If the layer is no mask of a scan, or the file cannot be written.
    """
    from napari_unet_seg.widgets.mask_file import write_mask_file

    write_mask_file(Path(path), data, meta)
    return [path]


def sample() -> list[LayerData]:
    """The embedded sample case."""
    from napari_unet_seg.data.sample import sample_case_path

    return read(sample_case_path())


def read_pictures(cases: Sequence[Case]) -> tuple[Volume, Mask | None, NDArray[np.bool_]] | None:
    """Cases of one slice each as one stack ``(C, Z, Y, X)``, their ground truth ``(Z, Y, X)`` and who has one ``(Z,)``.

    None where a case has several slices or another size than the first.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    import numpy as np

    if any(case.read_shape() != cases[0].read_shape() or case.read_shape()[0] != 1 for case in cases):
        return None
    volumes = [case.read_image() for case in cases]
    first = volumes[0]
    if any(volume.data.shape != first.data.shape for volume in volumes):
        return None
    truths = [case.read_truth() for case in cases]
    planes = [np.zeros(first.shape, np.uint8) if mask is None else mask for mask, _ in truths]
    labelled = np.concatenate([labelled for _, labelled in truths])
    stack = replace(first, data=np.concatenate([volume.data for volume in volumes], axis=1), source=None)
    return stack, np.concatenate(planes) if labelled.any() else None, labelled


def layers_of(volume: Volume, truth: Mask | None, labelled: NDArray[np.bool_]) -> list[LayerData]:
    """A scan as napari's layer data tuples, FLAIR on top of the images and the mask on top of all.

    Parameters
    ----------
    volume : Volume
        ``(C, Z, Y, X)``.
    truth : ndarray, optional
        ``(Z, Y, X)``, the foreground above 0.
    labelled : ndarray
        ``(Z,)`` bool: slices for which there is a truth.
    """
    from napari_unet_seg.widgets.layers import image_layers, truth_layer

    layers: list[LayerData] = [(pixels, arguments, "image") for pixels, arguments in image_layers(volume)]
    if truth is not None:
        mask, arguments = truth_layer(truth, volume, labelled=labelled)
        # A reader cannot ask for an outline, and the image below is to be seen.
        arguments["opacity"] = 0.4
        layers.append((mask, arguments, "labels"))
    return layers
