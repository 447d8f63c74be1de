"""Which Labels layer is the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_unet_seg.widgets.score_keeper import ScoreKeeper
from napari_unet_seg.widgets.scores_panel import ScoresPanel
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel


class TruthChoice(QObject):
    """Keeps the panel's list of Labels layers, and hands the chosen one to the scores.

    Parameters
    ----------
    viewer : ViewerModel
    segmentation : SegmentationLayer
        Its layer cannot be the truth.
    scores : ScoreKeeper
    panel : ScoresPanel
    """

    def __init__(
        self,
        *,
        viewer: ViewerModel,
        segmentation: SegmentationLayer,
        scores: ScoreKeeper,
        panel: ScoresPanel,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._segmentation = segmentation
        self._scores = scores
        self._panel = panel
        self._own: Labels | None = None
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.connect(self._list)
        segmentation.layerChanged.connect(self._list)
        panel.valueChanged.connect(self._choose)
        self._list()

    def disconnect_all(self) -> None:
        """Disconnect from the viewer."""
        layers = self._viewer.layers.events
        for event in (layers.inserted, layers.removed, layers.renamed):
            event.disconnect(self._list)

    def take_case(self, truth: Labels | None) -> None:
        """Another case is shown: the layer of the mask it came with is the truth, if it has one."""
        self._own = truth
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
