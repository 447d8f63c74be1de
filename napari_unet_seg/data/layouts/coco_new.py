"""A new COCO file, and the pictures that it names."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.layouts import coco_masks
from napari_unet_seg.data.layouts.coco_json import IN_USE, LABELLED
from napari_unet_seg.data.layouts.slice_files import CaseNames, encode_slices
from napari_unet_seg.data.layouts.writing import Notes, whole_case
from napari_unet_seg.data.volume import Array, Mask, Volume

ANNOTATIONS = "_annotations.coco.json"


class CocoBuilder:
    """A new COCO file."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(
        self, name: str, labels: Array | None, *, categories: Sequence[int | None], size: tuple[int, int] | None = None
    ) -> None:
        """Add an image with its labels ``(Y, X)``, or with its size if it is unlabelled."""
        height, width = labels.shape if labels is not None else size or (0, 0)
        number = len(self.images)
        image = {"id": number, "file_name": name, "height": height, "width": width}
        parts = coco_masks.components(labels) if labels is not None else []
        if not parts:
            image[LABELLED] = labels is not None
        self.images.append(image)
        for label, plane in parts:
            category = categories[label - 1]
            assert category is not None
            self.annotations.append(
                coco_masks.outline_entry(plane, number=len(self.annotations), image_id=number, category=category)
            )

    def content(self, categories: Sequence[dict[str, Any]], *, in_use: Collection[int | None]) -> bytes:
        """The file, in which some categories have a label whether or not they have an annotation."""
        used = {annotation["category_id"] for annotation in self.annotations}
        listed = []
        for each in categories:
            plain = {key: value for key, value in each.items() if key != IN_USE}
            listed.append(plain | {IN_USE: True} if each["id"] in in_use and each["id"] not in used else plain)
        whole = {"categories": listed, "images": self.images, "annotations": self.annotations}
        return json.dumps(whole, separators=(",", ":")).encode() + b"\n"


class CocoWriter:
    """Writes the images as pictures, and the JSON file last, as it names all of them."""

    HIGHEST = 255

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()
        self._names = CaseNames(self.notes)
        self._builder = CocoBuilder()
        self._highest = 1

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write the images of a case, a sub-folder for those of several slices."""
        name = self._names.take(case_id)
        extension, payloads = encode_slices(volume, notes=self.notes)
        several = len(payloads) > 1
        paths = [f"{name}/{z:04}{extension}" if several else f"{name}{extension}" for z in range(len(payloads))]
        with whole_case() as files:
            for path, payload in zip(paths, payloads, strict=True):
                files.write(self.folder / path, payload)
        categories = list(range(1, self.HIGHEST + 1))
        for z, path in enumerate(paths):
            labels = mask[z] if mask is not None and labelled[z] else None
            self._builder.add(path, labels, categories=categories, size=volume.shape[1:])
            self._highest = max(self._highest, int(labels.max()) if labels is not None else 1)

    def close(self) -> None:
        """Write the JSON file."""
        if not self._builder.images:
            return
        numbers = range(1, self._highest + 1)
        categories = [{"id": n, "name": "tumour" if n == 1 else f"class_{n}", "supercategory": ""} for n in numbers]
        atomic.write_bytes(self.folder / ANNOTATIONS, self._builder.content(categories, in_use=list(numbers)))
