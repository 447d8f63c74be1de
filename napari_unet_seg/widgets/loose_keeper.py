"""Keeps aside the edits of an image that belongs to no dataset, and saves its mask as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import Work
from napari_unet_seg.data.loose_edits import LooseEdits
from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.engine.image_hash import pixel_hash
from napari_unet_seg.errors import InputError
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.layers import as_bytes
from napari_unet_seg.widgets.mask_file import file_of, write_mask_file
from napari_unet_seg.widgets.questions import DISCARD, RECOVER, Questions
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.times import day_and_time, time_now
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.working_mask import Plane

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_unet_seg.data.autosave import Autosave

_TOPIC = "loose"


class _Subject:
    """An image of no dataset, with the work on it; what a lane finds out of it is written by that lane alone."""

    def __init__(self, work: Work, image: Image) -> None:
        self.work = work
        self.image = image
        self.name = str(image.name)
        self.identity = ""
        self.earlier: Autosave | None = None
        """What was kept before, until the user has decided about it."""
        self.kept = False
        """Whether anything was written since."""
        self.saves = 0
        """Saves that run."""

    def look(self, edits: LooseEdits) -> Autosave | None:
        """Tell the image by its pixels, and find what was kept of it (on the lane)."""
        data = self.image.data[0] if self.image.multiscale else self.image.data
        identity = pixel_hash(np.asarray(data))
        try:
            self.earlier = edits.read(identity, shape=self.shape)
        except InputError:
            # What cannot be read, but may be one day, is not written over.
            if not edits.has(identity):
                self.identity = identity
            raise
        self.identity = identity
        return self.earlier

    def write(self, edits: LooseEdits, planes: dict[int, Plane]) -> bool:
        """Keep these slices, and whatever nobody has decided about yet; whether that could be done (on the lane)."""
        if not self.identity:
            # Why was said when the image was looked at.
            return not planes
        earlier = {} if self.earlier is None else self.earlier.planes()
        if planes or (earlier and self.kept):
            edits.write(self.identity, {**earlier, **planes}, shape=self.shape, name=self.name)
            self.kept = True
        elif not earlier:
            edits.drop(self.identity)
        return True

    def settle(self) -> None:
        """The user has decided about what was kept before (on the lane)."""
        self.earlier = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``."""
        depth, height, width = self.work.mask.model.shape
        return depth, height, width


