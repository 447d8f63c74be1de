"""Which category each label stands for, in all splits of a dataset.

Label n is the n-th of the categories in use, in the order of their ids. In use is what has an annotation in some split,
or is marked by ``"in_use": true``. A category is told by its id; where splits give an id different names, or a name
different ids, by its name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from napari_unet_seg.data.layouts.coco_json import CocoText
from napari_unet_seg.errors import InputError

Key = int | str
"""What a category is told by: its id, or its name in small letters."""


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """The labels of a dataset's categories, as they were when it was opened."""

    by_name: bool = False
    """Whether names tell categories apart."""

    in_use: tuple[Key, ...] = ()
    """Categories of label 1, 2, ..."""

    spare: tuple[Key, ...] = ()
    """Those of further labels, once there are any."""

    @classmethod
    def of(cls, splits: Sequence[CocoText]) -> Numbering:
        """That of some splits, in whatever order they are given."""
        by_name = _contradict(splits)
        places: dict[Key, int] = {}
        used: set[Key] = set()
        parents: set[Key] = set()
        for coco in splits:
            keys = _keys(coco, by_name=by_name)
            for number, key in keys.items():
                places[key] = max(places.get(key, number), number)
            used.update(keys[number] for number in coco.label_order)
            parents.update(keys[number] for number in _parents(coco))
        order = sorted(places, key=lambda key: (places[key], str(key)))
        last = max((order.index(key) for key in used), default=-1)
        return cls(
            by_name=by_name,
            in_use=tuple(key for key in order if key in used),
            spare=tuple(key for key in order[last + 1 :] if key not in parents),
        )

    def order(self, coco: CocoText) -> list[int | None]:
        """The ids that a file has for the categories of label 1, 2, ...; None for one that it lacks.

        Those that nobody knew of when the dataset was opened come last.
        """
        keys = _keys(coco, by_name=self.by_name)
        numbers = {key: number for number, key in keys.items()}
        order = [numbers.get(key) for key in (*self.in_use, *self.spare)]
        order += [number for number in coco.label_order if number not in order]
        known = [number for number in order if number is not None]
        spare = sorted(keys.keys() - _parents(coco))
        return order + [number for number in spare if not known or number > max(known)]

    def order_for(self, coco: CocoText, labels: Collection[int]) -> list[int | None]:
        """As `order`, where a file is to have some labels.

        Raises
        ------
        InputError
            If it lacks the category of one of them, or one before that nothing else keeps in its place.
        """
        order = self.order(coco)
        keys = (*self.in_use, *self.spare)
        for label in sorted({*labels, *range(len(self.in_use) + 1, max(labels, default=0) + 1)} - {0}):
            if label > len(order):
                raise InputError(
                    f"has no category for label {label}; add one to its categories, with a higher id than the others",
                    path=coco.path,
                )
            if order[label - 1] is None:
                raise InputError(
                    f"has no category for label {label}, which is category {keys[label - 1]!r} of other splits; "
                    "add it to its categories",
                    path=coco.path,
                )
        return order

    def added(self, order: Sequence[int | None], high: int) -> set[int]:
        """The categories that get their label by being used up to `high`."""
        return {number for number in order[len(self.in_use) : high] if number is not None}


def _keys(coco: CocoText, *, by_name: bool) -> Mapping[int, Key]:
    """What the categories of a file are told by, under their ids; those without a name of their own by the id."""
    names = _names(coco)
    times = Counter(names.values())
    return {number: name if by_name and name and times[name] == 1 else number for number, name in names.items()}


def _names(coco: CocoText) -> dict[int, str]:
    """The name of every category that is listed or has an annotation; ``""`` where it has none."""
    names = dict.fromkeys(coco.label_order, "")
    for entry in reversed(coco.categories):
        name = entry.value.get("name")
        names[entry.value["id"]] = name.strip().casefold() if isinstance(name, str) else ""
    return names


def _parents(coco: CocoText) -> set[int]:
    """Ids of the categories that are the parent of another: Roboflow lists it as a category of its own."""
    families = [(entry.value.get("supercategory"), entry.value.get("name")) for entry in coco.categories]
    parents = {parent for parent, name in families if isinstance(parent, str) and parent != name}
    names = [(entry.value["id"], entry.value.get("name")) for entry in coco.categories]
    return {number for number, name in names if isinstance(name, str) and name in parents}


def _contradict(splits: Sequence[CocoText]) -> bool:
    """Whether ids cannot be relied on: one has several names, or a name has other ids in another split."""
    names: dict[int, set[str]] = defaultdict(set)
    ids: dict[str, set[frozenset[int]]] = defaultdict(set)
    for coco in splits:
        found = {number: name for number, name in _names(coco).items() if name}
        for number, name in found.items():
            names[number].add(name)
            ids[name].add(frozenset(one for one, other in found.items() if other == name))
    # A split may have a name twice, if it has it under the others' id as well.
    return any(len(each) > 1 for each in names.values()) or not all(frozenset.intersection(*ids[name]) for name in ids)
