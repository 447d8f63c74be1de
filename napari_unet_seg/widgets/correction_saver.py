"""Saves the corrections of the open case into its dataset, and keeps aside what is not saved yet."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import QEventLoop, QObject, QTimer, Signal

from napari_unet_seg.case_state import LoadedCase
from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError
from napari_unet_seg.saving import ActiveTime, SaveJob, SaveResult
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.working_mask import Plane, WorkingMask

if TYPE_CHECKING:
    from napari_unet_seg.data.autosave import Autosave
    from napari_unet_seg.data.dataset import Case, Dataset

RECOVER, DISCARD = "Recover", "Discard"
KEEP_MINE, TAKE_THEIRS = "Save mine", "Take theirs"
CHOOSE_FOLDER = "Choose a folder…"
UNDERSTOOD = "OK"


class CorrectionSaver(QObject):
    """Takes corrections to the disk, and asks what only the user can decide.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    lane : Lane
        Where files are written: of its own, so that nothing long lies before an autosave.
    """

    changed = Signal()
    """The note, or whether a save runs, is another."""
    caseChanged = Signal()
    """What there is of the open case has changed."""
    noticeChanged = Signal(str, tuple)
    """Something to decide, and the labels of the answers; an empty text where nothing is."""
    recoverWanted = Signal(object)
    """An `Autosave` is to be shown again; `settle_recovery` tells that it was."""
    theirsRead = Signal(object)
    """Slice number to its pixels in the dataset ``(Y, X)``, to be shown in place of the user's own."""
    folderWanted = Signal()
    """A folder for the corrections of a read-only dataset."""
    said = Signal(str)
    failed = Signal(object)

    _AUTOSAVE_MS = 3000

    def __init__(
        self, *, session: Session, segmentation: SegmentationLayer, lane: Lane, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._lane = lane
        self._clock = ActiveTime()
        self._task: Task | None = None
        self._autosaved: Autosave | None = None
        self._mixed = False
        self._saved_note = ""
        self._conflict: tuple[WorkingMask, tuple[int, ...]] | None = None
        self._other: str | None = None
        self._notices: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.note = ""
        """When the last save or autosave was."""
        self._autosave = QTimer(self)
        self._autosave.setSingleShot(True)
        self._autosave.setInterval(self._AUTOSAVE_MS)
        self._autosave.timeout.connect(self.autosave)
        session.work_leaving.connect(self._keep_aside)
        session.saved.connect(self._on_saved)

    def disconnect_all(self) -> None:
        """Start nothing new, and disconnect."""
        self._autosave.stop()
        self._session.work_leaving.disconnect(self._keep_aside)
        self._session.saved.disconnect(self._on_saved)

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
        self._autosaved, self._conflict, self._mixed = loaded.autosaved, None, False
        self.note = self._saved_note = ""
        self._notices.clear()
        dataset = self._session.dataset
        if dataset is not None and not dataset.writable:
            self._ask_for_folder()
        if loaded.autosaved is not None and set(loaded.autosaved.slices) <= set(self.unsaved()):
            # Left in this very window, and open again as it was left.
            self._autosaved = None
        elif loaded.autosaved is not None:
            listed = listed_slices(list(loaded.autosaved.slices))
            when = datetime.fromisoformat(loaded.autosaved.time).astimezone().strftime("%d %B, %H:%M")
            text = f"Edits of {listed} were not saved ({when})."
            if loaded.autosaved.changed:
                text += f" Since then {listed_slices(list(loaded.autosaved.changed))} changed in the dataset."
            self._ask("autosave", text, RECOVER, DISCARD)
        self._show_notice()

    def answer(self, label: str) -> None:
        """The user has decided."""
        if label == RECOVER and self._autosaved is not None:
            self.recoverWanted.emit(self._autosaved)
        elif label == DISCARD:
            self.settle_recovery()
            self.autosave()
        elif label == KEEP_MINE:
            self._settle("conflict")
            self.save(overwrite=True)
        elif label == TAKE_THEIRS:
            self._take_theirs()
        elif label == CHOOSE_FOLDER:
            self.folderWanted.emit()
        else:
            self._settle("other")

    def settle_recovery(self) -> None:
        """The edits of an earlier run are shown again, or not wanted."""
        self._autosaved = None
        self._settle("autosave")

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
        self.said.emit(f"Saving {listed_slices(sorted(job.planes))} …")
        self._task = self._lane.submit(
            lambda task: job.save(overwrite=overwrite), returned=self._session.take_saved, failed=self.failed.emit
        )
        self._task.finished.connect(self._on_finished)
        self.changed.emit()
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
        earlier = self._autosaved
        if job is None and (self._session.is_aside() or (earlier is not None and not self._mixed)):
            return
        self._mixed = job is not None and earlier is not None

        if job is None:

            def forget(task: Task) -> None:
                if earlier is None:
                    dataset.drop_autosave(case_id)
                else:
                    dataset.put_back_autosave(case_id, earlier)

            self._lane.submit(forget, returned=lambda _: self._on_forgotten(case), failed=self._on_autosave_failed)
            return

        def work(task: Task) -> str | None:
            job.autosave({} if earlier is None else earlier.planes())
            # Not before there is something to correct: looking at a dataset writes nothing into it.
            return dataset.claim()

        self._lane.submit(work, returned=lambda other: self._on_autosaved(case, other), failed=self._on_autosave_failed)

    def discard(self) -> None:
        """Forget what is not saved."""
        self._autosave.stop()
        self._session.drop_edits()
        self.autosave()
        self.changed.emit()

    def use_overlay(self, dataset: Dataset) -> None:
        """Save into another folder from now on: the dataset is read-only."""
        self._session.use_overlay(dataset)
        self._settle("folder")
        self.said.emit(f"Corrections are saved in {dataset.overlay}.")
        self.changed.emit()

    def _job(self, *, final: bool = True) -> SaveJob | None:
        self._segmentation.settle()
        seconds = self._clock.take() if final else 0.0
        return self._session.save_job(annotator=_user(), seconds=seconds, thorough=final)

    def _keep_aside(self) -> None:
        """Keep what is not saved, before its case is left or its layer is gone."""
        if self.unsaved():
            self.autosave(final=True)

    def _on_saved(self, result: SaveResult) -> None:
        error = result.error
        if error is None:
            self.note = self._saved_note = f"Saved {listed_slices(result.saved)} at {_now()}."
            self.said.emit(f"Saved {listed_slices(result.saved)} of {result.job.case_id}.")
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
        self.changed.emit()
        # What could not be saved, or has been painted meanwhile.
        self._autosave.start()

    def _on_finished(self) -> None:
        self._task = None
        self.changed.emit()

    def _on_forgotten(self, case: Case) -> None:
        if case is self._session.case:
            self.note = self._saved_note
            self.changed.emit()

    def _on_autosaved(self, case: Case, other: str | None) -> None:
        # Of the one that was just left, perhaps.
        if case is self._session.case:
            self.note = f"Edits kept aside at {_now()}."
        if other is not None and other != self._other:
            self._other = other
            text = f"{other[0].upper()}{other[1:]}. What it changes is not overwritten without a question."
            self._ask("other", text, UNDERSTOOD)
        self.changed.emit()

    def _on_autosave_failed(self, error: Exception) -> None:
        if isinstance(error, ReadOnlyError):
            self._ask_for_folder()
        else:
            self.failed.emit(error)

    def _take_theirs(self) -> None:
        """Read the dataset's pixels of the slices that were changed elsewhere."""
        conflict, self._conflict = self._conflict, None
        self._settle("conflict")
        case, work = self._session.case, self._session.work
        if conflict is None or case is None or work is None or work.mask is not conflict[0]:
            return
        slices = conflict[1]

        def read(task: Task) -> dict[int, Plane]:
            mask = case.read_mask()
            return {} if mask is None else {z: mask[z] for z in slices}

        self._lane.submit(read, returned=self.theirsRead.emit, failed=self.failed.emit)

    # What there is to decide.

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


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A user id without a name, as in some containers.
        return ""
