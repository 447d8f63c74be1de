"""The Labels layer that shows the session's mask and is painted on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_unet_seg.case_state import Written
from napari_unet_seg.saving import SaveResult
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.label_colours import LAST_LABEL, segmentation_colormap
from napari_unet_seg.widgets.labels_watch import LabelsWatch
from napari_unet_seg.widgets.layers import (
    SEGMENTATION,
    geometry_of,
    shown_mask,
    slice_in_view,
)
from napari_unet_seg.working_mask import WorkingMask

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class SegmentationLayer(QObject):
    """Shows the session's mask, and tells of everything that happens to it.

    Parameters
    ----------
    session : Session
        Its working mask is shown: the layer paints into the session's own array.
    viewer : ViewerModel
    """

    layerChanged = Signal(object)
    """Another layer is the segmentation now, or None."""
    edited = Signal(object)
    """The mask may have changed in a `Box`, or anywhere (None)."""
    passed = Signal(object)
    """A `Box` to be read again for caution only."""
    replaced = Signal()
    """The layer has another array now."""
    written = Signal(object)
    """The session has written slices; a `Written`."""
    lost = Signal(str)
    """The user has taken the layer away, or put another mask into it; what becomes of the one before, in words."""

    def __init__(self, *, session: Session, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._viewer = viewer
        self._watch: LabelsWatch | None = None
        self.layer: Labels | None = None
        self.reference: Layer | None = None
        """The image that is segmented."""
        viewer.layers.events.removed.connect(self._on_layer_removed)
        session.mask_written.connect(self._on_written)
        session.saved.connect(self._on_saved)

    def disconnect_all(self) -> None:
        """Disconnect from everything; the layer stays."""
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self._session.mask_written.disconnect(self._on_written)
        self._session.saved.disconnect(self._on_saved)
        self._let_go()

    def show_work(self, reference: Layer) -> None:
        """Show the session's mask on the grid of an image layer, in the present layer or a new one.

        A new one lies on top, but for outlines, and is selected, so the brush is one key away.
        """
        work = self._session.work
        assert work is not None
        if self.layer is not None and np.shares_memory(np.asarray(self.layer.data), np.asarray(work.mask.data)):
            self.reference = reference
            return
        colormap = segmentation_colormap()
        layer = Labels(
            work.mask.data[0] if reference.ndim == 2 else work.mask.data,
            name=SEGMENTATION,
            opacity=0.4,
            colormap=colormap,
            metadata=dict(reference.metadata),
            **geometry_of(reference),
        )
        self._hold(layer, reference)
        # Outlines of other masks stay visible above it, and it above every image.
        layers = self._viewer.layers
        images = [index for index, other in enumerate(layers) if isinstance(other, Image)]
        first = max(images, default=-1) + 1
        outlines = [index for index, other in enumerate(layers) if isinstance(other, Labels) and other.contour]
        layers.insert(min((index for index in outlines if index >= first), default=len(layers)), layer)
        layers.selection.active = layer
        self.layerChanged.emit(layer)

    def take_over(self, layer: Labels, reference: Layer) -> None:
        """Go on with a layer that showed the session's mask in the dock before this one."""
        self._hold(layer, reference)
        # Slices may have been read anew.
        layer.refresh()
        self.layerChanged.emit(layer)
        work = self._session.work
        if work is not None and not np.shares_memory(np.asarray(layer.data), np.asarray(work.mask.data)):
            self._on_replaced()
        # It may have been painted on while nobody listened.
        self.edited.emit(None)

    def _hold(self, layer: Labels, reference: Layer) -> None:
        """Have this one as the layer, and watch it."""
        self._let_go()
        self.layer, self.reference = layer, reference
        self._watch = LabelsWatch(layer, viewer=self._viewer, parent=self)
        self._watch.changed.connect(self.edited)
        self._watch.passed.connect(self.passed)
        self._watch.replaced.connect(self._on_replaced)

    def make_way(self, reference: Layer, *, of_case: bool, shape: tuple[int, int, int]) -> None:
        """Let go of the mask that is shown if it is not of this image's scan; another sequence of that is no other.

        Parameters
        ----------
        reference : Layer
            The image that is to have a mask now.
        of_case : bool
            It is of the open case.
        shape : tuple of int
            ``(Z, Y, X)`` of it.
        """
        work = self._session.work
        if work is None:
            return
        own = of_case and work.mask.model.shape == shape
        same = own if work.case_id else self.reference is reference
        if not same:
            # A case's mask comes back with its own images; any other stays as it is in its layer.
            self.release(remove=bool(work.case_id))
            self._session.put_work_aside()

    def release(self, *, remove: bool) -> None:
        """Let go of the layer, and take it out of the viewer if asked to."""
        layer = self.layer
        self._let_go()
        if remove and layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def settle(self) -> None:
        """Tell of the edits that are known and have not been told yet."""
        if self._watch is not None:
            self._watch.settle()

    def verify(self) -> None:
        """Have everything read again, even what no event told of."""
        if self._watch is not None:
            self._watch.verify()

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch.deleteLater()
            self._watch = None
        self.reference = None
        if self.layer is not None:
            self.layer = None
            self.layerChanged.emit(None)

    def shows_slices(self) -> bool:
        """Whether the view goes along the slices of the layer; else they are seen from the side, or in 3-D."""
        layer, dims = self.layer, self._viewer.dims
        return layer is not None and (layer.ndim < 3 or dims.ndim - 3 not in dims.displayed)

    def shown_slice(self) -> int | None:
        """The slice of the layer that is in view; None where none is, as from the side or beyond the last one."""
        if self.layer is None or not self.shows_slices():
            return None
        return slice_in_view(self.layer, self._viewer.dims.point)

    def _on_written(self, written: Written) -> None:
        if self.layer is None or self._watch is None:
            return
        with self._watch.blocked():
            self.layer.refresh()
        self.written.emit(written)

    def _on_saved(self, result: SaveResult) -> None:
        self.show_as_saved(result.job.work, result.saved)

    def show_as_saved(self, mask: WorkingMask, slices: Iterable[int]) -> None:
        """Show labels that a saved mask has no room for as they were saved: as they are, they were never saved."""
        data = mask.data
        wide = [z for z in slices if data.dtype != np.uint8 and data[z].max(initial=0) > LAST_LABEL]
        for z in wide:
            np.minimum(data[z], LAST_LABEL, out=data[z])
        work = self._session.work
        if wide and self.layer is not None and work is not None and work.mask is mask:
            self.layer.refresh()

    def _on_replaced(self) -> None:
        assert self.layer is not None
        work = self._session.work
        data: Any = shown_mask(self.layer)
        if work is not None and tuple(data.shape) == work.mask.model.shape:
            if not isinstance(data, np.ndarray) or not data.flags.writeable:
                # The session writes slices in place, which a lazy array does not take.
                self.layer.data = np.array(self.layer.data)
                return
            self._session.take_edited(data)
        elif work is not None:
            # It is a mask of something else now, and the user's own.
            self.release(remove=False)
            self._put_aside(f"The layer {SEGMENTATION} holds a mask of another shape now.")
            return
        self.replaced.emit()

    def _on_layer_removed(self, event: Any) -> None:
        if event.value is self.layer and self.layer is not None:
            self._let_go()
            self._put_aside(f"The layer {SEGMENTATION} was removed.")

    def _put_aside(self, why: str) -> None:
        work = self._session.work
        edited = work is not None and not work.case_id and bool(work.mask.unsaved())
        self._session.put_work_aside()
        if self._session.is_aside():
            why += " What was corrected is kept, and comes back with Segment or with the button in Correct."
        elif edited:
            why += " Its edits are kept, and offered when the image is segmented again."
        self.lost.emit(why)


def load_labels(task: object = None) -> None:
    """Import what napari imports for the first Labels layer of all, and what the first mask needs.

    That takes half a second, which a thread in the background has and the window's has not.
    """
    for name in ("pandas", "skimage.color.colorconv", "scipy.ndimage"):
        import_module(name)
