"""Saves the corrections of the open case into its dataset, and keeps aside what is not saved yet."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from qtpy.QtCore import QEventLoop, QObject, QTimer, Signal

from napari_unet_seg.case_state import LoadedCase, Overlay
from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.data.volume import labels_in
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from napari_unet_seg.saving import ActiveTime, SaveJob, SaveResult
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.questions import DISCARD, RECOVER, Questions
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.times import day_and_time, time_now
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.working_mask import Plane, WorkingMask

if TYPE_CHECKING:
    from napari_unet_seg.data.autosave import Autosave
    from napari_unet_seg.data.dataset import Case, Dataset

KEEP_MINE, TAKE_THEIRS = "Save mine", "Take theirs"
CHOOSE_FOLDER = "Choose a folder…"
UNDERSTOOD = "OK"
_TOPICS = ("autosave", "conflict", "folder", "other")


class CorrectionSaver(QObject):
    """Takes corrections to the disk, and asks what only the user can decide.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    questions : Questions
        Has the user asked.
    lane : Lane
        Where files are written: of its own, so that nothing long lies before an autosave.
    """

    changed = Signal()
    """The note, or whether a save runs, is another."""
    caseChanged = Signal()
    """What there is of the open case has changed."""
    recoverWanted = Signal(object)
    """An `Autosave` is to be shown again; `settle_recovery` tells that it was."""
    theirsRead = Signal(object)
    """Slice number to its pixels in the dataset ``(Y, X)``, to be shown in place of the user's own."""
    folderWanted = Signal()
    """A folder for the corrections of a read-only dataset."""
    said = Signal(str)
    failed = Signal(object)

    _closed_now = Signal()
    _AUTOSAVE_MS = 3000

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        questions: Questions,
        lane: Lane,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._questions = questions
        self._lane = lane
        self._clock = ActiveTime()
        self._task: Task | None = None
        self._closed = False
        self._identity = ""
        self._autosaved: Autosave | None = None
        self._mixed = False
        self._saved_note = ""
        self._conflict: tuple[WorkingMask, tuple[int, ...]] | None = None
        self._other: str | None = None
        self.note = ""
        """When the last save or autosave was."""
        self._autosave = QTimer(self)
        self._autosave.setSingleShot(True)
        self._autosave.setInterval(self._AUTOSAVE_MS)
        self._autosave.timeout.connect(self.autosave)
        questions.answered.connect(self._on_answered)
        session.work_leaving.connect(self._keep_aside)
        session.saved.connect(self._on_saved)
        session.case_changed.connect(self._on_case_changed)
        session.dataset_changed.connect(self._on_dataset_changed)

    def disconnect_all(self) -> None:
        """Start nothing new, wait for nothing, and disconnect."""
        self._closed = True
        self._autosave.stop()
        self._session.work_leaving.disconnect(self._keep_aside)
        self._session.saved.disconnect(self._on_saved)
        self._session.case_changed.disconnect(self._on_case_changed)
        self._session.dataset_changed.disconnect(self._on_dataset_changed)
        self._closed_now.emit()

    def unsaved(self) -> list[int]:
        """Slices of the open case that are edited or accepted and not in the dataset."""
        work = self._session.case_work
        if work is None:
            return []
        self._segmentation.settle()
        return work.mask.unsaved()

    def saving(self) -> bool:
        """Whether a save runs."""
        return self._task is not None

    def note_edit(self) -> None:
        """Something was edited: it is kept aside soon, and the time that a person works is counted."""
        self._clock.tick()
        # Not anew with every stroke: it is never further behind than its interval.
        if not self._autosave.isActive():
            self._autosave.start()

    def take_case(self, loaded: LoadedCase) -> None:
        """Another case is shown: offer what an earlier run left unsaved of it."""
        self._forget()
        self._identity = self._session.reader.loose_edits.of_case(loaded.image_hash)
        self._autosaved = loaded.autosaved
        dataset = self._session.dataset
        if dataset is not None and not dataset.writable:
            self._ask_for_folder()
        if loaded.autosaved is not None and set(loaded.autosaved.slices) <= set(self.unsaved()):
            # Left in this very window, and open again as it was left.
            self._autosaved = None
        elif loaded.autosaved is not None:
            listed = listed_slices(list(loaded.autosaved.slices))
            when = day_and_time(loaded.autosaved.time)
            text = f"Edits of {listed} of {loaded.case.case_id} were not saved ({when})."
            if loaded.autosaved.changed:
                text += f" Since then {listed_slices(list(loaded.autosaved.changed))} changed in the dataset."
            self._questions.ask("autosave", text, RECOVER, DISCARD)

    def _on_answered(self, topic: str, label: str) -> None:
        if topic not in _TOPICS:
            return
        if label == RECOVER and self._autosaved is not None:
            self.recoverWanted.emit(self._autosaved)
        elif label == DISCARD:
            self.settle_recovery()
            self.autosave()
        elif label in (KEEP_MINE, TAKE_THEIRS):
            self._settle_conflict(mine=label == KEEP_MINE)
        elif label == CHOOSE_FOLDER:
            self.folderWanted.emit()
        else:
            self._questions.settle("other")

    def settle_recovery(self) -> None:
        """The edits of an earlier run are shown again, or not wanted."""
        self._autosaved = None
        self._questions.settle("autosave")

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
        self.said.emit(f"Saving {listed_slices(sorted(job.planes)).removesuffix(' …')} …")
        self._task = self._lane.submit(
            lambda task: job.save(overwrite=overwrite), returned=self._session.take_saved, failed=self.failed.emit
        )
        self._task.finished.connect(self._on_finished)
        self.changed.emit()
        return job

    def save_now(self) -> bool:
        """Save, and return when it is done; whether nothing is left unsaved, and the dock is still open."""
        # A save that runs may write what is older than what the user sees.
        if self.wait() and self.unsaved():
            self.save()
        return self.wait() and not self.unsaved()

    def wait(self) -> bool:
        """Return when no save runs any more; whether the dock is still open.

        The window is drawn meanwhile, but takes no clicks and no keys, nor its X: they come when this returns.
        """
        while self._task is not None and not self._closed:
            task, loop = self._task, QEventLoop()
            task.finished.connect(loop.quit)
            self._closed_now.connect(loop.quit)
            loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
            if not task.done and not self._closed:
                # The application quits: no loop waits for anything any more.
                self._lane.finish()
                break
        return not self._closed

    def autosave(self, *, final: bool = False) -> None:
        """Write what is not saved beside the dataset, in the background.

        `final`: there will be no other, so every slice is compared, which takes a moment on a large scan.
        """
        dataset, case = self._session.dataset, self._session.case
        if dataset is None or case is None:
            return
        job, case_id = self._job(final=final), case.case_id
        # An earlier run's edits stay beside the new ones until the user has decided about them.
        earlier = self._autosaved
        if job is None and (self._session.is_aside() or (earlier is not None and not self._mixed)):
            return
        self._mixed = job is not None and earlier is not None

        edits, identity = self._session.reader.loose_edits, self._identity

        def failed(error: Exception) -> None:
            self._on_autosave_failed(dataset, error)

        if job is None:

            def forget(task: Task) -> None:
                if earlier is None:
                    edits.drop(identity)
                    dataset.drop_autosave(case_id)
                else:
                    dataset.put_back_autosave(case_id, earlier)

            self._lane.submit(forget, returned=lambda _: self._on_forgotten(case), failed=failed)
            return

        def work(task: Task) -> str | None:
            others = {} if earlier is None else earlier.planes()
            try:
                job.autosave(others)
            except InputError:
                # It is read-only, until a folder is chosen, or its disk is full: the edits are offered all the same.
                shape = job.work.model.shape
                edits.write(identity, {**others, **job.planes}, shape=shape, name=case_id)
                raise
            edits.drop(identity)
            # Not before there is something to correct: looking at a dataset writes nothing into it.
            return dataset.claim()

        self._lane.submit(work, returned=lambda other: self._on_autosaved(dataset, case, other), failed=failed)

    def discard(self) -> None:
        """Forget what is not saved."""
        self._autosave.stop()
        self._session.drop_edits()
        self.autosave()
        self.changed.emit()

    def use_overlay(self, overlay: Overlay) -> None:
        """Save into another folder from now on: the dataset is read-only."""
        self._session.use_overlay(overlay.dataset, stored=overlay.stored, reading=overlay.reading)
        self._questions.settle("folder")
        self.said.emit(f"Corrections are saved in {overlay.dataset.overlay}.")
        self.changed.emit()

    def _job(self, *, final: bool = True) -> SaveJob | None:
        self._segmentation.settle()
        seconds = self._clock.take() if final else 0.0
        return self._session.save_job(annotator=_user(), seconds=seconds, thorough=final)

    def _keep_aside(self) -> None:
        """Keep what is not saved, before its case is left or its layer is gone."""
        if self.unsaved():
            self.autosave(final=True)

    def _forget(self) -> None:
        """Another case is open, or none: what there was to say and to decide was of the one before."""
        self._autosaved, self._conflict, self._mixed = None, None, False
        self.note = self._saved_note = ""
        self._questions.settle(*_TOPICS)

    def _on_case_changed(self) -> None:
        self._forget()
        self.changed.emit()

    def _on_dataset_changed(self) -> None:
        # Who has one dataset open may have the other open too.
        self._other = None

    def _on_saved(self, result: SaveResult) -> None:
        error, of_open_case = result.error, self._is_of_open_case(result.job)
        if error is None:
            self.said.emit(f"Saved {listed_slices(result.saved)} of {result.job.case_id}.{_labels_in(result)}")
        elif isinstance(error, ChangedElsewhereError) and of_open_case:
            problem = f"{_without_advice(error)}; answer the question in panel Correct"
            self.failed.emit(ChangedElsewhereError(problem, path=error.path, slices=error.slices))
        else:
            self.failed.emit(error)
        if not of_open_case:
            return
        if error is None:
            self.note = self._saved_note = f"Saved {listed_slices(result.saved)} at {time_now()}."
            self._conflict = None
            self._questions.settle("conflict")
        elif isinstance(error, ChangedElsewhereError):
            self._conflict = result.job.work, error.slices
            told = _without_advice(error)
            self._questions.ask("conflict", f"{told[0].upper()}{told[1:]}.", KEEP_MINE, TAKE_THEIRS)
        elif isinstance(error, ReadOnlyError):
            self._ask_for_folder()
        self.caseChanged.emit()
        self.changed.emit()
        # What could not be saved, or has been painted meanwhile.
        self._autosave.start()

    def _is_of_open_case(self, job: SaveJob) -> bool:
        case, dataset = self._session.case, self._session.dataset
        same = dataset is not None and dataset.root == job.dataset.root
        return same and case is not None and case.case_id == job.case_id

    def _on_finished(self) -> None:
        self._task = None
        self.changed.emit()

    def _on_forgotten(self, case: Case) -> None:
        if case is self._session.case:
            self.note = self._saved_note
            self.caseChanged.emit()
            self.changed.emit()

    def _on_autosaved(self, dataset: Dataset, case: Case, other: str | None) -> None:
        # Of the one that was just left, perhaps.
        if case is self._session.case:
            self.note = f"Edits kept aside at {time_now()}."
        if other is not None and other != self._other and dataset is self._session.dataset:
            self._other = other
            text = f"This dataset is open elsewhere too ({other}); what is changed there is not overwritten unasked."
            self._questions.ask("other", text, UNDERSTOOD)
        self.changed.emit()

    def _on_autosave_failed(self, dataset: Dataset, error: Exception) -> None:
        if isinstance(error, ReadOnlyError):
            if dataset is self._session.dataset:
                self._ask_for_folder()
        else:
            self.failed.emit(error)

    def _settle_conflict(self, *, mine: bool) -> None:
        """Save over what was changed elsewhere, or take it."""
        if self._conflict is None:
            return
        mask, slices = self._conflict
        if not self._is_at_hand(mask):
            # Put aside: what is saved or overwritten must be what the question was about.
            self.failed.emit(InputError("go on with the corrections of this case (panel Correct) first, then decide"))
            return
        self._conflict = None
        self._questions.settle("conflict")
        if mine:
            self.save(overwrite=True)
        else:
            self._take_theirs(mask, slices)

    def _take_theirs(self, mask: WorkingMask, slices: tuple[int, ...]) -> None:
        """Read the dataset's pixels of the slices that were changed elsewhere."""
        case = self._session.case
        assert case is not None

        def read(task: Task) -> dict[int, Plane]:
            stored = case.read_mask()
            return {} if stored is None else {z: stored[z] for z in slices}

        def show(planes: dict[int, Plane]) -> None:
            # Another case may be open by now.
            if self._is_at_hand(mask):
                self.theirsRead.emit(planes)

        self._lane.submit(read, returned=show, failed=self.failed.emit)

    def _is_at_hand(self, mask: WorkingMask) -> bool:
        work = self._session.case_work
        return work is not None and work.mask is mask

    def _ask_for_folder(self) -> None:
        if not self._questions.is_open("folder"):
            self._questions.ask(
                "folder", "This dataset is read-only. Corrections need a folder of their own.", CHOOSE_FOLDER
            )


def _without_advice(error: InputError) -> str:
    """What is wrong; what to do about it is on the buttons here."""
    return error.problem.partition(";")[0]


def _labels_in(result: SaveResult) -> str:
    """Which labels were saved, where they are more than one: another one is selected by mistake easily."""
    labels = labels_in(result.job.planes[z] for z in result.saved)
    them = "it" if len(result.saved) == 1 else "them"
    return "" if labels in ([], [1]) else f" Labels in {them}: {', '.join(map(str, labels))}."


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user id without a name, as in some containers.
        return ""
