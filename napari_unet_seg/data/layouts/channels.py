"""Channels that lie in a file each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_unet_seg.data.formats import image_file, nifti
from napari_unet_seg.data.formats.extensions import is_nifti
from napari_unet_seg.data.formats.grid import elsewhere, same_grid
from napari_unet_seg.data.volume import ASSUMED_SIZE, Array, Volume
from napari_unet_seg.errors import InputError


def read_channels(files: Sequence[tuple[str, Path]], *, reference: Path, notes: Sequence[str] = ()) -> Volume:
    """Read files that lie on one grid as the channels of one volume.

    Parameters
    ----------
    files : sequence of (str, Path)
        Name of the channel and its file.
    reference : Path
        The one of them whose geometry the volume takes.
    notes : sequence of str
        Notes of the layout, before those of the files.

    Raises
    ------
    InputError
        If a file cannot be read, holds several channels or lies on another grid than the reference.
    """
    for _, path in files:
        _check_grid(path, reference)
    data: list[Array] = []
    said = list(notes)
    volumes = {path: image_file.read_image(path) for _, path in files}
    for path, one in volumes.items():
        if len(one.data) != 1:
            raise InputError(f"holds {len(one.data)} channels; a sequence has one", path=path)
        data.append(one.data[0])
        # Of the spacing the reference alone has a say.
        own = [note for note in one.notes if path == reference or not note.endswith(ASSUMED_SIZE)]
        said += [note for note in own if note not in said]
    geometry = volumes[reference]
    return Volume(
        data=np.stack(data),
        channel_names=tuple(name for name, _ in files),
        spacing=geometry.spacing,
        affine=geometry.affine,
        spacing_known=geometry.spacing_known,
        source=reference.parent,
        notes=tuple(said),
    )


def _check_grid(path: Path, reference: Path) -> None:
    shape, expected = image_file.read_shape(path), image_file.read_shape(reference)
    if shape != expected:
        raise InputError(
            f"has shape {shape} but {reference.name} {expected} (Z, Y, X); resample the sequences to one grid",
            path=path,
        )
    if not is_nifti(path.name):
        return
    grid, wanted = nifti.read_grid(path), nifti.read_grid(reference)
    if not same_grid(grid, wanted):
        raise InputError(elsewhere(grid, wanted, name=reference.name), path=path)
