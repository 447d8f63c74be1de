"""Opens datasets and cases in the background, and shows a case's layers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, Signal

from napari_unet_seg.case_state import LoadedCase, Stored
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.layers import image_layers, truth_layer
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane, Task

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
    """

    caseShown = Signal(object, object)
    """A case's image layers are in the viewer: the list of them, and the `LoadedCase`."""
    said = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        may_leave: Callable[[], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._may_leave = may_leave
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._layers: list[Layer] = []
        self._truth: Labels | None = None
        self._newest: Task | None = None

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

    def shows(self, layer: Layer) -> bool:
        """Whether a layer is one of the open case's images."""
        return any(layer is own for own in self.images)

    def open_path(self, path: Path) -> None:
        """Open a dataset; a dataset of one case opens that case too."""
        self.said.emit(f"Opening {path} …")

        def work(task: Task) -> tuple[Dataset, dict[str, Stored]]:
            dataset = self._session.read_dataset(path)
            return dataset, self._session.read_stored(dataset)

        self._run(work, self._take_dataset)

    def open_case(self, case_id: str) -> None:
        """Load a case of the open dataset."""
        if self._session.dataset is None:
            return
        try:
            case = self._session.dataset[case_id]
        except (KeyError, ValueError) as error:
            self.failed.emit(error)
            return
        self.said.emit(f"Loading {case_id} …")
        self._run(lambda task: self._session.read_case(case), self._take_case)

    def open_overlay(self, folder: Path, returned: Callable[[Dataset], None]) -> None:
        """Open the present dataset once more, its corrections in a folder of their own."""
        former, case = self._session.dataset, self._session.case
        if former is None:
            return
        root = former.root

        def work(task: Task) -> Dataset:
            dataset = self._session.read_dataset(root, overlay=folder)
            if case is not None:
                # What is changed elsewhere from now on is noticed when the case is saved.
                dataset[case.case_id].read_mask()
            return dataset

        self._run(work, returned)

    def _run(self, work: object, returned: object) -> None:
        if self._newest is not None:
            # Of two clicks, the later one counts.
            self._newest.stop()
        self._newest = self._lane.submit(work, returned=returned, failed=self.failed.emit)  # type: ignore[arg-type]

    def _take_dataset(self, read: tuple[Dataset, dict[str, Stored]]) -> None:
        dataset, stored = read
        # Asked now, when it is known that there is a dataset: what is discarded for it is gone.
        if not self._may_leave():
            self.said.emit("")
            return
        self._clear()
        self._session.take_dataset(dataset, stored=stored)
        count = len(dataset.cases)
        cases = f"{count} case{'s' if count != 1 else ''} in {dataset.root.name}"
        self.said.emit(" ".join([f"{cases}. A double click opens one.", *dataset.repair_notes]))
        if count == 1:
            self.open_case(dataset.cases[0].case_id)

    def _take_case(self, loaded: LoadedCase) -> None:
        if not self._may_leave():
            self.said.emit("")
            return
        self._clear()
        volume = loaded.volume
        self._session.take_case(loaded.case, corrected=loaded.corrected, depth=volume.shape[0])
        images: list[Layer] = [Image(pixels, **arguments) for pixels, arguments in image_layers(volume)]
        self._layers = list(images)
        if loaded.truth is not None:
            mask, arguments = truth_layer(loaded.truth, volume, labelled=loaded.labelled)
            self._truth = Labels(mask, **arguments)
            # An outline leaves the image below visible.
            self._truth.contour = 1
            self._layers.append(self._truth)
        for layer in self._layers:
            self._viewer.add_layer(layer)
        if self._truth is not None:
            # A stroke there would change the score, and be saved nowhere.
            self._truth.editable = False
        # Not the mask that was added last: a stroke would change the truth.
        self._viewer.layers.selection.active = images[-1]
        if self._session.work is not None:
            self._segmentation.show_work(images[-1])
        # A layer of the user's own may have more axes in front.
        self._viewer.dims.set_point(self._viewer.dims.ndim - 3, volume.spacing[0] * (volume.shape[0] // 2))
        self._viewer.reset_view()
        self.caseShown.emit(images, loaded)
        z, y, x = volume.shape
        notes = "".join(f" {_as_sentence(note)}" for note in volume.notes)
        self.said.emit(
            f"{loaded.case.case_id}: {z} slice{'s' if z != 1 else ''} of {y} \N{MULTIPLICATION SIGN} {x}.{notes}"
        )

    def _clear(self) -> None:
        """Take the former case out of the viewer; whatever the user added stays, and so does a mask of that."""
        own = self._session.case_work is not None
        self._session.close_case()
        former = [layer for layer in self._layers if layer in self._viewer.layers]
        self._layers, self._truth = [], None
        # napari goes through the whole heap for each layer that is taken out, a tenth of a second or more a time. What
        # is there now is left out of that until the last one goes.
        gc.freeze()
        try:
            self._segmentation.release(remove=own)
            for layer in former[:-1]:
                self._viewer.layers.remove(layer)
        finally:
            gc.unfreeze()
        for layer in former[-1:]:
            self._viewer.layers.remove(layer)


def _as_sentence(note: str) -> str:
    # A file's name is written as it is.
    return f"{note[0].upper() if note.split()[0].isalpha() else note[0]}{note[1:]}."
