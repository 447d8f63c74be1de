"""Keeps the scores of the shown masks exact, whatever is done to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_unet_seg.case_state import Work, Written
from napari_unet_seg.errors import InputError
from napari_unet_seg.saving import SaveResult
from napari_unet_seg.scores import Box, LiveScores, Side
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.labels_watch import LabelsWatch
from napari_unet_seg.widgets.layers import shape_of, shown_mask, voxel_ml
from napari_unet_seg.widgets.scores_panel import ScoreBoard
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer

if TYPE_CHECKING:
    from napari.components import ViewerModel


class ScoreKeeper(QObject):
    """Compares the segmentation with a ground-truth layer, or with the model's own mask where there is none.

    Parameters
    ----------
    session : Session
        Has the model's mask.
    segmentation : SegmentationLayer
        The mask being edited.
    viewer : ViewerModel
        Its dims tell which slice is shown.
    """

    valueChanged = Signal(object)
    """The scores changed; a `ScoreBoard`."""
    noticed = Signal(object)
    """The segmentation has changed in a `Box` without anything telling of it."""
    failed = Signal(object)
    """The masks cannot be compared; the error."""
    mended = Signal(object)
    """What could not be compared before is compared now, or need not be; the error of then."""

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._truth: Labels | None = None
        self._truth_of_case = False
        self._truth_watch: LabelsWatch | None = None
        self._scores: LiveScores | None = None
        self._error: InputError | None = None
        self._board = ScoreBoard()
        segmentation.layerChanged.connect(self._restart)
        segmentation.replaced.connect(self._on_segmentation_replaced)
        segmentation.edited.connect(self._on_edited)
        segmentation.passed.connect(self._on_passed)
        segmentation.written.connect(self._on_written)
        session.saved.connect(self._on_saved)
        viewer.dims.events.connect(self._on_dims)

    def disconnect_all(self) -> None:
        """Disconnect from the viewer and the layers."""
        self._session.saved.disconnect(self._on_saved)
        self._viewer.dims.events.disconnect(self._on_dims)
        self._segmentation.layerChanged.disconnect(self._restart)
        self._set_truth_watch(None)

    @property
    def truth(self) -> Labels | None:
        """The ground-truth layer."""
        return self._truth

    def set_truth(self, layer: Labels | None, *, of_case: bool = False) -> None:
        """Compare with this layer from now on, or with the model's mask.

        `of_case`: it is the truth that the open case came with, in whatever layer the case is shown this time.
        """
        if layer is self._truth:
            return
        self._truth, self._truth_of_case = layer, of_case
        self._set_truth_watch(layer)
        self._restart()

    def value(self) -> ScoreBoard:
        """The scores now, with everything read again: even what no event of napari's tells of."""
        self._segmentation.verify()
        if self._truth_watch is not None:
            self._truth_watch.verify()
        return self._board

    def settled(self) -> ScoreBoard:
        """The scores as the user sees them a frame later: every edit that napari told of is counted."""
        self._segmentation.settle()
        if self._truth_watch is not None:
            self._truth_watch.settle()
        return self._board

    def note_progress(self) -> None:
        """Add the volume's Dice to the history of the open scan: it was saved or segmented."""
        volume, work = self.settled().volume, self._session.work
        if work is not None and volume is not None and self._truth is not None:
            if not self._goes_on(work):
                # Scores by two truths are no history.
                work.scores.clear()
                work.scored_by = self._judge()
            work.scores.append(volume.dice)
            self._tell()

    def _judge(self) -> Any:
        """What scores are made by: a layer, by its number, or the truth that the case came with."""
        return None if self._truth is None or self._truth_of_case else self._truth.unique_id

    def _goes_on(self, work: Work) -> bool:
        """Whether the history of a scan was made by the present truth."""
        return bool(work.scores) and work.scored_by == self._judge()

    def _on_saved(self, result: SaveResult) -> None:
        work = self._session.work
        if result.saved and work is not None and work.mask is result.job.work:
            self.note_progress()

    def _restart(self) -> None:
        layer, work = self._segmentation.layer, self._session.work
        if layer is None or work is None:
            self._scores = None
            self._tell_of(None)
        else:
            y = work.mask.model if self._truth is None else shown_mask(self._truth)
            self._scores = self._read(lambda: LiveScores(shown_mask(layer), y, labelled=self._labelled()))
        self._tell()

    def _read(self, read: Callable[[], LiveScores]) -> LiveScores | None:
        """Scores, read from the masks; None, and the error is told, where they cannot be compared."""
        scores, error = None, None
        try:
            scores = read()
        except InputError as found:
            error = found
        except Exception as found:
            # A lazy layer may raise anything.
            error = InputError(f"the ground truth cannot be read ({type(found).__name__}: {found}); choose another one")
        self._tell_of(error)
        return scores

    def _tell_of(self, error: InputError | None) -> None:
        """Tell of an error, or that the one before has gone."""
        before, self._error = self._error, error
        if error is not None:
            self.failed.emit(error)
        elif before is not None:
            self.mended.emit(before)

    def _labelled(self) -> Any:
        """Which slices the truth speaks of; None for all."""
        return None if self._truth is None else self._truth.metadata.get("labelled")

    def _on_edited(self, box: Box | None) -> None:
        self._reread("y_pred", box)

    def _on_truth_edited(self, box: Box | None) -> None:
        self._reread("y", box)

    def _on_passed(self, box: Box) -> None:
        if self._scores is None or self._reread("y_pred", box):
            self.noticed.emit(box)

    def _reread(self, side: Side, box: Box | None) -> bool:
        scores, changed = self._scores, False
        if scores is None:
            return False

        def read() -> LiveScores:
            nonlocal changed
            changed = scores.reread(side, box)
            return scores

        self._scores = self._read(read)
        if changed or self._scores is None:
            self._tell()
        return changed

    def _on_written(self, written: Written) -> None:
        layer, work = self._segmentation.layer, self._session.work
        if self._scores is None or work is None or layer is None or shape_of(layer) != work.mask.model.shape:
            # The mask of another scan, whose layer is still to come.
            return
        for z in written.slices:
            self._scores.reread("y_pred", (slice(z, z + 1), slice(None), slice(None)))
        if self._truth is None:
            self._scores.replace("y", work.mask.model)
        self._tell()

    def _on_segmentation_replaced(self) -> None:
        self._replace("y_pred", self._segmentation.layer)

    def _on_truth_replaced(self) -> None:
        self._replace("y", self._truth)

    def _replace(self, side: Side, layer: Labels | None) -> None:
        scores = self._scores
        if scores is None or layer is None:
            self._restart()
            return

        def read() -> LiveScores:
            scores.replace(side, shown_mask(layer))
            return scores

        self._scores = self._read(read)
        self._tell()

    def _on_dims(self, event: Any) -> None:
        if event.type in ("current_step", "order", "ndisplay", "point"):
            self._tell()

    def _set_truth_watch(self, layer: Labels | None) -> None:
        if self._truth_watch is not None:
            self._truth_watch.close()
            self._truth_watch.deleteLater()
            self._truth_watch = None
        if layer is not None:
            self._truth_watch = LabelsWatch(layer, viewer=self._viewer, parent=self)
            self._truth_watch.changed.connect(self._on_truth_edited)
            self._truth_watch.passed.connect(self._on_truth_edited)
            self._truth_watch.replaced.connect(self._on_truth_replaced)

    def _tell(self) -> None:
        board = self._make_board()
        if board != self._board:
            self._board = board
            self.valueChanged.emit(board)

    def _make_board(self) -> ScoreBoard:
        layer, work = self._segmentation.layer, self._session.work
        if self._scores is None or layer is None:
            return ScoreBoard()
        z = self._segmentation.shown_slice()
        shown, labelled = None if z is None else min(z, self._scores.shape[0] - 1), self._scores.labelled()
        # What nothing is known of yet is no empty mask.
        partial = work is not None and work.has_blanks()
        blank = work is not None and shown is not None and partial and work.is_blank(shown)
        return ScoreBoard(
            z=z if layer.ndim > 2 else None,
            slice=None if shown is None or blank else self._scores.slice(shown),
            volume=None if partial else self._scores.volume(),
            partial=partial,
            slice_voxels=None if shown is None else self._scores.voxels(shown),
            volume_voxels=self._scores.voxels(),
            labelled=None if labelled[0] == labelled[1] else labelled,
            voxel_ml=voxel_ml(layer),
            history=tuple(work.scores) if work is not None and self._truth is not None and self._goes_on(work) else (),
            against_model=self._truth is None,
        )
