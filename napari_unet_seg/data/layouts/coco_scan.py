"""One case of a COCO file."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.layouts import coco_edit, coco_json, coco_masks
from napari_unet_seg.data.layouts.coco_edit import ImageLabels
from napari_unet_seg.data.layouts.coco_json import CocoText
from napari_unet_seg.data.layouts.coco_labels import Numbering
from napari_unet_seg.data.layouts.coco_new import CocoBuilder
from napari_unet_seg.data.layouts.slice_files import read_slices, slices_shape
from napari_unet_seg.data.scan import MaskFile, PlainScan
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError


class Picture(NamedTuple):
    """An image of a case."""

    name: str
    """As the JSON has it."""

    path: Path

    size: tuple[int, int] | None
    """``(Y, X)`` as stated, if it is."""


@dataclass(frozen=True, kw_only=True)
class CocoScan(PlainScan):
    """An image, or the images of a sub-folder as slices in natural order."""

    case_id: str
    json: Path
    pictures: tuple[Picture, ...]
    has_mask: bool
    numbering: Numbering
    notes: tuple[str, ...] = ()

    problem: str = ""
    """Why the file cannot be relied on for this case."""

    @property
    def foreground(self) -> int:
        """1, the label of the first category."""
        return 1

    @property
    def classes(self) -> range:
        """The labels of all categories, however high: none is a gray level."""
        return range(1, len(self.numbering.in_use) + len(self.numbering.spare) + 1)

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The JSON."""
        return (self.json,)

    def read_image(self) -> Volume:
        """Read the image, or the images as the slices of one volume; they must be of the size that the JSON states."""
        self._check()
        volume = read_slices([each.path for each in self.pictures], case_id=self.case_id, notes=self.notes)
        self._check_sizes(volume.shape)
        return volume

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the header of the first image."""
        self._check()
        shape = slices_shape([each.path for each in self.pictures])
        self._check_sizes(shape)
        return shape

    def mask_files(self) -> tuple[MaskFile, ...]:
        """The JSON, which holds the masks of other cases too."""
        names = tuple(each.name for each in self.pictures)
        return (MaskFile(path=self.json, slices=tuple(range(len(names))), shared=True, names=names),)

    def decode_mask(self, file: MaskFile, path: Path) -> Array | None:
        """Labels of the images, ``(Z, Y, X)`` int16; None if the file has none of them."""
        self._check()
        coco = coco_json.load(path)
        found = [coco_masks.find_image(coco, each.name) for each in self.pictures]
        if all(image is None for image in found):
            return None
        shape, order = self._slice_shape(), self.numbering.order(coco)
        labels = np.full((len(found), *shape), coco_masks.UNLABELLED, np.int16)
        for z, image in enumerate(found):
            if image is not None:
                labels[z] = coco_masks.read_labels(coco, image, order=order, shape=shape)
        return labels

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The file with other annotations for these images, and not a letter changed elsewhere.

        Raises
        ------
        InputError
            If the file or an image's entry is no longer there, or a label has no category.
        """
        self._check()
        if former is None:
            raise InputError("there is no such file any more; put it back, as it names the images", path=self.json)
        coco = coco_json.read(former)
        wanted: list[ImageLabels] = []
        for each, plane in zip(self.pictures, labels, strict=True):
            image = coco_masks.find_image(coco, each.name)
            if image is None:
                raise InputError(f"{each.name} is no longer among its images; open the folder again", path=self.json)
            wanted.append(ImageLabels(image=image, labels=plane))
        once = coco_json.load(original) if original is not None else None
        return _content(coco_edit.with_labels(coco, wanted, numbering=self.numbering, original=once))

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>.coco.json`` with the images of the case alone, and the categories of the dataset."""
        shape = self.read_shape()
        if mask.shape != shape:
            raise InputError(f"the mask has shape {mask.shape} but the case {shape} (Z, Y, X)", path=self.json)
        coco = coco_json.load(self.json)
        order = self.numbering.order_for(coco, np.unique(mask).tolist())
        builder = CocoBuilder()
        for each, plane in zip(self.pictures, mask, strict=True):
            builder.add(each.name, plane, categories=order)
        base = Path(folder) / self.case_id
        target = base.with_name(f"{base.name}.coco.json")
        atomic.refuse_overwriting([target], inputs=[self.json])
        categories = [entry.value for entry in coco.categories]
        atomic.write_bytes(target, builder.content(categories, in_use=order[: max(int(mask.max()), 1)]))
        return target

    def _slice_shape(self) -> tuple[int, int]:
        size = self.pictures[0].size
        if size is not None and all(each.size == size for each in self.pictures):
            return size
        _, height, width = self.read_shape()
        return height, width

    def _check(self) -> None:
        if self.problem:
            raise InputError(self.problem, path=self.json)

    def _check_sizes(self, shape: tuple[int, int, int]) -> None:
        if shape[0] != len(self.pictures):
            raise InputError(f"holds {shape[0]} slices; COCO outlines one", path=self.pictures[0].path)
        height, width = shape[1:]
        for each in self.pictures:
            if each.size not in (None, (height, width)):
                stated = f"{each.size[1]}x{each.size[0]}" if each.size else ""
                raise InputError(
                    f"is {width}x{height} pixels, but {self.json.name} says {stated}; export the dataset again",
                    path=each.path,
                )


def _content(coco: CocoText) -> bytes:
    return (codecs.BOM_UTF8 if coco.bom else b"") + coco.text.encode()
