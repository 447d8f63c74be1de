"""Exchanging the masks of some images in a COCO file, while everything else stays as it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.layouts.coco_json import IN_USE, LABELLED, CocoText, Entry
from napari_unet_seg.data.layouts.coco_labels import Numbering
from napari_unet_seg.data.layouts.coco_masks import (
    Image,
    components,
    find_image,
    outline_entry,
    pixels_of,
    read_if_possible,
)
from napari_unet_seg.data.layouts.coco_style import Style
from napari_unet_seg.data.volume import Array


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """What an image is to have."""

    image: Image
    """Its entry in the former file."""

    labels: Array
    """``(Y, X)`` integers; negative throughout if unlabelled."""

    @property
    def labelled(self) -> bool:
        """Whether it has labels, be they all background."""
        return int(self.labels.min()) >= 0


def with_labels(
    former: CocoText, wanted: Sequence[ImageLabels], *, numbering: Numbering, original: CocoText | None
) -> CocoText:
    """The file with other labels for some images.

    Annotations that still fit stay. Images that are to be as they were in the original get its annotations back.

    Parameters
    ----------
    former : CocoText
        The file as it is.
    wanted : sequence of ImageLabels
        What images are to have.
    numbering : Numbering
        What the labels stand for.
    original : CocoText, optional
        The file as it once was.

    Raises
    ------
    InputError
        If a label has no category in the file, or a present annotation is malformed.
    """
    labels = {label for each in wanted for label in np.unique(each.labels).tolist() if label > 0}
    order = numbering.order_for(former, labels)
    edit = _Edit(former, original, order)
    for each in wanted:
        edit.set_labels(each)
    return edit.finish(added=numbering.added(order, max(labels, default=0)))


class _Edit:
    """Changes to the lists of a file, until they are written."""

    def __init__(self, former: CocoText, original: CocoText | None, order: Sequence[int | None]) -> None:
        self.former = former
        self.original = original
        self.order = order
        self.style = Style.of(former)
        self.annotations = list(former.annotations)
        self.labelled = {image.value["id"]: former.labelled(image.value) for image in former.images}
        numbers = [entry.value.get("id") for coco in (former, original) if coco for entry in coco.annotations]
        self._next = max((number for number in numbers if isinstance(number, int)), default=0) + 1

    def set_labels(self, wanted: ImageLabels) -> None:
        """Give an image its labels."""
        image, shape = wanted.image, wanted.labels.shape
        present = read_if_possible(self.former, image, self.order, shape)
        if present is not None and np.array_equal(present, wanted.labels):
            return
        self.labelled[image["id"]] = wanted.labelled
        if self._restore(wanted):
            return
        if not wanted.labelled:
            self.annotations = [entry for entry in self.annotations if self.former.image_id(entry) != image["id"]]
            return
        self._replace(wanted, readable=present is not None)

    def finish(self, *, added: Collection[int]) -> CocoText:
        """The file, in which some categories are in use beside those that were before."""
        annotated = {number for entry in self.annotations if (number := self.former.image_id(entry)) is not None}
        images = [self._flag_image(entry, annotated) for entry in self.former.images]
        used = {entry.value["category_id"] for entry in self.annotations}
        categories = list(self.former.categories)
        in_use = {*added, *self.former.label_order}
        if self.original is not None and _texts(self.annotations) == _texts(self.original.annotations):
            in_use = set(self.original.label_order)
        for index, entry in enumerate(categories):
            number = entry.value["id"]
            needed = number in in_use and number not in used
            if needed != (entry.value.get(IN_USE) is True):
                changed = self.style.with_flag(entry, IN_USE, True if needed else None)
                categories[index] = _as_in(self.original.categories if self.original else (), changed)
        return self.style.written(
            self.former,
            {"images": images, "annotations": self.annotations, "categories": categories},
            model=self.original,
        )

    def _restore(self, wanted: ImageLabels) -> bool:
        """Bring back the annotations that the image had once, if they give what is wanted."""
        if self.original is None:
            return False
        image = find_image(self.original, wanted.image["file_name"])
        if image is None or image["id"] != wanted.image["id"]:
            return False
        once = read_if_possible(self.original, image, self.order, wanted.labels.shape)
        if once is None or not np.array_equal(once, wanted.labels):
            return False
        rest = [entry for entry in self.annotations if self.former.image_id(entry) != image["id"]]
        places: dict[Any, int] = {entry.value.get("id"): index for index, entry in enumerate(rest)}
        back = self.original.by_image.get(image["id"], [])
        if any(entry.value.get("id") in places for entry in back):
            return False
        # Each comes after what it came after.
        before: dict[int, list[Entry]] = {}
        place = 0
        for entry in self.original.annotations:
            if self.original.image_id(entry) == image["id"]:
                before.setdefault(place, []).append(entry)
            elif entry.value.get("id") in places:
                place = places[entry.value.get("id")] + 1
        self.annotations = []
        for index in range(len(rest) + 1):
            self.annotations += before.get(index, []) + rest[index : index + 1]
        return True

    def _replace(self, wanted: ImageLabels, *, readable: bool) -> None:
        image_id = wanted.image["id"]
        own = self.former.by_image.get(image_id, [])
        kept: list[Entry] = []
        missing = wanted.labels
        if readable:
            planes = [pixels_of(self.former, entry, wanted.image, wanted.labels.shape) for entry in own]
            kept, missing = self._keep(own, planes, wanted.labels)
        new = []
        for label, plane in components(missing):
            category = self.order[label - 1]
            assert category is not None
            value = outline_entry(plane, number=self._next, image_id=image_id, category=category)
            new.append(Entry(value, self.style.dumps(value)))
            self._next += 1
        ids = [self.former.image_id(entry) for entry in self.annotations]
        gone = [index for index, number in enumerate(ids) if number == image_id]
        place = gone[-1] + 1 if gone else len(self.annotations)
        keep = {id(entry) for entry in kept}
        head, tail = self.annotations[:place], self.annotations[place:]
        self.annotations = [e for e, of in zip(head, ids, strict=False) if of != image_id or id(e) in keep] + new + tail

    def _keep(
        self, own: Sequence[Entry], planes: Sequence[NDArray[np.bool_]], labels: Array
    ) -> tuple[list[Entry], Array]:
        """The annotations that explain whole components, alone or together, and the labels that are left over."""
        fit = [
            bool(plane.any()) and bool((labels[plane] == self.order.index(entry.value["category_id"]) + 1).all())
            for entry, plane in zip(own, planes, strict=True)
        ]
        parts = np.zeros(labels.shape, np.int32)
        for number, (_, plane) in enumerate(components(labels), start=1):
            parts[plane] = number
        while True:
            covered = np.zeros(labels.shape, bool)
            for use, plane in zip(fit, planes, strict=True):
                covered |= plane & use
            short = np.isin(parts, np.unique(parts[(parts > 0) & ~covered]))
            still = [use and not (plane & short).any() for use, plane in zip(fit, planes, strict=True)]
            if still == fit:
                return [entry for use, entry in zip(fit, own, strict=True) if use], np.where(short, labels, 0)
            fit = still

    def _flag_image(self, entry: Entry, annotated: Collection[int | str]) -> Entry:
        """The entry of an image, so that it is read as labelled, or not, as it is to be."""
        number, flag = entry.value["id"], entry.value.get(LABELLED)
        flag = flag if isinstance(flag, bool) else None
        by_itself = number in annotated or bool(annotated)
        wanted = self.labelled[number]
        shown = by_itself if flag is None else flag
        # Annotations outweigh the flag, but it is not to contradict them.
        right = shown == wanted
        once = self.original.by_name.get(entry.value["file_name"]) if self.original is not None else None
        ours = flag is not None and by_itself == wanted and once is not None and LABELLED not in once.value
        if right and not ours:
            return entry
        changed = self.style.with_flag(entry, LABELLED, None if by_itself == wanted else wanted)
        return _as_in((once,) if once is not None else (), changed)


def _texts(entries: Sequence[Entry]) -> list[str]:
    return [entry.text for entry in entries]


def _as_in(once: Sequence[Entry], entry: Entry) -> Entry:
    """The entry as it is written among others, if one says the same."""
    return next((each for each in once if each.value == entry.value), entry)
