"""Work on scans that are not open now."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from napari_unet_seg.case_state import Work

Key = tuple[Path, str]
"""Root of a dataset, and the name of a case in it."""

_MOST = 1 << 29
"""Bytes from which the oldest work is let go, where nothing of it is unsaved."""


class Shelf:
    """Work put aside, to be taken up where it was left."""

    def __init__(self) -> None:
        self._works: dict[Key, Work] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._works

    def get(self, key: Key) -> Work | None:
        """What lies there of a case; it stays."""
        return self._works.get(key)

    def take(self, key: Key) -> Work | None:
        """What lies there of a case, to be worked on."""
        return self._works.pop(key, None)

    def put(self, key: Key, work: Work) -> None:
        """Put work of a case aside."""
        self._works[key] = work

    def note_successor(self, name: str, *, of: Collection[str]) -> None:
        """Whatever these models have segmented is to be segmented anew, by another one, when it is taken up."""
        for work in self._works.values():
            if work.model in of:
                work.successor = name

    def make_room(self) -> None:
        """Let the oldest go that can be had again by segmenting once more; a person's work is kept in any case."""
        spare = sum(work.size for work in self._works.values()) - _MOST
        for key, work in list(self._works.items())[:-1]:
            if spare > 0 and not work.mask.unsaved():
                del self._works[key]
                spare -= work.size
