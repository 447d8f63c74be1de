"""What is open and being worked on, without a window: dataset, case, model, probabilities and masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_unet_seg import loading
from napari_unet_seg.case_reader import CaseReader
from napari_unet_seg.case_state import Prediction, Reading, Stored, Work, Written
from napari_unet_seg.data.volume import Array, Mask
from napari_unet_seg.loading import Segmenting
from napari_unet_seg.model_cache import ModelCache
from napari_unet_seg.probability_map import MaskRule, ProbabilityMap
from napari_unet_seg.saving import SaveJob, SaveResult
from napari_unet_seg.shelf import Shelf
from napari_unet_seg.working_mask import WorkingMask

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Case, Dataset


class Session:
    """The state behind the dock.

    Its own methods are quick, belong to the window's thread, and tell by signals. What takes seconds is for background
    threads: `reader` for files, `models` for predictions.

    Parameters
    ----------
    open_dataset : callable, optional
        ``(path, overlay=...) -> Dataset``; by default `data.dataset.open_dataset`.
    load_model : callable, optional
        ``name or path -> Segmenting``; by default `engine.segmenter.load_model`, which imports torch when called.
    find_own_model : callable, optional
        Hash of an image to the model that rounds for it went to, or None; by default `loading.find_own_model`.
    """

    dataset_changed = Signal(object)
    """Another dataset is open, or the same with its corrections in another folder; its cases' names to what is
    `Stored` of them, as far as that is known."""
    case_changed = Signal()
    reading_wanted = Signal()
    """The open case's mask was read without being shown in full: `take_reading` should show it."""
    model_changed = Signal()
    work_leaving = Signal()
    """The work at hand is about to be put aside."""
    work_changed = Signal()
    """Another scan's work, or none, is open now."""
    mask_written = Signal(object)
    """The session has changed the working mask; a `Written`."""
    saved = Signal(object)
    """Slices were saved, or could not be; a `SaveResult`."""

    def __init__(
        self,
        *,
        open_dataset: Callable[..., Dataset] | None = None,
        load_model: Callable[[str], Segmenting] | None = None,
        find_own_model: Callable[[str], loading.OwnModel | None] | None = None,
    ) -> None:
        self.reader = CaseReader(open_dataset=open_dataset, find_own_model=find_own_model)
        self.models = ModelCache(load_model or loading.load_model)
        self._shelf = Shelf()
        self._reading: tuple[tuple[Path, str], Reading] | None = None
        self.dataset: Dataset | None = None
        self.case: Case | None = None
        self.work: Work | None = None
        self.segmenter: Segmenting | None = None
        self.rule = MaskRule()

    def take_dataset(self, dataset: Dataset, *, stored: Mapping[str, Stored] | None = None) -> None:
        """Have another dataset open; no case of it is yet.

        `stored` is what `CaseReader.read_stored` says of it: listed so, thousands of cases ask for nothing on a slow
        drive.
        """
        self.close_case()
        if self.dataset is not None:
            self.dataset.release()
        self.dataset = dataset
        self.dataset_changed.emit(stored or {})

    def take_over(self, former: Session) -> None:
        """Go on where another session, which nobody works with any more, was left: with its dataset and its work.

        No case is open; work of an image of no dataset is at hand again. `dataset_changed` is for the caller to emit,
        when it is known what is stored of the cases.
        """
        loose = former.work if former.case is None else None
        if loose is not None:
            # It may have been painted on, with nobody to tell.
            loose.mask.touch()
        former.close_case()
        self.reader, self.models, self._shelf = former.reader, former.models, former._shelf
        self.dataset, self.rule = former.dataset, former.rule
        self.work = loose
        self.work_changed.emit()

    def take_case(self, case: Case, *, reading: Reading | None = None) -> None:
        """Have another case open; its work is taken up where it was left.

        Parameters
        ----------
        case : Case
        reading : Reading, optional
            What the dataset has of its mask; slices that were corrected open in the working mask. None where that is
            not known: slices that were saved from here stay as they were left.
        """
        self.close_case()
        self.case = case
        self.work = self._shelf.take(self._key(case))
        if reading is not None:
            self._show(reading, anew=True)
        else:
            # Whatever there is of it has been shown to nobody.
            self._reading = self._key(case), Reading()
        self.case_changed.emit()
        self.work_changed.emit()

    def take_reading(self, reading: Reading) -> None:
        """Show corrections of the open case as the dataset has them now, but for slices with unsaved edits.

        What is not shown of what has changed is not replaced in the dataset without a question.
        """
        work = self.work
        self._show(reading)
        if self.work is not work:
            self.work_changed.emit()

    def is_open(self, case: Case) -> bool:
        """Whether this case of the open dataset is the open one."""
        return self.case is not None and self.case.case_id == case.case_id

    def close_case(self) -> None:
        """Put the open case's work aside, to be taken up when it is opened again."""
        self._put_aside()
        self.case, self.work = None, None
        self.case_changed.emit()
        self.work_changed.emit()

    @property
    def case_work(self) -> Work | None:
        """The work at hand if it is of the open case; None where there is none, or it is of other images."""
        return self.work if self.case is not None and self.work is not None and self.work.case_id else None

    def put_work_aside(self) -> None:
        """Have no segmentation at hand: its layer was removed, or another image is segmented now.

        That of the open case is kept, and taken up again when the case is segmented or corrected again; any other is
        forgotten.
        """
        self._put_aside()
        self.work = None
        self.work_changed.emit()

    def take_up(self) -> Work | None:
        """Have the open case's work at hand again, if it was put aside."""
        if self.work is None and self.case is not None:
            self.work = self._shelf.take(self._key(self.case))
            if self.work is not None:
                self.work_changed.emit()
        return self.work

    def is_aside(self) -> bool:
        """Whether the open case's work was put aside."""
        return self.case is not None and self._key(self.case) in self._shelf

    def note_successor(self, name: str, *, of: Collection[str]) -> None:
        """As `Shelf.note_successor`, of the cases that are not open."""
        self._shelf.note_successor(name, of=of)

    def take_segmenter(self, segmenter: Segmenting) -> None:
        """Segment with this model from now on, by its threshold."""
        self.segmenter = segmenter
        self.model_changed.emit()

    def take_prediction(
        self,
        prediction: Prediction,
        *,
        shape: tuple[int, int, int],
        mask: Mask | None = None,
        of_case: bool = True,
    ) -> Written:
        """Show what a model said, wherever no person has painted.

        Parameters
        ----------
        prediction : Prediction
        shape : tuple of int
            ``(Z, Y, X)`` of the open scan; work of another shape is replaced.
        mask : ndarray, optional
            The prediction's mask under the present rule, where it is known already.
        of_case : bool
            It is of the open case's images, not of others; work of the others is put aside.
        """
        of_case = of_case and self.case is not None
        if self.work is not None and bool(self.work.case_id) != of_case:
            self.put_work_aside()
        if of_case:
            self.take_up()
        if self.work is None or self.work.mask.model.shape != shape:
            if self.work is not None and not self.work.case_id:
                # An image of no dataset has become another; what was done to it can still be kept.
                self.work_leaving.emit()
            self.work = self._new_work(shape, of_case=of_case)
            self.work_changed.emit()
        work = self.work
        work.model, work.model_hash = prediction.model, prediction.model_hash
        work.min_fraction = prediction.min_fraction
        if prediction.z is None:
            assert isinstance(prediction.probability, ProbabilityMap)
            work.successor = ""
            work.probability = prediction.probability
            written = self._follow_model(mask)
            return Written(slices=written.slices, kept=work.mask.edited())
        assert isinstance(prediction.probability, np.ndarray)
        work.probability.put(prediction.z, prediction.probability)
        if self.rule.of_model(work.min_fraction).looks_across_slices:
            return self._follow_model()
        done = work.mask.offer_slice(prediction.z, work.probability.slice_mask(prediction.z, self.rule))
        only = [prediction.z]
        return self._tell(Written(slices=only if done else [], kept=[] if done else only))

    def set_rule(self, rule: MaskRule, *, mask: Mask | None = None) -> Written:
        """Turn the kept probabilities into a mask by another rule; what no model has spoken of stays as it is.

        Parameters
        ----------
        rule : MaskRule
        mask : ndarray, optional
            The mask under that rule, where it is known already.
        """
        self.rule = rule
        if self.work is None:
            return Written(slices=[], kept=[])
        return self._follow_model(mask)

    def preview_rule(self, rule: MaskRule, z: int) -> Written:
        """Show one slice by another rule's threshold, at once; `set_rule` has the last word on the volume."""
        self.rule = rule
        if self.work is None or not self.work.probability.known[z] or self.work.mask.edited([z]):
            return Written(slices=[], kept=[])
        done = self.work.mask.offer_slice(z, self.work.probability.slice_mask(z, rule))
        return self._tell(Written(slices=[z] if done else [], kept=[]))

    def start_work(self, shape: tuple[int, int, int], *, mask: Mask | None = None, of_case: bool = True) -> None:
        """Have a working mask without a model: a mask that is there already, or an empty one.

        What there is of the case already is kept: slices that were saved, or edited.

        Parameters
        ----------
        shape : tuple of int
            ``(Z, Y, X)`` of the open scan.
        mask : ndarray, optional
            What is to be corrected; it is copied.
        of_case : bool
            It is of the open case's images, not of others.
        """
        of_case = of_case and self.case is not None
        if self.work is None or bool(self.work.case_id) != of_case or self.work.mask.model.shape != shape:
            self._put_aside()
            self.work = self._new_work(shape, of_case=of_case)
        self.work.begun = True
        if mask is not None:
            self._offer(mask.copy())
        self.work_changed.emit()

    def save_job(self, *, annotator: str, seconds: float, thorough: bool = True) -> SaveJob | None:
        """A copy of what is not saved yet of the open case; None where that is nothing, or no dataset is open.

        `thorough` is that of `WorkingMask.unsaved`.
        """
        work = self.case_work
        if work is None or self.case is None or self.dataset is None:
            return None
        job = SaveJob.of(
            work.mask,
            dataset=self.dataset,
            case_id=self.case.case_id,
            model=work.model,
            model_hash=work.model_hash,
            annotator=annotator,
            seconds=seconds,
            thorough=thorough,
        )
        return None if job is None else replace(job, hidden=self._hidden(work, job.planes))

    def _hidden(self, work: Work, slices: Iterable[int]) -> tuple[int, ...]:
        """The slices of which the dataset has a mask and the work had nothing before they were drawn."""
        if self._reading is None or self.case is None or self._reading[0] != self._key(self.case):
            return ()
        mask = self._reading[1].mask_of(work.mask.model.shape)
        if mask is None:
            return ()
        return tuple(z for z in slices if not work.speaks_of(z) and not work.mask.is_saved(z) and mask[z].any())

    def take_saved(self, result: SaveResult) -> None:
        """Note what the dataset has now."""
        result.job.work.note_saved({z: result.job.planes[z] for z in result.saved})
        self.reader.note_save(result.job.case_id)
        self.saved.emit(result)

    def drop_edits(self) -> None:
        """Forget what is not saved of the open case: its slices follow the dataset and the model again."""
        if self.work is not None:
            self._tell(Written(slices=self.work.mask.drop_edits(), kept=[]))

    def let_follow(self) -> None:
        """Show the model's mask in slices whose edit was undone after the model had changed."""
        slices = [] if self.work is None else self.work.mask.let_follow()
        if slices:
            self._tell(Written(slices=slices, kept=[]))

    def use_overlay(
        self, dataset: Dataset, *, stored: Mapping[str, Stored] | None = None, reading: Reading | None = None
    ) -> None:
        """Go on with the same dataset, whose corrections are written to an overlay folder from now on.

        Parameters
        ----------
        dataset : Dataset
            It, opened with that folder.
        stored : mapping, optional
            What `CaseReader.read_stored` says of it.
        reading : Reading, optional
            What it has of the open case's mask: corrections that the folder holds already are shown.
        """
        if self.dataset is not None:
            self.dataset.release()
        self.dataset = dataset
        if self.case is not None:
            self.case = dataset[self.case.case_id]
        self.dataset_changed.emit(stored or {})
        if reading is not None:
            self.take_reading(reading)

    def take_edited(self, data: Array) -> None:
        """The array being painted on is another one now, ``(Z, Y, X)``."""
        if self.work is not None:
            self.work.mask.data = data

    def state_of(self, case: Case, *, stored: Stored | None = None) -> tuple[str, ...]:
        """What there is of a case, in words; see `Stored.words`.

        Parameters
        ----------
        case : Case
        stored : Stored, optional
            What the files have of it, where that was just read; they are asked otherwise.
        """
        at_hand = self.case_work if self.is_open(case) else None
        work = at_hand if at_hand is not None else self._shelf.get(self._key(case))
        if stored is None:
            # With work at hand nobody asks for them, and this is called with every edit.
            kept = work is None and self.dataset is not None and case.case_id in self.dataset.kept_edits()
            stored = Stored(truth=case.has_original_mask, corrected=len(case.corrected_slices()), kept=kept)
        return stored.words(work)

    def _show(self, reading: Reading, *, anew: bool = False) -> None:
        """Have what was read of the open case's mask in its work, at hand or put aside."""
        assert self.case is not None
        key = self._key(self.case)
        before = self._reading[1] if self._reading is not None and self._reading[0] == key else None
        self._reading = key, reading
        work = self.case_work or self._shelf.get(key)
        if work is None and reading.mask is not None and reading.corrected:
            depth, height, width = reading.mask.shape
            work = self._new_work((depth, height, width), of_case=True)
            if self.work is None:
                self.work = work
            else:
                self._shelf.put(key, work)
        if work is None:
            return
        mask = reading.mask_of(work.mask.model.shape)
        former = None if before is None else before.mask_of(work.mask.model.shape)
        # Another shape: the scan itself has become another, and so will the work when it is segmented.
        if mask is not None:
            written = work.mask.take_dataset(mask, reading.corrected, former=former, anew=anew)
            if work is self.work:
                self._tell(Written(slices=written, kept=[]))

    def _follow_model(self, mask: Mask | None = None) -> Written:
        """Show the kept probabilities under the present rule; `mask` is that, where it is known already."""
        assert self.work is not None
        probability = self.work.probability
        if mask is None:
            mask = probability.mask(self.rule.of_model(self.work.min_fraction))
        # Of these no model has spoken: they keep the mask that they began with.
        mask[~probability.known] = self.work.mask.model[~probability.known]
        return self._offer(mask)

    def _offer(self, mask: Mask) -> Written:
        assert self.work is not None
        self.work.rule = self.rule
        written, kept = self.work.mask.offer(mask)
        return self._tell(Written(slices=written, kept=kept))

    def _tell(self, written: Written) -> Written:
        self.mask_written.emit(written)
        return written

    def _key(self, case: Case) -> tuple[Path, str]:
        assert self.dataset is not None
        return self.dataset.root, case.case_id

    def _new_work(self, shape: tuple[int, int, int], *, of_case: bool) -> Work:
        case_id = self.case.case_id if of_case and self.case is not None else ""
        return Work(mask=WorkingMask(shape), probability=ProbabilityMap(shape), case_id=case_id, rule=self.rule)

    def _put_aside(self) -> None:
        """Put the work at hand on the shelf, if it is of the open case; what is not saved is kept in any case."""
        if self.work is None:
            return
        self.work_leaving.emit()
        if self.case is None or not self.work.case_id:
            return
        self.work.mask.touch()
        self._shelf.put(self._key(self.case), self.work)
        self._shelf.make_room()
