"""A Labels layer into a file of its own: NIfTI, TIFF or DICOM segmentation, where the layer lies in the patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.errors import InputError
from napari_unet_seg.widgets.label_colours import LAST_LABEL
from napari_unet_seg.widgets.layer_geometry import layer_geometry

if TYPE_CHECKING:
    from napari.layers import Layer


def write_mask_file(path: Path, data: Any, meta: Mapping[str, Any], *, image: Path | None = None) -> None:
    """Save a Labels layer, with the geometry of the scan it was drawn on.

    Parameters
    ----------
    path : Path
        Its ending decides; see `data.export.export_mask`.
    data : array
        ``(Z, Y, X)``, or ``(Y, X)`` for one slice; whole labels from 0 to 255.
    meta : mapping
        As of `layer_geometry`.
    image : Path, optional
        The file of the image, which is never replaced, where the layer's metadata do not tell.

    Raises
    ------
    InputError
        If the layer is no mask of a scan, or the file is the scan's, or cannot be written.
    """
    # It brings the readers of every format along: not before there is something to write.
    from napari_unet_seg.data.export import export_mask

    values = np.asarray(data)
    if values.ndim not in (2, 3):
        raise InputError(f"the layer has {values.ndim} axes; a mask has (Z, Y, X)", path=path)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > LAST_LABEL:
        raise InputError("a mask holds whole labels from 0 to 255; this layer has others", path=path)
    mask = values.astype(np.uint8) if values.ndim == 3 else values.astype(np.uint8)[None]
    known, geometry = meta.get("metadata", {}), layer_geometry(meta)
    source = known.get("source")
    scans = [Path(source)] if isinstance(source, str) else []
    atomic.refuse_overwriting([path], inputs=scans if image is None else [*scans, image])
    # A DICOM segmentation lies where its series does; any other file tells where the layer lies now.
    if not isinstance(source, str) or (geometry.moved and not path.name.lower().endswith(".dcm")):
        source = None
    export_mask(
        path,
        mask,
        spacing=geometry.spacing,
        affine=geometry.affine,
        spacing_known=bool(known.get("spacing_known", True)),
        source=None if source is None else Path(source),
    )


def file_of(image: Layer) -> Path | None:
    """The file, or the folder, that an image layer was read from; None where there is none, or none is known."""
    known = image.metadata.get("source") or image.source.path
    return Path(known) if isinstance(known, str) and Path(known).exists() else None
