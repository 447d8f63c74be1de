"""Changes of whole slices that napari's own undo and redo take back and repeat."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet_seg.widgets.layers import shown_mask
from napari_unet_seg.working_mask import Plane

if TYPE_CHECKING:
    from napari.layers import Labels


class SliceHistory:
    """Writes slices of a Labels layer, and sets marks on them, as steps of the layer's history.

    A mark, such as "accepted", changes no pixel, so napari's history has no step for it. One is put there that writes
    a pixel's own value; whether it lies among the steps done or undone tells whether the mark holds.

    Parameters
    ----------
    layer : Labels
        ``(Z, Y, X)`` or ``(Y, X)``.
    set_mark : callable
        ``(slice, marked)``; called when a mark is set, undone or redone.
    """

    def __init__(self, layer: Labels, *, set_mark: Callable[[int, bool], None]) -> None:
        self.layer = layer
        self._set_mark = set_mark
        self._marks: list[_Mark] = []

    def write(self, planes: Mapping[int, Plane], *, unmark: Collection[int] = ()) -> list[int]:
        """Write slices ``(Y, X)``, as one step of the history; those that changed.

        Where one of `unmark` changes, its mark is taken back with the same step.
        """
        data = shown_mask(self.layer)
        changed = {z: plane for z, plane in planes.items() if not np.array_equal(data[z], plane)}
        if not changed:
            return []
        depth = np.array(sorted(changed))
        new = np.stack([changed[z] for z in depth])
        places = np.nonzero(np.asarray(data[depth]) != new)
        values = new[places]
        if not self.layer.visible:
            # napari takes no slice of a hidden layer, but writes into the one in view all the same.
            self.layer.set_view_slice()
        with self.layer.block_history():
            for label in np.unique(values):
                z, y, x = (part[values == label] for part in places)
                indices = (y, x) if self.layer.ndim == 2 else (depth[z], y, x)
                self.layer.data_setitem(indices, int(label), refresh=False)
            for z in changed.keys() & set(unmark):
                self.mark(z, False)
        self.layer.refresh()
        return [int(z) for z in depth]

    def mark(self, z: int, marked: bool) -> None:
        """Set or take back the mark of a slice, as a step of the history."""
        place = tuple(np.array([index]) for index in ((0, 0) if self.layer.ndim == 2 else (z, 0, 0)))
        value = np.array(self.layer.data[place], copy=True)
        step = (place, value, value)
        self._marks.append(_Mark(step, z, marked))
        # There is no public way to add a step that changes nothing.
        self.layer._save_history(step)
        self._set_mark(z, marked)

    def follow(self) -> None:
        """Set the marks as undo and redo have left them."""
        if not self._marks:
            return
        done, undone = _steps(self.layer._undo_history), _steps(self.layer._redo_history)
        # The latest is undone first, and redone last. In neither, the history has forgotten the step: the mark stays.
        for mark in reversed(self._marks):
            if mark.done and id(mark.step) in undone:
                mark.done = False
                self._set_mark(mark.z, not mark.marked)
        for mark in self._marks:
            if not mark.done and id(mark.step) in done:
                mark.done = True
                self._set_mark(mark.z, mark.marked)

    def forget_marks(self) -> None:
        """Let no undo change a mark any more: the slices were saved."""
        self._marks.clear()


class _Mark:
    def __init__(self, step: Any, z: int, marked: bool) -> None:
        self.step, self.z, self.marked, self.done = step, z, marked, True


def _steps(history: Any) -> set[int]:
    return {id(step) for item in history for step in item}
