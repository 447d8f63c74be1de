"""Turns the kept probabilities into a mask as the threshold moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import Work, Written
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.layers import slice_of
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane

if TYPE_CHECKING:
    from napari.components import ViewerModel

_AT_ONCE = {False: 2_000_000, True: 1_000_000}
"""Voxels for which a new rule is worked out on the window's thread, by whether it looks across slices."""
_SMALL_VOLUME = 10_000_000
"""Voxels of a volume whose mask is compared and written in a few milliseconds."""


class RuleFollower(QObject):
    """Shows another threshold or component rule at once, or, on a large volume, in the shown slice first.

    Parameters
    ----------
    session : Session
        Has the probabilities.
    segmentation : SegmentationLayer
    viewer : ViewerModel
    lane : Lane
        Where the mask of a large volume is worked out.
    """

    said = Signal(str)
    failed = Signal(object)

    _REST_MS = 60

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self._REST_MS)
        self._timer.timeout.connect(self._compute_mask)
        session.work_changed.connect(self._catch_up)

    def disconnect_all(self) -> None:
        """Start nothing new."""
        self._timer.stop()
        self._session.work_changed.disconnect(self._catch_up)

    def set_rule(self, rule: MaskRule) -> None:
        """Use another rule from now on."""
        if rule == self._session.rule:
            return
        work = self._session.work
        if work is None:
            self._session.set_rule(rule)
        elif _is_quick(work, rule):
            self._timer.stop()
            self._tell(self._session.set_rule(rule))
        else:
            layer = self._segmentation.layer
            if layer is not None:
                self._session.preview_rule(rule, slice_of(layer, self._viewer.dims.point))
            # Until the slider rests.
            self._timer.start()

    def _catch_up(self) -> None:
        """Work that was put aside follows the rule that was chosen meanwhile."""
        session = self._session
        work = session.work
        if work is None or work.rule == session.rule or not work.probability.known.any():
            return
        if _is_quick(work, session.rule):
            session.set_rule(session.rule)
        else:
            self._timer.start()

    def _compute_mask(self) -> None:
        session = self._session
        work, rule = session.work, session.rule
        if work is None:
            return
        probability = work.probability
        known = int(probability.known.sum())

        def take(mask: Mask) -> None:
            if session.work is not work or session.rule != rule or work.probability is not probability:
                return
            if int(probability.known.sum()) == known:
                self._tell(session.set_rule(rule, mask=mask))
            else:
                # A slice was segmented meanwhile, which this mask does not know of.
                self._timer.start()

        own = rule.of_model(work.min_fraction)
        self._lane.submit(lambda task: probability.mask(own), returned=take, failed=self.failed.emit)

    def _tell(self, written: Written) -> None:
        text = written.kept_text()
        if text:
            self.said.emit(text.strip())


def _is_quick(work: Work, rule: MaskRule) -> bool:
    rule = rule.of_model(work.min_fraction)
    small = work.mask.model.size <= _SMALL_VOLUME
    return small and work.probability.cost(rule) <= _AT_ONCE[rule.looks_across_slices]
