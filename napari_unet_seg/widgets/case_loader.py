"""Opens datasets and cases in the background, and shows a case's layers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import LoadedCase, Overlay, Reading, Stored
from napari_unet_seg.errors import InputError
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.layers import image_layers, shape_of, truth_layer
from napari_unet_seg.widgets.left_open import LeftOpen
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane, Task, Work
from napari_unet_seg.wording import counted

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_unet_seg.data.dataset import Dataset


class CaseLoader(QObject):
    """Reads off the window's thread; puts one case at a time into the viewer.

    The layers of the case before are taken out; its segmentation is kept by the session and comes back with it.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    viewer : ViewerModel
    lane : Lane
        Where files are read.
    may_leave : callable
        Whether the open case may be closed now; asks the user where edits are not saved.
    wait_for_saves : callable, optional
        Called in the background: returns when all that was to be saved, or dropped, is so on the disk.
    """

    caseShown = Signal(object, object)
    """A case's image layers are in the viewer: the list of them, and the `LoadedCase`."""
    stayed = Signal()
    """The case that was open stays open: its edits are to be seen to first."""
    said = Signal(str)
    failed = Signal(object)

    _LEAVE_MS = 200

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        may_leave: Callable[[], bool],
        wait_for_saves: Callable[[], None] = lambda: None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._may_leave = may_leave
        self._wait_for_saves = wait_for_saves
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._layers: list[Layer] = []
        self._truth: Labels | None = None
        self._newest: Task | None = None
        self._leaving: list[Layer] = []
        self._left: LeftOpen | None = None
        # Not in the call that asked a question: vispy leaves the vertex arrays of deleted layers enabled, and an empty
        # canvas that is drawn before the window has settled then ends the process (Mesa).
        self._leave = QTimer(self)
        self._leave.setSingleShot(True)
        self._leave.setInterval(self._LEAVE_MS)
        self._leave.timeout.connect(self._clear)
        session.reading_wanted.connect(self._read_mask)

    def disconnect_all(self) -> None:
        """Take nothing more out of the viewer."""
        self._leave.stop()
        self._session.reading_wanted.disconnect(self._read_mask)

    def busy(self) -> bool:
        """Whether a dataset or a case is being read."""
        return self._newest is not None and not self._newest.done

    @property
    def truth(self) -> Labels | None:
        """The layer of the mask that the open case came with, as long as it is in the viewer."""
        return self._truth if self._truth in self._viewer.layers else None

    @property
    def images(self) -> list[Layer]:
        """The open case's image layers that are in the viewer; the one that lies on top comes last."""
        return [layer for layer in self._layers if layer is not self._truth and layer in self._viewer.layers]

    @property
    def left(self) -> LeftOpen | None:
        """What the dock before this one had open, as long as neither that nor anything else is."""
        return self._left if self._session.work is None else None

    def shows(self, layer: Layer) -> bool:
        """Whether a layer is one of the open case's images."""
        return any(layer is own for own in self.images)

    def open_path(self, path: Path) -> None:
        """Open a dataset; a dataset of one case opens that case too."""
        self.said.emit(f"Opening {path} …")
        reader = self._session.reader

        def work(task: Task) -> tuple[Dataset, dict[str, Stored]]:
            dataset = reader.read_dataset(path)
            return dataset, reader.read_stored(dataset)

        self._run(work, self._take_dataset)

    def open_case(self, case_id: str) -> None:
        """Load a case of the open dataset."""
        dataset, reader = self._session.dataset, self._session.reader
        if dataset is None:
            return
        try:
            case = dataset[case_id]
        except (KeyError, ValueError) as error:
            self.failed.emit(error)
            return
        # The open case once more: it is asked first, for what is read before the answer is older than what is saved or
        # discarded then. Of another case it is asked when that was read: who cannot open it has discarded nothing.
        if self._session.is_open(case) and not self._may_leave():
            return
        self.said.emit(f"Loading {case_id} …")

        def work(task: Task) -> LoadedCase:
            self._wait_for_saves()
            return reader.read_case(case, dataset=dataset)

        self._run(work, self._take_case)

    def take_over(self, left: LeftOpen) -> None:
        """Go on where the dock before this one was closed: its dataset, its case and the layers that are there yet."""
        session, case = self._session, left.case
        session.take_over(left.session)
        if session.work is not None:
            if left.mask in self._viewer.layers and left.reference in self._viewer.layers:
                self._segmentation.take_over(left.mask, left.reference)
            else:
                session.put_work_aside()
        dataset = session.dataset
        if dataset is None:
            return
        if case is not None:
            self._left = left

        def take(stored: dict[str, Stored]) -> None:
            if session.dataset is not dataset:
                return
            session.dataset_changed.emit(stored)
            images = [image for image in left.images if image in self._viewer.layers]
            if case is not None and images and self._newest is None:
                self._run(
                    lambda task: session.reader.read_case(case, dataset=dataset),
                    lambda loaded: self._take_left(left, loaded),
                )

        self._lane.submit(lambda task: session.reader.read_stored(dataset), returned=take, failed=self.failed.emit)

    def _take_left(self, left: LeftOpen, loaded: LoadedCase) -> None:
        """Have a case open whose layers are in the viewer already."""
        images = [image for image in left.images if image in self._viewer.layers]
        if not images or shape_of(images[-1]) != loaded.volume.shape:
            self._take_case(loaded)
            return
        self._left = None
        self._session.take_case(loaded.case, reading=None if loaded.mask_problem else loaded.reading)
        self._layers, self._truth = images, left.truth
        if left.truth is not None:
            self._layers = [*images, left.truth]
        if left.mask not in self._viewer.layers:
            # Taken away by the user: what there is of it comes back when it is wanted.
            self._session.put_work_aside()
        elif self._session.work is not None:
            self._segmentation.take_over(left.mask, left.reference if left.reference in images else images[-1])
        self.caseShown.emit(images, loaded)
        self.said.emit(f"{loaded.case.case_id} is open as the dock before this one left it.")
        if loaded.mask_problem is not None:
            self.failed.emit(_without_mask(loaded.mask_problem))

    def open_overlay(self, folder: Path, returned: Callable[[Overlay], None]) -> None:
        """Open the present dataset once more, its corrections in a folder of their own.

        Corrections that the folder has already are shown after `returned` has had the session take it.
        """
        former, case = self._session.dataset, self._session.case
        if former is None:
            return
        root, reader = former.root, self._session.reader

        def work(task: Task) -> Overlay:
            dataset = reader.read_dataset(root, overlay=folder)
            reading, problem = None, None
            try:
                reading = None if case is None else reader.read_mask(dataset[case.case_id])
            except InputError as error:
                # Edits can be kept there all the same.
                problem = error
            stored = reader.read_stored(dataset)
            return Overlay(dataset=dataset, stored=stored, reading=reading, problem=problem)

        def take(overlay: Overlay) -> None:
            returned(overlay)
            self._show_corrections()
            if overlay.problem is not None:
                self.failed.emit(_without_mask(overlay.problem))

        self._run(work, take)

    def _read_mask(self) -> None:
        """Show what the dataset has of the open case's mask by now."""
        case, reader = self._session.case, self._session.reader
        if case is None:
            return

        def take(reading: Reading) -> None:
            if self._session.case is not case:
                return
            if reader.is_outdated(reading, case):
                self._read_mask()
                return
            self._session.take_reading(reading)
            self._show_corrections()

        self._lane.submit(lambda task: reader.read_mask(case), returned=take, failed=self.failed.emit)

    def _show_corrections(self) -> None:
        """Show the mask of the open case if there was none before."""
        images = self.images
        if images and self._segmentation.layer is None and self._session.case_work is not None:
            self._segmentation.show_work(images[-1])

    def _run(self, work: Work, returned: Callable[[Any], None]) -> None:
        if self._newest is not None:
            # Of two clicks, the later one counts.
            self._newest.stop()
        self._newest = self._lane.submit(work, returned=returned, failed=self.failed.emit)

    def _take_dataset(self, read: tuple[Dataset, dict[str, Stored]]) -> None:
        dataset, stored = read
        # Before the question: if the answer is to save and that fails, the error stays.
        self.said.emit("")
        # Asked now, when it is known that there is a dataset: what is discarded for it is gone.
        if not self._may_leave():
            return
        self._close()
        self._leave.start()
        self._session.take_dataset(dataset, stored=stored)
        cases = f"{counted(len(dataset.cases), 'case')} in {dataset.root.name}"
        elsewhere = () if dataset.overlay is None else (f"Its corrections are in {dataset.overlay}.",)
        notes = (*elsewhere, *map(str, dataset.unread), *dataset.repair_notes)
        self.said.emit(" ".join([f"{cases}. A double click opens one.", *notes]))
        if len(dataset.cases) == 1:
            self.open_case(dataset.cases[0].case_id)

    def _take_case(self, loaded: LoadedCase) -> None:
        if self._session.is_open(loaded.case):
            # It was asked before the case was read again, and what was painted since is kept; but what was saved since
            # would be taken for reverted.
            if self._session.reader.is_outdated(loaded.reading, loaded.case):
                self.open_case(loaded.case.case_id)
                return
        else:
            self.said.emit("")
            if not self._may_leave():
                self.stayed.emit()
                return
        self._close()
        volume = loaded.volume
        # Of a mask that cannot be read, what was corrected before stays as it was left in this window.
        self._session.take_case(loaded.case, reading=None if loaded.mask_problem else loaded.reading)
        images: list[Layer] = [Image(pixels, **arguments) for pixels, arguments in image_layers(volume)]
        self._layers = list(images)
        if loaded.truth is not None:
            mask, arguments = truth_layer(loaded.truth, volume, labelled=loaded.labelled)
            self._truth = Labels(mask, **arguments)
            # An outline leaves the image below visible.
            self._truth.contour = 1
            self._layers.append(self._truth)
        names = [layer.name for layer in self._layers]
        # The brush goes first: of one that is shown while layers come, napari leaves a black square behind.
        self._viewer.layers.selection.active = None
        # Before the former ones go: the canvas is never empty, and napari need not make its sliders anew.
        for layer in self._layers:
            self._viewer.add_layer(layer)
        self._clear()
        for layer, name in zip(self._layers, names, strict=True):
            # Called "FLAIR [1]" as long as there was another.
            layer.name = name
        if self._truth is not None:
            # A stroke there would change the score, and be saved nowhere.
            self._truth.editable = False
        # Not the mask that was added last: a stroke would change the truth.
        self._viewer.layers.selection.active = next(image for image in images if image.visible)
        if self._session.work is not None:
            self._segmentation.show_work(images[-1])
        # The last three: a layer of the user's own may have more in front.
        axes = range(self._viewer.dims.ndim - 3, self._viewer.dims.ndim)
        middle = [size * (length // 2) for size, length in zip(volume.spacing, volume.shape, strict=True)]
        self._viewer.dims.set_point(axes, middle)
        self._viewer.reset_view()
        self.caseShown.emit(images, loaded)
        z, y, x = volume.shape
        notes = "".join(f" {_as_sentence(note)}" for note in (*volume.notes, *loaded.mask_notes))
        self.said.emit(f"{loaded.case.case_id}: {counted(z, 'slice')} of {y} \N{MULTIPLICATION SIGN} {x}.{notes}")
        if loaded.mask_problem is not None:
            self.failed.emit(_without_mask(loaded.mask_problem))

    def _close(self) -> None:
        """Let go of the former case; its layers leave with the next `_clear`.

        Whatever the user added stays, and so does a mask of that.
        """
        mask = self._segmentation.layer if self._session.case_work is not None else None
        self._session.close_case()
        self._segmentation.release(remove=False)
        self._leaving += self._layers if mask is None else [mask, *self._layers]
        if self._left is not None:
            left, self._left = self._left, None
            self._leaving += [layer for layer in (left.mask, *left.images, left.truth) if layer is not None]
        self._layers, self._truth = [], None

    def _clear(self) -> None:
        """Take the layers of the former case out of the viewer."""
        self._leave.stop()
        former = [layer for layer in self._leaving if layer in self._viewer.layers]
        self._leaving = []
        # napari goes through the whole heap for each layer that is taken out, a tenth of a second or more a time. What
        # is there now is left out of that until the last one goes.
        gc.freeze()
        try:
            for layer in former[:-1]:
                self._viewer.layers.remove(layer)
        finally:
            gc.unfreeze()
        for layer in former[-1:]:
            self._viewer.layers.remove(layer)


def _without_mask(error: InputError) -> InputError:
    """Why a case is shown without its mask, and what that means."""
    return InputError(
        f"{error.problem}; until then the scan is shown without its mask, and corrections cannot be saved",
        path=error.path,
    )


def _as_sentence(note: str) -> str:
    # A file's name is written as it is.
    return f"{note[0].upper() if note.split()[0].isalpha() else note[0]}{note[1:]}."
