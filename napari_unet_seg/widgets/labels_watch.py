"""Tells of every change to the pixels of a Labels layer, and where."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.scores import Box
from napari_unet_seg.widgets.layers import shown_mask, slice_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

_WHOLE = slice(None)


class LabelsWatch(QObject):
    """Says where a Labels layer may have changed.

    napari has no single event for that, and none that is complete:

    - ``paint`` names the pixels, but an edit made by a call comes *before* its pixels are written, and an edit made
      with the mouse only when the button is released;
    - ``labels_update`` comes with each movement of the brush, after the pixels, but names only the displayed axes;
    - undo and redo, and ``layer.refresh()`` after an assignment to ``layer.data[...]``, redraw (``set_data``) and say
      nothing of where; scrolling redraws just the same; a hidden layer does not even redraw;
    - a new array in ``layer.data`` comes as ``data``.

    So regions are told as soon as they are known, of a moving brush every 0.4 s and when it is lifted. A
    redraw that no scrolling explains means "look everywhere" at once; one that comes with scrolling means it too, but
    a moment later and a few slices at a time, so that nobody waits. `flush` settles at once whatever is still open.

    Parameters
    ----------
    layer : Labels
        ``(Z, Y, X)`` or ``(Y, X)``; given data of more axes, it is not watched until it has others.
    viewer : ViewerModel
        Its dims tell which slice is shown.
    """

    changed = Signal(object)
    """A `Box`, or None for anywhere: read the pixels there again."""
    passed = Signal(object)
    """A `Box` to be read again for caution only: nothing tells of an edit there."""
    replaced = Signal()
    """The layer has another array now."""

    _FRAME_MS = 400
    """Between two looks at a brush that moves: each has the dock redrawn. When it is lifted, there is one more."""
    _SETTLE_MS = 80
    _SWEEP_VOXELS = 5_000_000
    """Looked at in one go while sweeping through the slices: about 2 ms."""

    def __init__(self, layer: Labels, *, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.layer = layer
        self._viewer = viewer
        self._pending: list[Box] = []
        self._unsure = False
        self._swept = 0
        self._blocked = False
        self._view = self._current_view()
        self._shown = slice_of(layer, viewer.dims.point)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._sweep)
        self._frame_timer = QTimer(self)
        self._frame_timer.setSingleShot(True)
        self._frame_timer.timeout.connect(self.settle)
        self._last_frame = 0.0
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._on_labels_update)
        layer.events.set_data.connect(self._on_redrawn)
        layer.events.visible.connect(self._on_unsure)
        layer.events.data.connect(self._on_data)

    def close(self) -> None:
        """Disconnect from the layer."""
        self._timer.stop()
        self._frame_timer.stop()
        events = self.layer.events
        events.paint.disconnect(self._on_paint)
        events.labels_update.disconnect(self._on_labels_update)
        events.set_data.disconnect(self._on_redrawn)
        events.visible.disconnect(self._on_unsure)
        events.data.disconnect(self._on_data)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Say nothing while the owner writes into the layer: it knows where."""
        self._blocked = True
        try:
            yield
        finally:
            self._blocked = False
            self._view = self._current_view()

    def verify(self) -> None:
        """Have everything read again now: even what no event told of, such as an undo in a hidden layer."""
        self._unsure = True
        self.flush()

    def flush(self) -> None:
        """Tell now of everything that is still open."""
        if self._unsure:
            self._timer.stop()
            self._unsure = False
            self._pending.clear()
            self.changed.emit(None)
        else:
            self.settle()

    def settle(self) -> None:
        """Tell now of the edits that are known and have not been told yet."""
        self._frame_timer.stop()
        self._last_frame = time.monotonic()
        pending, self._pending = self._pending, []
        if len({(box[0].start, box[0].stop) for box in pending}) == 1:
            # One box around a whole stroke is read faster than the many of its movements.
            pending = [_around(pending)]
        for box in pending:
            self.changed.emit(box)

    def _on_paint(self, event: Any) -> None:
        if self._is_deaf():
            return
        self._pending += [self._box_of(atom) for atom in event.value]
        # Not now: called from layer.paint(), the pixels are written after this event.
        self._frame_timer.start(0)

    def _on_labels_update(self, event: Any) -> None:
        if self._is_deaf():
            return
        box = [slice(0, length) for length in shown_mask(self.layer).shape]
        if self.layer.ndim > 2 and self.layer.n_edit_dimensions == 2:
            box[0] = slice(self._shown, self._shown + 1)
        spare = self._viewer.dims.ndim - 3
        for axis, start, length in zip(self._viewer.dims.displayed, event.offset, event.data.shape, strict=False):
            if axis - spare >= 0:
                box[axis - spare] = slice(start, start + length)
        if not self._pending:
            self._last_frame = time.monotonic()
        self._pending.append((box[0], box[1], box[2]))
        rest = self._FRAME_MS - round(1000 * (time.monotonic() - self._last_frame))
        if rest <= 0:
            # Within the canvas' own redraw: new numbers a moment later would have the whole window composed once more.
            self.settle()
        else:
            self._frame_timer.start(self._FRAME_MS)

    def _on_redrawn(self) -> None:
        if self._is_deaf():
            return
        view = self._current_view()
        scrolled, self._view = view != self._view, view
        self._shown = slice_of(self.layer, self._viewer.dims.point)
        self._unsure, self._swept = True, 0
        if scrolled:
            self.passed.emit((slice(self._shown, self._shown + 1), _WHOLE, _WHOLE))
            self._timer.start(self._SETTLE_MS)
        else:
            self.flush()

    def _on_unsure(self) -> None:
        if not self._is_deaf():
            self.verify()

    def _on_data(self) -> None:
        if not self._blocked:
            self._pending.clear()
            self._unsure = False
            self._view = self._current_view()
            self.replaced.emit()

    def _sweep(self) -> None:
        if self._is_deaf():
            return
        if not self._unsure:
            self.flush()
            return
        depth, height, width = shown_mask(self.layer).shape
        stop = self._swept + max(1, self._SWEEP_VOXELS // (height * width))
        self.passed.emit((slice(self._swept, min(stop, depth)), _WHOLE, _WHOLE))
        self._swept = stop
        if stop < depth:
            self._timer.start(0)
        else:
            self._unsure = False
            self.flush()

    def _is_deaf(self) -> bool:
        return self._blocked or self.layer.ndim not in (2, 3)

    def _current_view(self) -> tuple[Any, ...]:
        dims = self._viewer.dims
        return dims.point, dims.order, dims.ndisplay

    def _box_of(self, atom: Any) -> Box:
        """The box around one atom of napari's edit history: of a masked edit, or of ``data_setitem``."""
        shape = shown_mask(self.layer).shape
        key = getattr(atom, "slice_key", None)
        if key is None:
            key = tuple(_hull(np.asarray(indices)) for indices in atom[0])
        key = tuple(slice(*part.indices(n)[:2]) for part, n in zip(key, shape[-len(key) :], strict=True))
        z, y, x = (slice(0, 1), *key) if len(key) == 2 else key
        return z, y, x


def _around(boxes: list[Box]) -> Box:
    z, y, x = (
        slice(min(part.start for part in parts), max(part.stop for part in parts)) for parts in zip(*boxes, strict=True)
    )
    return z, y, x


def _hull(indices: Any) -> slice:
    return slice(int(indices.min()), int(indices.max()) + 1) if indices.size else slice(0, 0)