class LooseKeeper(QObject):
    """Sees to it that no edit is lost of an image that belongs to no dataset.

    All slices that were corrected lie with the user's data (`data.loose_edits`), those that were saved as a file too,
    and are offered when the image is segmented again.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    questions : Questions
    lane : Lane
        Where files are written.
    """

    recoverWanted = Signal(object)
    """An `Autosave` is to be shown again; `settle` tells that it was."""
    changed = Signal()
    """The note, or whether a save runs, is another."""
    saved = Signal()
    """The mask was saved as a file."""
    said = Signal(str)
    failed = Signal(object)

    _KEEP_MS = 3000

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
        self._subject: _Subject | None = None
        self._saved_note = ""
        self.note = ""
        """When the last save was, or the edits were kept aside."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self._KEEP_MS)
        self._timer.timeout.connect(self.keep)
        segmentation.layerChanged.connect(self._on_layer)
        questions.answered.connect(self._on_answered)
        session.work_leaving.connect(self.leave)
        session.work_changed.connect(self._on_work_changed)

    def disconnect_all(self) -> None:
        """Start nothing new, and disconnect."""
        self._let_go()
        self._segmentation.layerChanged.disconnect(self._on_layer)
        self._session.work_leaving.disconnect(self.leave)
        self._session.work_changed.disconnect(self._on_work_changed)

    def note_edit(self) -> None:
        """Something was edited: it is kept aside soon."""
        if self._subject is not None and not self._timer.isActive():
            self._timer.start()

    def keep(self, *, final: bool = False) -> None:
        """Write what was edited, in the background; `final` as of `CorrectionSaver.autosave`."""
        subject = self._subject
        if subject is None:
            return
        self._timer.stop()
        self._segmentation.settle()
        mask, edits = subject.work.mask, self._session.reader.loose_edits
        planes = {z: as_bytes(mask.data[z]) for z in mask.corrected(thorough=final)}
        unsaved = bool(mask.unsaved(thorough=False))

        def kept(done: bool) -> None:
            self._note_kept(subject, done or not unsaved)
            if subject is self._subject and done:
                self.note = f"Edits kept aside at {time_now()}." if unsaved else self._saved_note
                self.changed.emit()

        def failed(error: Exception) -> None:
            self._note_kept(subject, not unsaved)
            self.failed.emit(error)

        self._lane.submit(lambda task: subject.write(edits, planes), returned=kept, failed=failed)

    def unkept(self) -> list[str]:
        """Names of images with edits that could not be kept aside, and that no file has: they go with the window."""
        self.leave()
        self._lane.finish()
        return list(self._session.reader.loose_edits.unkept.values())

    def image(self) -> Image | None:
        """The image of no dataset whose mask is at hand."""
        return None if self._subject is None else self._subject.image

    def saving(self) -> bool:
        """Whether the mask is being saved."""
        return self._subject is not None and self._subject.saves > 0

    def save(self, path: Path, *, image: Image) -> None:
        """Write the mask of an image into a file, in the background, if it is still the one at hand.

        See `mask_file.write_mask_file`.
        """
        subject, layer = self._subject, self._segmentation.layer
        if subject is None or layer is None or subject.image is not image:
            self.said.emit("Another image is at hand by now; nothing was saved.")
            return
        self._segmentation.settle()
        mask = subject.work.mask
        planes = {z: as_bytes(mask.data[z]) for z in mask.unsaved()}
        data, meta, _ = layer.as_layer_data_tuple()
        pixels, scan = as_bytes(data), file_of(image)

        def saved(_: object) -> None:
            mask.note_saved(planes)
            self._note_kept(subject, True)
            self._segmentation.show_as_saved(mask, planes)
            self.said.emit(f"Saved the mask as {path}.")
            if subject is self._subject:
                self.note = self._saved_note = f"Saved as {path.name} at {time_now()}."
                self.saved.emit()

        def ended() -> None:
            subject.saves -= 1
            self.changed.emit()

        subject.saves += 1
        self._lane.submit(
            lambda task: write_mask_file(path, pixels, meta, image=scan),
            returned=saved,
            failed=self.failed.emit,
            finished=ended,
        )
        self.changed.emit()

    def settle(self) -> None:
        """What was kept before is shown again, or not wanted."""
        subject = self._subject
        if subject is not None:
            self._lane.submit(lambda task: subject.settle(), failed=self.failed.emit)
            self._timer.start()
        self._questions.settle(_TOPIC)

    def _on_layer(self, layer: Labels | None) -> None:
        work, image = self._session.work, self._segmentation.reference
        if layer is None or image is None or work is None or work.case_id:
            return
        if self._subject is None or self._subject.work is not work:
            self._take(work, image)

    def _take(self, work: Work, image: Image) -> None:
        """Have this image's edits kept from now on, and offer those of before."""
        self._let_go()
        subject = self._subject = _Subject(work, image)
        image.events.data.connect(self._on_image_replaced)
        edits = self._session.reader.loose_edits

        def look(task: Task) -> Autosave | None:
            return subject.look(edits)

        def found(earlier: Autosave | None) -> None:
            if earlier is None or subject is not self._subject:
                return
            data, planes = work.mask.data, earlier.planes()
            shown = all(np.array_equal(as_bytes(data[z]), plane) for z, plane in planes.items())
            # Slices that the model has alike, and nobody has accepted here, are not.
            if shown and set(planes) <= set(work.mask.corrected()):
                # They are in view, as the dock before this one left them.
                self.settle()
                return
            listed = listed_slices(list(earlier.slices))
            when = day_and_time(earlier.time)
            self._questions.ask(_TOPIC, f"Edits of {listed} of {subject.name} were kept ({when}).", RECOVER, DISCARD)

        self._lane.submit(look, returned=found, failed=self.failed.emit)

    def _on_answered(self, topic: str, label: str) -> None:
        if topic != _TOPIC or self._subject is None:
            return
        if label == RECOVER and self._subject.earlier is not None:
            self.recoverWanted.emit(self._subject.earlier)
        else:
            self.settle()

    def leave(self) -> None:
        """Keep everything, before the image is left or the window closes."""
        if self._subject is not None and self._subject.work is self._session.work:
            self.keep(final=True)

    def _note_kept(self, subject: _Subject, kept: bool) -> None:
        """Note whether what was painted on an image would outlive the window."""
        key, unkept = subject.identity or subject.name, self._session.reader.loose_edits.unkept
        if kept:
            unkept.pop(key, None)
        else:
            unkept[key] = subject.name

    def _on_work_changed(self) -> None:
        if self._subject is not None and self._subject.work is not self._session.work:
            self._let_go()

    def _on_image_replaced(self) -> None:
        """The image has other pixels: it is another one to whoever opens it next."""
        if self._subject is not None:
            self._take(self._subject.work, self._subject.image)
            self._timer.start()

    def _let_go(self) -> None:
        self._timer.stop()
        if self._subject is not None:
            self._subject.image.events.data.disconnect(self._on_image_replaced)
            self._subject, self.note, self._saved_note = None, "", ""
            self._questions.settle(_TOPIC)
