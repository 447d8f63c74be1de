"""Masks in a COCO file: read, and exchanged for others while everything else stays as it is.

Label n is the n-th of the categories in use, as `coco_labels` says. In use is what has an annotation; a category that
has none any more, or none yet though a higher one has, is marked by ``"in_use": true``, so that labels keep their
meaning. An image without annotations is empty, unless there are none in the whole file: then nobody has labelled it.
``"labelled": true`` or ``false`` in its entry says otherwise, and is written where it has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.layouts.coco_json import CocoText, Entry
from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError

Image = Mapping[str, Any]
"""An image's entry in the file."""

UNLABELLED = -1
_AROUND = np.ones((3, 3), bool)


def read_labels(
    coco: CocoText, image: Image, *, order: Sequence[int | None], shape: tuple[int, int]
) -> NDArray[np.int16]:
    """Labels of an image, ``(Y, X)``, -1 throughout if unlabelled; a later annotation covers an earlier one.

    Parameters
    ----------
    coco : CocoText
        The file.
    image : mapping
        Its entry for the image.
    order : sequence of int or None
        Ids of the categories of label 1, 2, ...; None for one that the file lacks.
    shape : tuple of int
        ``(Y, X)``.

    Raises
    ------
    InputError
        If an annotation is malformed.
    """
    if not coco.labelled(image):
        return np.full(shape, UNLABELLED, np.int16)
    labels = np.zeros(shape, np.int16)
    for entry in coco.by_image.get(image["id"], ()):
        labels[pixels_of(coco, entry, image, shape)] = order.index(entry.value["category_id"]) + 1
    return labels


def outline_entry(plane: NDArray[np.bool_], *, number: int, image_id: int | str, category: int) -> dict[str, Any]:
    """A new annotation of some pixels ``(Y, X)``."""
    from napari_unet_seg.data.layouts import coco_outlines

    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": coco_outlines.to_box(plane),
        "area": int(plane.sum()),
        "segmentation": coco_outlines.to_segmentation(plane),
        # 1 stands for a crowd of uncounted objects, which no component of a mask is, be it stored as run lengths.
        "iscrowd": 0,
    }


def components(labels: Array) -> list[tuple[int, NDArray[np.bool_]]]:
    """Each label with each of its connected parts, ``(Y, X)``; parts that touch at a corner are one."""
    from scipy import ndimage

    found: list[tuple[int, NDArray[np.bool_]]] = []
    for label in np.unique(labels[labels > 0]).tolist():
        parts, count = ndimage.label(labels == label, _AROUND)
        found += [(label, parts == part) for part in range(1, count + 1)]
    return found


def find_image(coco: CocoText, name: str) -> Image | None:
    """The entry of an image by its file name, in whatever version of the file."""
    found = coco.by_name.get(name)
    return found.value if found is not None else None


def read_if_possible(
    coco: CocoText, image: Image, order: Sequence[int | None], shape: tuple[int, ...]
) -> NDArray[np.int16] | None:
    """Labels of an image; None if they are malformed, or have categories without a label."""
    height, width = shape
    try:
        return read_labels(coco, image, order=order, shape=(height, width))
    except ValueError:
        return None


def pixels_of(coco: CocoText, entry: Entry, image: Image, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of an annotation ``(Y, X)``; InputError if it is malformed."""
    from napari_unet_seg.data.layouts import coco_outlines

    height, width = shape
    try:
        return coco_outlines.to_plane(entry.value, height=height, width=width)
    except InputError:
        raise
    except Exception as error:
        # pycocotools says ValueError, TypeError or plain Exception.
        said = str(error) if type(error) is ValueError else "cannot be read; export it again"
        name = f"annotation {entry.value.get('id')} of {image['file_name']}"
        raise InputError(f"{name} {said}", path=coco.path) from error
