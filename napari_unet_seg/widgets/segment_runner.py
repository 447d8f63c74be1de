"""Runs the model in the background and hands what it says to the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import Prediction
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.errors import InputError
from napari_unet_seg.loading import Segmenting
from napari_unet_seg.probability_map import MaskRule, ProbabilityMap
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.activity import Activity
from napari_unet_seg.widgets.layers import ImageSource, reference_of, slice_of, volume_from
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.wording import counted

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_unet_seg.data.dataset import Case


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to use, and the names of all there are."""

    name: str
    segmenter: Segmenting
    names: Sequence[str]
    fixed: bool
    """It is none of the user's own models: a round makes another of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Result:
    prediction: Prediction
    volume: Volume
    mask: Mask | None
    rule: MaskRule
    reference: Layer
    key: tuple[Any, ...]
    case: str
    """Name of the case that was open when it was asked for."""


class SegmentRunner(QObject):
    """Loads the model, and segments the volume or the shown slice.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    viewer : ViewerModel
    lane : Lane
        Where the model runs.
    sources : callable
        Gives the chosen image of each channel.
    list_models : callable
        Gives the names of the models; called on the lane.
    is_of_case : callable
        Whether a layer is one of the open case's images.
    """

    modelChosen = Signal(str)
    """Another model is to be loaded; its name."""
    modelLoaded = Signal(object)
    """A `LoadedModel`."""
    modelFailed = Signal(object)
    """The model cannot be loaded; the error."""
    modelsListed = Signal(tuple)
    """Names of the models to choose from instead of one that cannot be loaded."""
    liveEnded = Signal()
    """Slices are no longer segmented as they are shown: there was an error, which would come with each of them."""
    busy = Signal(int, int)
    """Slices done, slices in all (0: not known yet)."""
    idle = Signal()
    adaptationChanged = Signal(str)
    """Name of the model that was adapted to the open scan; empty for none."""
    segmented = Signal(object)
    """A volume was segmented and is shown; a `Written`."""
    said = Signal(str)
    failed = Signal(object)

    _LIVE_MS = 40

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        sources: Callable[[], dict[str, ImageSource]],
        list_models: Callable[[], Sequence[str]],
        is_of_case: Callable[[Layer], bool],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._sources = sources
        self._list_models = list_models
        self._is_of_case = is_of_case
        self._model = "default"
        self._adaptation = ""
        self._adapted_to: list[Layer] = []
        self._use_adaptation = True
        self._live = False
        self._task: Task | None = None
        self._task_case: Case | None = None
        self._live_task: Task | None = None
        self._again = False
        self._activity = Activity("U-Net segmentation")
        self._volume: tuple[tuple[Any, ...], Volume] | None = None
        self._predicted: set[tuple[Any, ...]] = set()

        self._live_timer = QTimer(self)
        self._live_timer.setSingleShot(True)
        self._live_timer.setInterval(self._LIVE_MS)
        self._live_timer.timeout.connect(self._predict_shown_slice)
        viewer.dims.events.current_step.connect(self._on_scrolled)
        session.case_changed.connect(self._on_case_changed)
        session.work_changed.connect(self._on_work_changed)

    def disconnect_all(self) -> None:
        """Stop asking for anything new; the lanes end what runs."""
        self._live_timer.stop()
        self._viewer.dims.events.current_step.disconnect(self._on_scrolled)
        self._session.case_changed.disconnect(self._on_case_changed)
        self._session.work_changed.disconnect(self._on_work_changed)
        self._activity.close()

    def load_model(self, name: str) -> None:
        """Load a model, and torch with it the first time; one whose file has changed is read again."""
        self._model = name
        self._predicted.clear()
        self.modelChosen.emit(name)

        def work(task: Task) -> LoadedModel:
            segmenter = self._session.models.get(name)
            return LoadedModel(
                name=name, segmenter=segmenter, names=tuple(self._list_models()), fixed=not _is_own(name)
            )

        self._lane.submit(work, returned=self._take_model, failed=self._fail_model)

    def use_model(self, name: str) -> None:
        """Load another model, if it is another."""
        if name != self._model:
            self.load_model(name)

    @property
    def chosen_model(self) -> str:
        """The model for every scan."""
        return self._model

    def model(self) -> str:
        """The model that segments the chosen images: the one adapted to their scan, or else the chosen one."""
        sources = self._sources().values()
        ours = all(any(source.layer is layer for layer in self._adapted_to) for source in sources)
        return self._adaptation if self._adaptation and self._use_adaptation and ours else self._model

    def uses_adaptation(self) -> bool:
        """Whether the chosen images are segmented by a model adapted to their scan."""
        return bool(self._adaptation) and self.model() == self._adaptation

    def set_adaptation(self, name: str, *, layers: Sequence[Layer] | None = None) -> None:
        """Segment with a model adapted to the open scan from now on; with the chosen one, if the name is empty.

        Parameters
        ----------
        name : str
        layers : sequence of Layer, optional
            The images of that scan; by default those of the call before.
        """
        self._adaptation, self._use_adaptation = name, True
        if layers is not None:
            self._adapted_to = list(layers)
        self._predicted.clear()
        self.adaptationChanged.emit(name)

    def use_adaptation(self, use: bool) -> None:
        """Whether a scan that a model was adapted to is segmented by that one; shown at once."""
        if use != self._use_adaptation:
            self._use_adaptation = use
            if self._adaptation:
                self.segment_again()

    def segment_again(self) -> None:
        """Have another model's mask in place of the one that is shown, or being made, if one is."""
        self._predicted.clear()
        work = self._session.work
        shown = work is not None and bool(work.probability.known.any())
        if self._task is not None:
            self._task.stop()
            # It may be of a case that was left.
            self._again = shown or self._task_case is self._session.case
        elif shown:
            self.segment()

    def segment(self) -> None:
        """Segment the volume of the chosen images."""
        if self._task is not None:
            return
        sources = self._sources()
        if not sources:
            self.failed.emit(
                InputError("there is no image to segment; open a case, or an image, and choose its FLAIR in panel Data")
            )
            return
        if "flair" not in sources:
            self.failed.emit(InputError("no image is chosen for FLAIR, which is needed; choose it in panel Data"))
            return
        self.busy.emit(0, 0)
        self.said.emit("Segmenting …" if self._session.segmenter is not None else "Loading the model …")
        # The image may have been changed in place, so it is read again.
        self._task, self._task_case = self._submit(sources, z=None, fresh=True), self._session.case
        self._task.progressed.connect(self._on_progress)
        self._task.stopped.connect(self._on_stopped)
        self._task.finished.connect(self._on_finished)
        self._activity.open(wanted=self._is_segmenting)

    def cancel(self) -> None:
        """Stop the segmentation; nothing is changed."""
        self._again = False
        if self._task is not None:
            self.said.emit("Stopping …")
            self._task.stop()

    def set_live(self, live: bool) -> None:
        """Segment each slice as it is shown, or no longer."""
        self._live = live
        self._on_scrolled()

    def sources_changed(self) -> None:
        """Other images are chosen: what is known of slices holds no longer."""
        self._predicted.clear()
        self._volume = None
        self._on_scrolled()

    def _submit(self, sources: dict[str, ImageSource], *, z: int | None, fresh: bool) -> Task:
        """Predict in the background."""
        models, model, rule = self._session.models, self.model(), self._session.rule
        reference, key, case = reference_of(sources), _key(model, sources), self._case_id()
        assert reference is not None
        cached = self._volume[1] if self._volume is not None and self._volume[0] == key and not fresh else None

        def work(task: Task) -> _Result:
            volume = volume_from(sources) if cached is None else cached
            prediction = models.predict(volume, model=model, z=z, progress=task.report, should_stop=task.should_stop)
            mask = None
            if isinstance(prediction.probability, ProbabilityMap):
                mask = prediction.probability.mask(rule.of_model(prediction.min_fraction))
            return _Result(
                prediction=prediction, volume=volume, mask=mask, rule=rule, reference=reference, key=key, case=case
            )

        return self._lane.submit(work, returned=self._take_result, failed=self.failed.emit)

    def _take_model(self, loaded: LoadedModel) -> None:
        if loaded.name == self._model:
            self._session.take_segmenter(loaded.segmenter)
            self.modelLoaded.emit(loaded)

    def _fail_model(self, error: Exception) -> None:
        self.modelFailed.emit(error)
        self._lane.submit(
            lambda task: tuple(self._list_models()), returned=self.modelsListed.emit, failed=self.failed.emit
        )

    def _take_result(self, result: _Result) -> None:
        if result.case != self._case_id():
            self.said.emit("Another scan was opened meanwhile; the segmentation of the one before is dropped.")
            return
        if result.reference not in self._viewer.layers:
            self.said.emit("The image was removed meanwhile; its segmentation is dropped.")
            return
        of_case = self._is_of_case(result.reference)
        self._segmentation.make_way(result.reference, of_case=of_case, shape=result.volume.shape)
        self._volume = result.key, result.volume
        prediction = result.prediction
        mask = result.mask if result.rule == self._session.rule else None
        written = self._session.take_prediction(prediction, shape=result.volume.shape, mask=mask, of_case=of_case)
        self._segmentation.show_work(result.reference)
        if prediction.z is not None:
            self._predicted.add((result.key, prediction.z))
            return
        self._predicted = {(result.key, z) for z in range(result.volume.shape[0])}
        depth = result.volume.shape[0]
        how = " by the model adapted to this scan" if prediction.model == self._adaptation else ""
        text = f"Segmented {counted(depth, 'slice')} in {prediction.seconds:.1f} s{how}."
        work = self._session.work
        if work is not None and not work.mask.model.any():
            text += f" Nothing reaches the threshold of {self._session.rule.threshold:.2f}."
        self.said.emit(text + written.kept_text())
        self.segmented.emit(written)

    def _case_id(self) -> str:
        return "" if self._session.case is None else str(self._session.case.case_id)

    def _on_case_changed(self) -> None:
        # Nobody has asked to segment the one that is open now.
        self._again = False

    def _on_work_changed(self) -> None:
        # What was predicted was of the work before: of a mask that is gone, nothing is shown.
        self._predicted.clear()

    def _on_scrolled(self) -> None:
        if self._live:
            self._live_timer.start()

    def _predict_shown_slice(self) -> None:
        if not self._live or self._task is not None or self._live_task is not None:
            return
        sources = self._sources()
        reference = reference_of(sources)
        if reference is None:
            return
        z = slice_of(reference, self._viewer.dims.point)
        if (_key(self.model(), sources), z) in self._predicted:
            return
        self._live_task = self._submit(sources, z=z, fresh=False)
        self._live_task.failed.connect(self._end_live)
        self._live_task.finished.connect(self._on_live_finished)

    def _end_live(self) -> None:
        self._live = False
        self.liveEnded.emit()

    def _on_live_finished(self) -> None:
        self._live_task = None
        self._on_scrolled()

    def _on_progress(self, done: int, total: int) -> None:
        if self._task is None:
            return
        self.busy.emit(done, total)
        self._activity.show(done, total)

    def _on_stopped(self) -> None:
        self.said.emit("Stopped; nothing was changed.")

    def _on_finished(self) -> None:
        self._task = None
        self._activity.close()
        self.idle.emit()
        again, self._again = self._again, False
        if again:
            self.segment()
        self._on_scrolled()

    def _is_segmenting(self) -> bool:
        return self._task is not None


def _is_own(name: str) -> bool:
    from napari_unet_seg.engine.registry import Registry

    return Registry().owns(name)


def _key(model: str, sources: dict[str, ImageSource]) -> tuple[Any, ...]:
    """What a prediction depends on."""
    return (model, *((role, id(s.layer), id(s.layer.data), s.component) for role, s in sources.items()))
