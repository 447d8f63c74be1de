"""What is open and being worked on, without a window: dataset, case, model, probabilities and masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_unet_seg.case_state import LoadedCase, Prediction, Stored, Work, Written
from napari_unet_seg.data.file_state import signature
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.errors import InputError
from napari_unet_seg.probability_map import MaskRule, ProbabilityMap
from napari_unet_seg.saving import SaveJob, SaveResult
from napari_unet_seg.working_mask import Plane, SliceState, WorkingMask

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Case, Dataset
    from napari_unet_seg.engine.checkpoint import Description


_MOST_MODELS = 3
"""That are kept in memory."""

_MOST_ASIDE = 1 << 29
"""Bytes of work put aside from which the oldest is let go, where nothing of it is unsaved."""


class Segmenting(Protocol):
    """What the session needs of a model; `engine.segmenter.Segmenter` has it."""

    description: Description
    device_note: str

    def predict(
        self,
        volume: Volume,
        *,
        slices: list[int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> NDArray[np.float32]:
        """Probabilities ``(Z, Y, X)`` or ``(K, Z, Y, X)``."""


class Session:
    """The state behind the dock.

    Methods in the first group may take seconds and are safe on a background thread, one at a time for each of the
    two kinds (files, model); those in the second are quick, belong to the window's thread, and tell by signals.

    Parameters
    ----------
    open_dataset : callable, optional
        ``(path, overlay=...) -> Dataset``; by default `data.dataset.open_dataset`.
    load_model : callable, optional
        ``name or path -> Segmenting``; by default `engine.segmenter.load_model`, which imports torch when called.
    find_adaptation : callable, optional
        Hash of an image to the name of the model adapted to it, or None; by default `Registry.adaptation`.
    """

    dataset_changed = Signal(object)
    """Another dataset is open; its cases' names to what is `Stored` of them, as far as that is known."""
    case_changed = Signal()
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
        find_adaptation: Callable[[str], str | None] | None = None,
    ) -> None:
        self._open_dataset = open_dataset or _open_dataset
        self._load_model = load_model or _load_model
        self._find_adaptation = find_adaptation or _find_adaptation
        self._segmenters: dict[str, tuple[Hashable, Segmenting]] = {}
        self._shelf: dict[tuple[Path, str], Work] = {}
        self.dataset: Dataset | None = None
        self.case: Case | None = None
        self.work: Work | None = None
        self.segmenter: Segmenting | None = None
        self.rule = MaskRule()

    # On a background thread.

    def read_dataset(self, path: Path, *, overlay: Path | None = None) -> Dataset:
        """The dataset at a path, its corrections in a folder of their own if one is given.

        Raises
        ------
        InputError
            If there is none.
        """
        return self._open_dataset(path) if overlay is None else self._open_dataset(path, overlay=overlay)

    def read_stored(self, dataset: Dataset) -> dict[str, Stored]:
        """What the files have of every case, by its name; empty where the log of corrections cannot be read."""
        try:
            corrected = dataset.corrected_slices()
            return {
                case.case_id: Stored(truth=case.has_original_mask, corrected=len(corrected.get(case.case_id, ())))
                for case in dataset.cases
            }
        except InputError:
            return {}

    def read_case(self, case: Case) -> LoadedCase:
        """A case's image and mask.

        Raises
        ------
        InputError
            If a file cannot be read, or image and mask differ in shape.
        """
        volume, mask = case.read_image(), case.read_mask()
        # A scan may have lost slices since.
        corrected = {} if mask is None else {z: mask[z] for z in case.corrected_slices() if z < len(mask)}
        truth, labelled = case.read_truth() if corrected else (mask, case.labelled_slices())
        dataset, identity = self.dataset, image_hash(volume)
        return LoadedCase(
            case=case,
            volume=volume,
            truth=truth,
            labelled=labelled,
            corrected=corrected,
            autosaved=None if dataset is None else dataset.read_autosave(case.case_id),
            image_hash=identity,
            adaptation=self._find_adaptation(identity) or "",
            mask_notes=case.mask_notes(),
        )

    def load_segmenter(self, name: str) -> Segmenting:
        """A model, loaded once, and again when its file has become another: by a round, or by going back a version.

        Raises
        ------
        InputError
            If there is no such model.
        """
        stamp = _file_stamp(name)
        known = self._segmenters.pop(name, None)
        segmenter = known[1] if known is not None and known[0] == stamp else self._load_model(name)
        # The latest last. Every scan may have an adaptation of its own, so those used longest ago are let go.
        self._segmenters[name] = stamp, segmenter
        while len(self._segmenters) > _MOST_MODELS:
            del self._segmenters[next(iter(self._segmenters))]
        return segmenter

    def predict(
        self,
        volume: Volume,
        *,
        model: str,
        z: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Prediction:
        """What a model says of a volume, or of one of its slices.

        Raises
        ------
        InputError
            If the volume cannot be used.
        SegmentationError
            If the computation failed.
        Stopped
            If `should_stop` said so.
        """
        start = time.perf_counter()
        segmenter = self.load_segmenter(model)
        slices = None if z is None else [z]
        result = segmenter.predict(volume, slices=slices, progress=progress, should_stop=should_stop)
        probability = ProbabilityMap.of(result) if z is None else result[..., z, :, :].copy()
        return Prediction(probability=probability, z=z, model=model, seconds=time.perf_counter() - start)

    def compute_mask(self, probability: ProbabilityMap, rule: MaskRule) -> Mask:
        """The mask of a map under a rule, ``(Z, Y, X)``; in the background where `ProbabilityMap.cost` is high."""
        return probability.mask(rule)

    # On the window's thread.

    def take_dataset(self, dataset: Dataset, *, stored: Mapping[str, Stored] | None = None) -> None:
        """Have another dataset open; no case of it is yet.

        `stored` is what `read_stored` says of it: listed so, thousands of cases ask for nothing on a slow drive.
        """
        self.close_case()
        if self.dataset is not None:
            self.dataset.release()
        self.dataset = dataset
        self.dataset_changed.emit(stored or {})

    def take_case(self, case: Case, *, corrected: Mapping[int, Plane] | None = None, depth: int = 0) -> None:
        """Have another case open; its work is taken up where it was left.

        Parameters
        ----------
        case : Case
        corrected : mapping, optional
            Slices corrected and saved before, ``(Y, X)`` each; they open in the working mask.
        depth : int
            Number of slices of the scan.
        """
        self.close_case()
        self.case = case
        self.work = self._shelf.pop(self._key(case), None)
        if corrected and self.work is None:
            self.work = self._new_work((depth, *next(iter(corrected.values())).shape), of_case=True)
        if corrected is not None and self.work is not None:
            edited = set(self.work.mask.unsaved())
            self.work.mask.forget_saved(set(self.work.mask.saved()) - set(corrected))
            self.work.mask.put_saved({z: plane for z, plane in corrected.items() if z not in edited})
        self.case_changed.emit()
        self.work_changed.emit()

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
            self.work = self._shelf.pop(self._key(self.case), None)
            if self.work is not None:
                self.work_changed.emit()
        return self.work

    def is_aside(self) -> bool:
        """Whether the open case's work was put aside."""
        return self.case is not None and self._key(self.case) in self._shelf

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
            self.work = self._new_work(shape, of_case=of_case)
            self.work_changed.emit()
        work = self.work
        work.model = prediction.model
        if prediction.z is None:
            assert isinstance(prediction.probability, ProbabilityMap)
            work.probability = prediction.probability
            written = self._offer(self.compute_mask(work.probability, self.rule) if mask is None else mask)
            return Written(slices=written.slices, kept=work.mask.edited())
        assert isinstance(prediction.probability, np.ndarray)
        work.probability.put(prediction.z, prediction.probability)
        if self.rule.looks_across_slices:
            return self._offer(self.compute_mask(work.probability, self.rule))
        done = work.mask.offer_slice(prediction.z, work.probability.slice_mask(prediction.z, self.rule))
        only = [prediction.z]
        return self._tell(Written(slices=only if done else [], kept=[] if done else only))

    def set_rule(self, rule: MaskRule, *, mask: Mask | None = None) -> Written:
        """Turn the kept probabilities into a mask by another rule.

        Parameters
        ----------
        rule : MaskRule
        mask : ndarray, optional
            The mask under that rule, where it is known already.
        """
        self.rule = rule
        if self.work is None:
            return Written(slices=[], kept=[])
        return self._offer(self.compute_mask(self.work.probability, rule) if mask is None else mask)

    def preview_rule(self, rule: MaskRule, z: int) -> Written:
        """Show one slice by another rule's threshold, at once; `set_rule` has the last word on the volume."""
        self.rule = rule
        if self.work is None or self.work.mask.edited([z]):
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
        mask = work.mask
        slices = mask.unsaved(thorough=thorough)
        if not slices:
            return None
        return SaveJob(
            dataset=self.dataset,
            case_id=self.case.case_id,
            work=mask,
            # A layer of more bits takes labels that a mask has no room for: they are no holes.
            planes={z: np.clip(mask.data[z], 0, 255).astype(np.uint8) for z in slices},
            kinds={z: mask.kind(z) for z in slices},
            model=work.model,
            annotator=annotator,
            seconds=seconds,
        )

    def take_saved(self, result: SaveResult) -> None:
        """Note what the dataset has now."""
        result.job.work.note_saved({z: result.job.planes[z] for z in result.saved})
        self.saved.emit(result)

    def drop_edits(self) -> None:
        """Forget what is not saved of the open case: its slices follow the dataset and the model again."""
        if self.work is not None:
            self._tell(Written(slices=self.work.mask.drop_edits(), kept=[]))

    def use_overlay(self, dataset: Dataset) -> None:
        """Go on with the same dataset, whose corrections are written to an overlay folder from now on."""
        if self.dataset is not None:
            self.dataset.release()
        self.dataset = dataset
        if self.case is not None:
            self.case = dataset[self.case.case_id]

    def take_edited(self, data: Array) -> None:
        """The array being painted on is another one now, ``(Z, Y, X)``."""
        if self.work is not None:
            self.work.mask.data = data

    def state_of(self, case: Case, *, stored: Stored | None = None) -> tuple[str, ...]:
        """What there is of a case, in words.

        ``ground truth`` (or ``no mask``), then how far it has come: ``predicted``, ``3 corrected`` (saved),
        ``2 unsaved``.

        Parameters
        ----------
        case : Case
        stored : Stored, optional
            What the files have of it, where that was just read; they are asked otherwise.
        """
        at_hand = self.case_work if self._is_open(case) else None
        work = at_hand if at_hand is not None else self._shelf.get(self._key(case))
        if stored is None:
            stored = Stored(truth=case.has_original_mask, corrected=len(case.corrected_slices()))
        corrected = stored.corrected
        unsaved = 0
        if work is not None:
            unsaved = sum(state in (SliceState.EDITED, SliceState.ACCEPTED) for state in work.mask.states())
        words = ["ground truth"] if stored.truth else []
        if corrected:
            words.append(f"{corrected} corrected")
        if unsaved:
            words.append(f"{unsaved} unsaved")
        elif work is not None and not corrected and work.probability.known.any():
            words.append("predicted")
        return tuple(words) or ("no mask",)

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

    def _is_open(self, case: Case) -> bool:
        return self.case is not None and self.case.case_id == case.case_id

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
        self._shelf[self._key(self.case)] = self.work
        spare = sum(work.size for work in self._shelf.values()) - _MOST_ASIDE
        # Oldest first. What can be had again by segmenting once more is let go; a person's work is not.
        for key, work in list(self._shelf.items())[:-1]:
            if spare > 0 and not work.mask.unsaved():
                del self._shelf[key]
                spare -= work.size


def _open_dataset(path: Path, *, overlay: Path | None = None) -> Dataset:
    from napari_unet_seg.data.dataset import open_dataset

    return open_dataset(path, overlay=overlay)


def _file_stamp(name: str) -> Hashable:
    """What changes when a model's file does; None where there is no file."""
    from napari_unet_seg.engine.registry import Registry

    try:
        return signature(Registry().path(name))
    except InputError:
        return None


def _find_adaptation(image_hash: str) -> str | None:
    from napari_unet_seg.engine.registry import Registry

    model = Registry().adaptation(image_hash)
    return None if model is None else model.name


def _load_model(name: str) -> Segmenting:
    from napari_unet_seg.engine.segmenter import load_model

    segmenter: Any = load_model(name)
    return segmenter  # type: ignore[no-any-return]
