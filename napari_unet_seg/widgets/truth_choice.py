"""Which Labels layer is the ground truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_unet_seg.widgets.layers import GROUND_TRUTH
from napari_unet_seg.widgets.score_keeper import ScoreKeeper
from napari_unet_seg.widgets.scores_panel import ScoresPanel
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class TruthChoice(QObject):
    """Keeps the panel's list of Labels layers, and hands the chosen one to the scores.

    Parameters
    ----------
    viewer : ViewerModel
    segmentation : SegmentationLayer
        Its layer cannot be the truth.
    scores : ScoreKeeper
    panel : ScoresPanel
    is_of_case : callable
        Whether an image layer is one of the open case's.
    """

    def __init__(
        self,
        *,
        viewer: ViewerModel,
        segmentation: SegmentationLayer,
        scores: ScoreKeeper,
        panel: ScoresPanel,
        is_of_case: Callable[[Layer], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._segmentation = segmentation
        self._scores = scores
        self._panel = panel
        self._is_of_case = is_of_case
        self._own: Labels | None = None
        self._put_down = False
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.connect(self._list)
        segmentation.layerChanged.connect(self._on_segmentation)
        panel.valueChanged.connect(self._choose)
        self._list()

    def disconnect_all(self) -> None:
        """Disconnect from the viewer."""
        layers = self._viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.disconnect(self._list)

    def take_case(self, truth: Labels | None) -> None:
        """Another case is shown: the layer of the mask it came with is the truth, if it has one."""
        self._own, self._put_down = truth, False
        self._set(truth)

    def _candidates(self) -> list[Labels]:
        return [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Labels)
            and layer is not self._segmentation.layer
            and layer.ndim in (2, 3)
            and not layer.multiscale
        ]

    def _on_segmentation(self, layer: Labels | None) -> None:
        """The truth of a case says nothing of another scan's mask; it is back with the case's own."""
        reference = self._segmentation.reference
        if reference is not None and self._own is not None:
            of_case = self._is_of_case(reference)
            if not of_case and self._scores.truth is self._own:
                self._put_down = True
                self._set(None)
            elif of_case and self._put_down and self._own in self._viewer.layers:
                self._put_down = False
                if self._scores.truth is None:
                    self._set(self._own)
        elif reference is not None and self._scores.truth is None:
            truth = self._read_with(reference)
            if truth is not None:
                # An outline leaves the mask below visible.
                truth.contour = 1
                self._set(truth)
        self._list()

    def _read_with(self, reference: Layer) -> Labels | None:
        """The ground truth that our reader has made of the file, or folder, that an image comes from."""
        source = reference.metadata.get("source")
        return next(
            (
                layer
                for layer in self._candidates()
                if source is not None and layer.metadata.get("source") == source and layer.name.startswith(GROUND_TRUTH)
            ),
            None,
        )

    def _list(self, event: Any = None) -> None:
        candidates = self._candidates()
        if self._scores.truth not in candidates:
            self._scores.set_truth(None)
        chosen = self._scores.truth
        self._panel.set_layers([layer.name for layer in candidates], chosen="" if chosen is None else str(chosen.name))

    def _choose(self, name: str) -> None:
        self._set(next((layer for layer in self._candidates() if layer.name == name), None))

    def _set(self, layer: Labels | None) -> None:
        self._scores.set_truth(layer, of_case=layer is not None and layer is self._own)
        self._list()
