"""Corrects slices of the open scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import LoadedCase, Work
from napari_unet_seg.data.interpolate import interpolate_slices
from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import InputError
from napari_unet_seg.saving import SaveResult
from napari_unet_seg.scores import Box
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.correct_panel import CorrectionBoard
from napari_unet_seg.widgets.correction_saver import CorrectionSaver
from napari_unet_seg.widgets.layers import as_bytes, shape_of, spacing_of
from napari_unet_seg.widgets.loose_keeper import LooseKeeper
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.slice_history import SliceHistory
from napari_unet_seg.working_mask import Plane

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from napari_unet_seg.data.autosave import Autosave


class Corrector(QObject):
    """What the panel Correct does.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    viewer : ViewerModel
    saver : CorrectionSaver
        Is told of every edit, and has earlier ones to be recovered.
    keeper : LooseKeeper
        The same for an image of no dataset.
    reference : callable
        The image layer whose grid a new mask takes; None where no image is open.
    is_of_case : callable
        Whether a layer is one of the open case's images.
    """

    valueChanged = Signal(object)
    """A `CorrectionBoard`."""
    said = Signal(str)
    failed = Signal(object)
    caseChanged = Signal()
    """What there is of the open case has changed."""

    _LOOK_MS = 500

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        saver: CorrectionSaver,
        keeper: LooseKeeper,
        reference: Callable[[], Layer | None],
        is_of_case: Callable[[Layer], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._saver = saver
        self._keeper = keeper
        self._reference = reference
        self._is_of_case = is_of_case
        self._history: SliceHistory | None = None
        self._truth: Mask | None = None
        self._board = CorrectionBoard()
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(self._LOOK_MS)
        self._look.timeout.connect(self._look_again)
        segmentation.layerChanged.connect(self._on_layer)
        segmentation.edited.connect(self.note_edited)
        segmentation.replaced.connect(self._on_replaced)
        saver.changed.connect(self._tell)
        saver.recoverWanted.connect(self._recover)
        keeper.changed.connect(self._tell)
        keeper.saved.connect(self._on_file_saved)
        keeper.recoverWanted.connect(self._recover_loose)
        saver.theirsRead.connect(self._show_theirs)
        session.work_changed.connect(self._tell)
        session.mask_written.connect(self._on_written)
        session.saved.connect(self._on_saved)
        for event in self._moves():
            event.connect(self._tell_of_slice)

    def disconnect_all(self) -> None:
        """Start nothing new, and disconnect."""
        self._look.stop()
        for event in self._moves():
            event.disconnect(self._tell_of_slice)
        self._session.work_changed.disconnect(self._tell)
        self._session.mask_written.disconnect(self._on_written)
        self._session.saved.disconnect(self._on_saved)
        self._segmentation.layerChanged.disconnect(self._on_layer)

    def value(self) -> CorrectionBoard:
        """How things stand, every slice compared."""
        if self._session.work is not None:
            self._session.work.mask.touch()
        self._tell()
        return self._board

    def take_case(self, loaded: LoadedCase) -> None:
        """Another case is shown."""
        self._truth = loaded.truth
        self._tell()

    def refresh(self) -> None:
        """Other images are open, or chosen."""
        self._tell()

    def start(self) -> None:
        """Make a working mask without a model: the dataset's own, or an empty one; or take up what was put aside."""
        reference = self._reference()
        if reference is None or not self._can_start():
            return
        of_case, shape = self._is_of_case(reference), shape_of(reference)
        self._segmentation.make_way(reference, of_case=of_case, shape=shape)
        work = self._session.take_up() if of_case else None
        if work is not None and not work.is_bare:
            self.said.emit("The mask is here again, as it was left.")
        else:
            truth = self._dataset_mask() if of_case else None
            mask = truth if truth is not None and truth.shape == shape else None
            self._session.start_work(shape, mask=mask, of_case=of_case)
        self._segmentation.show_work(reference)
        self._tell()

    def accept(self) -> None:
        """Take the shown slice for right as it is; or, if it was, no longer."""
        at_hand = self._at_hand()
        if at_hand is None or self._history is None:
            return
        work, z = at_hand
        if self._is_unread(work, z):
            self._refuse_blank(z)
            self._tell()
            return
        self._history.mark(z, not work.mask.is_accepted(z))
        self._after_edit()

    def revert(self) -> None:
        """Put the shown slice back to the model's mask."""
        at_hand = self._at_hand()
        if at_hand is None:
            return
        work, z = at_hand
        if work.speaks_of(z):
            self._write({z: work.mask.model[z]}, unmark=True)
            self.said.emit(f"Reverted slice {z}.")
        else:
            self._refuse_blank(z)

    def clear(self) -> None:
        """Empty the shown slice."""
        at_hand = self._at_hand()
        if at_hand is not None:
            work, z = at_hand
            if self._is_unread(work, z):
                # It shows nothing already, and the dataset's mask of it stays.
                self._refuse_blank(z)
            else:
                self._write({z: np.zeros_like(work.mask.model[z])})
                self.said.emit(f"Cleared slice {z}.")

    def interpolate(self) -> None:
        """Fill the slices between the nearest corrected ones below and above the shown one."""
        at_hand, layer = self._at_hand(), self._segmentation.layer
        if at_hand is None or layer is None:
            return
        work, z = at_hand
        self._segmentation.settle()
        gap = find_gap(work.mask.corrected(), z)
        if gap is None:
            self.failed.emit(
                InputError(
                    "two corrected slices are needed, one on each side of this one; correct or accept them first"
                )
            )
            return
        below, above = gap
        spacing = spacing_of(layer)[1:]
        data = work.mask.data
        lower, upper = (as_bytes(data[end]) for end in gap)
        planes = interpolate_slices(lower, upper, between=above - below - 1, spacing=spacing)
        filled = {below + 1 + index: plane for index, plane in enumerate(planes)}
        self._write(filled)
        for index, plane in filled.items():
            work.mask.note_interpolated(index, plane)
        self.said.emit(f"Filled {listed_slices(sorted(filled))} between {below} and {above}.")
        self._tell()

    # What happens to the layer.

    def _on_layer(self, layer: Labels | None) -> None:
        self._history = None if layer is None else SliceHistory(layer, set_mark=self._set_mark)
        self._tell()

    def _set_mark(self, z: int, marked: bool) -> None:
        if self._session.work is not None:
            self._session.work.mask.accept(z, accepted=marked)

    def note_edited(self, box: Box | None) -> None:
        """The mask may have changed in a box, or anywhere."""
        work = self._session.work
        if work is None:
            return
        work.mask.touch(None if box is None else range(*box[0].indices(work.mask.model.shape[0])))
        if self._history is not None:
            self._history.follow()
        self._note_edit()
        if not self._look.isActive():
            self._look.start()

    def _on_replaced(self) -> None:
        if self._session.work is not None:
            self._session.work.mask.touch()
            self._look.start()
            self._note_edit()

    def _look_again(self) -> None:
        # What follows the model again is no edit that was made now.
        self._session.let_follow()
        self._tell()

    def _on_written(self) -> None:
        if not self._look.isActive():
            self._look.start()

    def _write(self, planes: dict[int, Plane], *, unmark: bool = False) -> None:
        work = self._session.work
        if self._history is None or work is None:
            return
        accepted = [z for z in planes if work.mask.is_accepted(z)]
        written = self._history.write(planes, unmark=accepted)
        if unmark:
            for z in set(accepted) - set(written):
                self._history.mark(z, False)
        work.mask.touch(planes)
        self._after_edit()

    def _note_edit(self) -> None:
        """Have it kept aside: each of the two looks after its own scans."""
        self._saver.note_edit()
        self._keeper.note_edit()

    def _after_edit(self) -> None:
        self._note_edit()
        self._tell()

    def _on_saved(self, result: SaveResult) -> None:
        work = self._session.work
        if work is not None and work.mask is result.job.work and result.saved and self._history is not None:
            self._history.forget_marks()
        self._tell()

    def _on_file_saved(self) -> None:
        if self._history is not None and self._session.case_work is None:
            self._history.forget_marks()
        self._tell()

    def _recover(self, autosaved: Autosave) -> None:
        if self._session.case_work is None and self._is_of_case_chosen():
            self.start()
        work = self._session.case_work
        if work is None or self._history is None:
            self.failed.emit(InputError("choose an image of this case in panel Data first, then recover its edits"))
            return
        if autosaved.shape != work.mask.model.shape:
            self.failed.emit(InputError("the unsaved edits are of a scan of another shape; they were not recovered"))
            return
        self._saver.settle_recovery()
        self._put_back(work, self._history, autosaved)

    def _recover_loose(self, kept: Autosave) -> None:
        work = self._session.work
        if work is not None and self._history is not None:
            self._keeper.settle()
            self._put_back(work, self._history, kept)

    def _put_back(self, work: Work, history: SliceHistory, autosaved: Autosave) -> None:
        """Show slices that were edited earlier, and never saved."""
        # What has been painted since is newer; a slice that was only accepted was not painted.
        newer = sorted(set(work.mask.edited()) & set(autosaved.slices))
        planes = {z: plane for z, plane in autosaved.planes().items() if z not in newer}
        written = history.write(planes)
        for z in planes:
            if work.mask.is_accepted(z) != (z not in written):
                history.mark(z, z not in written)
        work.mask.touch(planes)
        text = f"Recovered {listed_slices(sorted(planes))}." if planes else "Nothing was recovered."
        if newer:
            text += f" {listed_slices(newer).capitalize()} kept as painted since."
        self.said.emit(text)
        self._after_edit()

    def _show_theirs(self, planes: dict[int, Plane]) -> None:
        work = self._session.work
        if work is None or self._history is None:
            return
        self._history.write(planes)
        work.mask.note_saved(planes)
        self._history.forget_marks()
        # With these slices all others were read: whatever has changed in them is shown too, and not saved over unseen.
        self._session.reading_wanted.emit()
        self.said.emit(
            f"{listed_slices(sorted(planes)).capitalize()} as the dataset has them now; Ctrl+Z brings yours back."
        )
        self._after_edit()

    # What is known of a slice.

    def _at_hand(self) -> tuple[Work, int] | None:
        """The work, and which slice of it is in view; if there is none, the user is told why nothing happens."""
        work, z = self._session.work, self._segmentation.shown_slice()
        if work is None or self._segmentation.layer is None:
            self.said.emit("There is no mask to correct yet: press Segment, or the button in panel Correct.")
        elif not self._segmentation.shows_slices():
            self.said.emit("No single slice is in view: go back to the 2-D view along the slices to correct one.")
        elif z is None or z >= work.mask.model.shape[0]:
            self.said.emit("This slice lies beyond the mask: scroll back to correct one.")
        else:
            return work, z
        return None

    def _is_unread(self, work: Work, z: int) -> bool:
        """Whether the slice is empty only because the dataset's mask, which has something there, was not shown."""
        truth = self._dataset_mask()
        return work.is_blank(z) and truth is not None and z < len(truth) and bool(truth[z].any())

    def _refuse_blank(self, z: int) -> None:
        self.failed.emit(
            InputError(f"nothing is known of slice {z} yet; press Segment, or Correct the dataset's mask, first")
        )

    # What is shown.

    def _dataset_mask(self) -> Mask | None:
        """The mask that the open case came with."""
        return None if self._session.case is None else self._truth

    def _moves(self) -> tuple[Any, ...]:
        """What brings another slice into view."""
        events = self._viewer.dims.events
        return events.current_step, events.order, events.ndisplay

    def _tell_of_slice(self) -> None:
        # Scrolling changes no mask: what is known of the slices is shown again.
        if self._session.work is not None:
            self._tell()

    def _tell(self) -> None:
        board = self._make_board()
        if board != self._board:
            changed = board.states != self._board.states
            self._board = board
            self.valueChanged.emit(board)
            if changed:
                self.caseChanged.emit()

    def _make_board(self) -> CorrectionBoard:
        work, can_start = self._session.work, self._can_start()
        case_starts = can_start and self._is_of_case_chosen()
        from_truth = case_starts and self._dataset_mask() is not None
        goes_on = case_starts and self._session.is_aside()
        if work is None or self._segmentation.layer is None:
            return CorrectionBoard(can_start=can_start, starts_from_truth=from_truth, goes_on=goes_on)
        of_case, states, z = bool(work.case_id), tuple(work.mask.states()), self._segmentation.shown_slice()
        return CorrectionBoard(
            states=states,
            # The layer may still be that of a scan of more slices.
            z=z if z is not None and z < len(states) else None,
            # To an empty mask of the case's own, starting with another empty one would add nothing.
            can_start=from_truth or (case_starts and not of_case),
            starts_from_truth=from_truth,
            goes_on=goes_on,
            can_save=of_case,
            saving=self._saver.saving() if of_case else self._keeper.saving(),
            note=self._saver.note if of_case else self._keeper.note,
        )

    def _can_start(self) -> bool:
        """Whether there is an image, and of it at most slices that were saved before."""
        work = self._session.work
        if work is not None and not work.case_id:
            # It stays in its layer when the case has its own mask again.
            return self._is_of_case_chosen()
        return (work is None or work.is_bare) and self._reference() is not None

    def _is_of_case_chosen(self) -> bool:
        reference = self._reference()
        return reference is not None and self._is_of_case(reference)


def find_gap(settled: list[int], z: int) -> tuple[int, int] | None:
    """The two neighbouring corrected slices, with others between them, around a slice or starting or ending at it."""
    below = [s for s in settled if s <= z]
    above = [s for s in settled if s >= z]
    gaps = [
        (max(below), min((s for s in above if s > z), default=-1)) if below else None,
        (max((s for s in below if s < z), default=-1), min(above)) if above else None,
    ]
    for gap in gaps:
        if gap is not None and min(gap) >= 0 and gap[1] - gap[0] > 1:
            return gap
    return None
