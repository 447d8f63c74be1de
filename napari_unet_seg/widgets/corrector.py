"""Corrects slices of the open scan, saves them into its dataset, and keeps what is not saved yet."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEventLoop, QObject, QTimer, Signal

from napari_unet_seg.case_state import LoadedCase, Work
from napari_unet_seg.data.interpolate import interpolate_slices
from napari_unet_seg.data.scan import slice_numbers
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from napari_unet_seg.saving import ActiveTime, SaveJob, SaveResult
from napari_unet_seg.scores import Box
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.correct_panel import CorrectionBoard
from napari_unet_seg.widgets.layers import shape_of, spacing_of
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.slice_history import SliceHistory
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.working_mask import Plane, WorkingMask

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from napari_unet_seg.data.autosave import Autosave
    from napari_unet_seg.data.dataset import Dataset

RECOVER, DISCARD = "Recover", "Discard"
KEEP_MINE, TAKE_THEIRS = "Save mine", "Take theirs"
CHOOSE_FOLDER = "Choose a folder…"
UNDERSTOOD = "OK"


class Corrector(QObject):
    """What the panel Correct does.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    viewer : ViewerModel
    lane : Lane
        Where files are written: of its own, so that nothing long lies before an autosave.
    reference : callable
        The image layer whose grid a new mask takes; None where no image is open.
    is_of_case : callable
        Whether a layer is one of the open case's images.
    """

    valueChanged = Signal(object)
    """A `CorrectionBoard`."""
    noticeChanged = Signal(str, tuple)
    """Something to decide, and the labels of the answers; an empty text where nothing is."""
    said = Signal(str)
    failed = Signal(object)
    folderWanted = Signal()
    """A folder for the corrections of a read-only dataset."""
    caseChanged = Signal()
    """What there is of the open case has changed."""

    _LOOK_MS = 500
    _AUTOSAVE_MS = 3000

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        reference: Callable[[], Layer | None],
        is_of_case: Callable[[Layer], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._reference = reference
        self._is_of_case = is_of_case
        self._history: SliceHistory | None = None
        self._clock = ActiveTime()
        self._task: Task | None = None
        self._autosaved: Autosave | None = None
        self._conflict: tuple[WorkingMask, tuple[int, ...]] | None = None
        self._truth: Mask | None = None
        self._note = ""
        self._other: str | None = None
        self._notices: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._board = CorrectionBoard()
        self._look = QTimer(self)
        self._look.setSingleShot(True)
        self._look.setInterval(self._LOOK_MS)
        self._look.timeout.connect(self._tell)
        self._autosave = QTimer(self)
        self._autosave.setSingleShot(True)
        self._autosave.setInterval(self._AUTOSAVE_MS)
        self._autosave.timeout.connect(self.autosave)
        segmentation.layerChanged.connect(self._on_layer)
        segmentation.edited.connect(self.note_edited)
        segmentation.replaced.connect(self._on_replaced)
        session.work_leaving.connect(self._keep_aside)
        session.work_changed.connect(self._tell)
        session.mask_written.connect(self._on_written)
        session.saved.connect(self._on_saved)
        for event in self._moves():
            event.connect(self._tell_of_slice)

    def disconnect_all(self) -> None:
        """Start nothing new, and disconnect."""
        for timer in (self._look, self._autosave):
            timer.stop()
        for event in self._moves():
            event.disconnect(self._tell_of_slice)
        self._session.work_leaving.disconnect(self._keep_aside)
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

    def unsaved(self) -> list[int]:
        """Slices of the open case that are edited or accepted and not in the dataset."""
        work = self._session.case_work
        if work is None:
            return []
        self._segmentation.settle()
        return work.mask.unsaved()

    def refresh(self) -> None:
        """Other images are open, or chosen."""
        self._tell()

    def take_case(self, loaded: LoadedCase) -> None:
        """Another case is shown: offer what an earlier run left unsaved of it."""
        self._truth, self._autosaved, self._conflict, self._note = loaded.truth, loaded.autosaved, None, ""
        self._notices.clear()
        dataset = self._session.dataset
        if dataset is not None and not dataset.writable:
            self._ask_for_folder()
        if loaded.autosaved is not None and set(loaded.autosaved.slices) <= set(self.unsaved()):
            # Left in this very window, and open again as it was left.
            self._autosaved = None
        elif loaded.autosaved is not None:
            listed = _listed(list(loaded.autosaved.slices))
            when = datetime.fromisoformat(loaded.autosaved.time).astimezone().strftime("%d %B, %H:%M")
            text = f"Edits of {listed} were not saved ({when})."
            if loaded.autosaved.changed:
                text += f" Since then {_listed(list(loaded.autosaved.changed))} changed in the dataset."
            self._ask("autosave", text, RECOVER, DISCARD)
        self._show_notice()
        self._tell()

    def answer(self, label: str) -> None:
        """The user has decided."""
        if label == RECOVER:
            self._recover()
        elif label == DISCARD:
            self._discard_autosaved()
        elif label == KEEP_MINE:
            self._settle("conflict")
            self.save(overwrite=True)
        elif label == TAKE_THEIRS:
            self._take_theirs()
        elif label == CHOOSE_FOLDER:
            self.folderWanted.emit()
        else:
            self._settle("other")

    def start(self) -> None:
        """Make a working mask without a model: the dataset's own, or an empty one; or take up what was put aside."""
        reference = self._reference()
        if reference is None or not self._can_start():
            return
        of_case = self._is_of_case(reference)
        work = self._session.take_up() if of_case else None
        if work is None or not (work.begun or work.probability.known.any()):
            truth, shape = self._dataset_mask() if of_case else None, shape_of(reference)
            mask = truth if truth is not None and truth.shape == shape else None
            self._session.start_work(shape, mask=mask, of_case=of_case)
        self._segmentation.show_work(reference)
        self._tell()

    def accept(self) -> None:
        """Take the shown slice for right as it is; or, if it was, no longer."""
        work, z = self._session.work, self._segmentation.shown_slice()
        if work is None or z is None or self._history is None:
            return
        if not work.mask.is_accepted(z) and self._is_blank(work, z) and self._in_truth(z):
            self._refuse_blank(z)
            self._tell()
            return
        self._clock.tick()
        self._history.mark(z, not work.mask.is_accepted(z))
        self._after_edit()

    def revert(self) -> None:
        """Put the shown slice back to the model's mask."""
        work, z = self._session.work, self._segmentation.shown_slice()
        if work is not None and z is not None:
            if work.speaks_of(z):
                self._write({z: work.mask.model[z]}, unmark=True)
            else:
                self._refuse_blank(z)

    def clear(self) -> None:
        """Empty the shown slice."""
        work, z = self._session.work, self._segmentation.shown_slice()
        if work is not None and z is not None:
            self._write({z: np.zeros_like(work.mask.model[z])})

    def interpolate(self) -> None:
        """Fill the slices between the nearest corrected ones below and above the shown one."""
        work, z, layer = self._session.work, self._segmentation.shown_slice(), self._segmentation.layer
        if work is None or z is None or layer is None:
            return
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
        lower, upper = (np.asarray(data[end], dtype=np.uint8) for end in gap)
        planes = interpolate_slices(lower, upper, between=above - below - 1, spacing=spacing)
        filled = {below + 1 + index: plane for index, plane in enumerate(planes)}
        self._write(filled)
        for index, plane in filled.items():
            work.mask.note_interpolated(index, plane)
        self.said.emit(f"Filled {_listed(sorted(filled))} between {below} and {above}.")
        self._tell()

    def saving(self) -> bool:
        """Whether a save runs."""
        return self._task is not None

    def save(self, *, overwrite: bool = False) -> SaveJob | None:
        """Write the unsaved slices into the dataset, in the background.

        Returns what is being written, as `Session.saved` will tell of it; None where nothing is: there is nothing to
        save, or no dataset, or a save runs already.
        """
        if self._task is not None:
            return None
        if self._session.work is not None and self._session.case_work is None:
            self.failed.emit(
                InputError("this scan belongs to no dataset; open it in panel Data, or save the layer (File, Save)")
            )
            return None
        job = self._job()
        if job is None:
            self.said.emit("Nothing to save.")
            return None
        self.said.emit(f"Saving {_listed(sorted(job.planes))} …")
        self._task = self._lane.submit(
            lambda task: job.save(overwrite=overwrite), returned=self._session.take_saved, failed=self.failed.emit
        )
        self._task.finished.connect(self._on_finished)
        self._tell()
        return job

    def save_now(self) -> bool:
        """Save, and return when it is done; whether nothing is left unsaved."""
        self.save()
        loop = QEventLoop()
        while self._task is not None:
            self._task.finished.connect(loop.quit)
            loop.exec()
        return not self.unsaved()

    def autosave(self, *, final: bool = False) -> None:
        """Write what is not saved beside the dataset, in the background.

        `final`: there will be no other, so every slice is compared, which takes a moment on a large scan.
        """
        dataset, case = self._session.dataset, self._session.case
        if dataset is None or case is None:
            return
        job, case_id = self._job(final=final), case.case_id
        # An earlier run's edits stay beside the new ones until the user has decided about them.
        undecided = {} if self._autosaved is None else self._autosaved.planes()
        if job is None and (undecided or self._session.is_aside()):
            return

        if job is None:
            self._lane.submit(lambda task: dataset.drop_autosave(case_id), failed=self._on_autosave_failed)
            return

        def work(task: Task) -> str | None:
            job.autosave(undecided)
            # Not before there is something to correct: looking at a dataset writes nothing into it.
            return dataset.claim()

        self._lane.submit(work, returned=self._on_autosaved, failed=self._on_autosave_failed)

    def discard(self) -> None:
        """Forget what is not saved."""
        self._autosave.stop()
        self._session.drop_edits()
        self.autosave()
        self._tell()

    def use_overlay(self, dataset: Dataset) -> None:
        """Save into another folder from now on: the dataset is read-only."""
        self._session.use_overlay(dataset)
        self._settle("folder")
        self.said.emit(f"Corrections are saved in {dataset.overlay}.")
        self._tell()

    # What happens to the layer.

    def _keep_aside(self) -> None:
        """Keep what is not saved, before its case is left or its layer is gone."""
        if self.unsaved():
            self.autosave(final=True)

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
        self._clock.tick()
        if not self._look.isActive():
            self._look.start()
        # Not anew with every stroke: it is never further behind than its interval.
        if not self._autosave.isActive():
            self._autosave.start()

    def _on_replaced(self) -> None:
        if self._session.work is not None:
            self._session.work.mask.touch()
            self._look.start()
            self._autosave.start()

    def _on_written(self) -> None:
        if not self._look.isActive():
            self._look.start()

    def _write(self, planes: dict[int, Plane], *, unmark: bool = False) -> None:
        work = self._session.work
        if self._history is None or work is None:
            return
        self._clock.tick()
        written = self._history.write(planes)
        for z in planes:
            if work.mask.is_accepted(z) and (unmark or z in written):
                self._history.mark(z, False)
        work.mask.touch(planes)
        self._after_edit()

    def _after_edit(self) -> None:
        self._tell()
        if not self._autosave.isActive():
            self._autosave.start()

    # Saving.

    def _job(self, *, final: bool = True) -> SaveJob | None:
        self._segmentation.settle()
        seconds = self._clock.take() if final else 0.0
        return self._session.save_job(annotator=_user(), seconds=seconds, thorough=final)

    def _on_saved(self, result: SaveResult) -> None:
        work = self._session.work
        ours = work is not None and work.mask is result.job.work
        if ours and result.saved and self._history is not None:
            self._history.forget_marks()
        error = result.error
        if error is None:
            self._note = f"Saved {_listed(result.saved)} at {_now()}."
            self.said.emit(f"Saved {_listed(result.saved)} of {result.job.case_id}.")
        elif isinstance(error, ChangedElsewhereError):
            self._conflict = result.job.work, error.slices
            self._ask("conflict", f"{error.problem[0].upper()}{error.problem[1:]}.", KEEP_MINE, TAKE_THEIRS)
            self.failed.emit(error)
        elif isinstance(error, ReadOnlyError):
            self._ask_for_folder()
            self.failed.emit(error)
        else:
            self.failed.emit(error)
        self.caseChanged.emit()
        self._tell()
        # What could not be saved, or has been painted meanwhile.
        self._autosave.start()

    def _on_finished(self) -> None:
        self._task = None
        self._tell()

    def _on_autosaved(self, other: str | None) -> None:
        self._note = f"Edits kept aside at {_now()}."
        if other is not None and other != self._other:
            self._other = other
            text = f"{other[0].upper()}{other[1:]}. What it changes is not overwritten without a question."
            self._ask("other", text, UNDERSTOOD)
        self._tell()

    def _on_autosave_failed(self, error: Exception) -> None:
        if isinstance(error, ReadOnlyError):
            self._ask_for_folder()
        else:
            self.failed.emit(error)

    # Decisions.

    def _ask(self, topic: str, text: str, *answers: str) -> None:
        """Ask something; the latest question is shown, and those before it when it is settled."""
        self._notices.pop(topic, None)
        self._notices[topic] = text, answers
        self._show_notice()

    def _settle(self, topic: str) -> None:
        self._notices.pop(topic, None)
        self._show_notice()

    def _show_notice(self) -> None:
        text, answers = next(reversed(self._notices.values()), ("", ()))
        self.noticeChanged.emit(text, answers)

    def _ask_for_folder(self) -> None:
        if "folder" not in self._notices:
            self._ask("folder", "This dataset is read-only. Corrections need a folder of their own.", CHOOSE_FOLDER)

    def _recover(self) -> None:
        autosaved = self._autosaved
        if autosaved is None:
            self._settle("autosave")
            return
        if self._session.case_work is None:
            self.start()
        work = self._session.case_work
        if work is None or self._history is None:
            self.failed.emit(InputError("choose an image of this case in panel Data first, then recover its edits"))
            return
        if autosaved.shape != work.mask.model.shape:
            self.failed.emit(InputError("the unsaved edits are of a scan of another shape; they were not recovered"))
            return
        self._autosaved = None
        self._settle("autosave")
        # What has been painted since is newer.
        newer = set(work.mask.unsaved())
        planes = {z: plane for z, plane in autosaved.planes().items() if z not in newer}
        written = self._history.write(planes)
        for z in planes:
            if z not in written:
                self._history.mark(z, True)
        work.mask.touch(planes)
        self.said.emit(f"Recovered {_listed(sorted(planes))}." if planes else "Nothing older than what is painted now.")
        self._after_edit()

    def _discard_autosaved(self) -> None:
        self._autosaved = None
        self._settle("autosave")
        self.autosave()

    def _take_theirs(self) -> None:
        """Show the dataset's pixels of the slices that were changed elsewhere."""
        conflict, self._conflict = self._conflict, None
        self._settle("conflict")
        case, work = self._session.case, self._session.work
        if conflict is None or case is None or work is None or work.mask is not conflict[0]:
            return
        slices = conflict[1]

        def read(task: Task) -> dict[int, Plane]:
            mask = case.read_mask()
            return {} if mask is None else {z: mask[z] for z in slices}

        self._lane.submit(read, returned=self._show_theirs, failed=self.failed.emit)

    def _show_theirs(self, planes: dict[int, Plane]) -> None:
        work = self._session.work
        if work is None or self._history is None:
            return
        self._history.write(planes)
        work.mask.note_saved(planes)
        self._history.forget_marks()
        self.said.emit(f"{_listed(sorted(planes)).capitalize()} as the dataset has them now; Ctrl+Z brings yours back.")
        self._after_edit()

    # What is known of a slice.

    def _is_blank(self, work: Work, z: int) -> bool:
        """Whether slice `z` is empty because nobody and no model has said anything of it."""
        return not work.speaks_of(z) and work.mask.is_open(z)

    def _in_truth(self, z: int) -> bool:
        truth = self._dataset_mask()
        return truth is not None and z < len(truth) and bool(truth[z].any())

    def _refuse_blank(self, z: int) -> None:
        self.failed.emit(
            InputError(f"no model has segmented slice {z} yet, so its mask is not known; press Segment first")
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
        from_truth = can_start and self._dataset_mask() is not None and self._is_of_case_chosen()
        if work is None or self._segmentation.layer is None:
            return CorrectionBoard(
                can_start=can_start, starts_from_truth=from_truth, goes_on=can_start and self._session.is_aside()
            )
        of_case = bool(work.case_id)
        return CorrectionBoard(
            states=tuple(work.mask.states()),
            z=self._segmentation.shown_slice(),
            can_start=can_start and from_truth,
            starts_from_truth=from_truth,
            can_save=of_case,
            saving=self._task is not None,
            note=self._note if of_case else "This scan belongs to no dataset: save the layer itself.",
        )

    def _can_start(self) -> bool:
        """Whether there is an image, and of it at most slices that were saved before."""
        work = self._session.work
        bare = work is None or (bool(work.case_id) and not work.begun and not work.probability.known.any())
        return bare and self._reference() is not None

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


def _listed(slices: list[int]) -> str:
    return f"slice{'s' if len(slices) != 1 else ''} {slice_numbers(slices)}"


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user id without a name, as in some containers.
        return ""
