"""Knows which slice to correct next, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_unet_seg.case_state import Work
from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.engine.postprocess import any_class
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.layers import ImageSource, as_bytes, volume_from
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from napari_unet_seg.widgets.workers import Lane, Task
from napari_unet_seg.working_mask import SliceState

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_unet_seg.engine.suggest import Suggestion

NOTHING_LEFT = "No other slice looks wrong."
NO_IMAGE = "There is no image to look at: choose the sequences in panel Data."
NO_PREDICTION = "Segment the volume first: suggestions come from what the model is unsure of."


class NextSlice(QObject):
    """Ranks the slices of the open scan in the background, anew after every prediction and every save.

    Parameters
    ----------
    session : Session
    segmentation : SegmentationLayer
    viewer : ViewerModel
    lane : Lane
        Where slices are ranked.
    sources : callable
        Gives the chosen image of each channel.
    suggest : callable, optional
        By default `engine.suggest.suggest_slices`.
    """

    valueChanged = Signal(str)
    """The slice to correct next and why, or why the shown one is to be corrected."""
    sliceChosen = Signal(int)
    """This slice should be shown."""
    said = Signal(str)
    failed = Signal(object)

    _REST_MS = 300

    def __init__(
        self,
        *,
        session: Session,
        segmentation: SegmentationLayer,
        viewer: ViewerModel,
        lane: Lane,
        sources: Callable[[], dict[str, ImageSource]],
        suggest: Callable[..., Sequence[Suggestion]] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._segmentation = segmentation
        self._viewer = viewer
        self._lane = lane
        self._sources = sources
        self._suggest = suggest or _suggest_slices
        self._suggestions: list[Suggestion] = []
        self._passed: list[int] = []
        self._task: Task | None = None
        self._text = ""
        # A slider that is dragged writes many masks; the slices are ranked when it rests.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self._REST_MS)
        self._timer.timeout.connect(self._rank)
        session.work_changed.connect(self._forget)
        session.mask_written.connect(self._timer_start)
        session.saved.connect(self._timer_start)
        viewer.dims.events.current_step.connect(self._tell)

    def disconnect_all(self) -> None:
        """Rank nothing more, and disconnect."""
        self._timer.stop()
        self._session.work_changed.disconnect(self._forget)
        self._session.mask_written.disconnect(self._timer_start)
        self._session.saved.disconnect(self._timer_start)
        self._viewer.dims.events.current_step.disconnect(self._tell)

    def busy(self) -> bool:
        """Whether a ranking is under way, or about to begin."""
        return self._timer.isActive() or (self._task is not None and not self._task.done)

    def value(self) -> str:
        """What is said now."""
        return self._text

    def show_next(self) -> None:
        """Go to the slice most worth correcting; called again, to the one after it."""
        left = self._left()
        if not left and self._is_known() and not self._sources():
            self.said.emit(NO_IMAGE)
            return
        if not left:
            self.said.emit(NOTHING_LEFT if self._is_known() else NO_PREDICTION)
            return
        shown = self._segmentation.shown_slice()
        if shown in left and shown not in self._passed:
            # It was looked at and left as it is: it comes up again when all others have.
            self._passed.append(shown)
        waiting = [z for z in left if z not in self._passed]
        if not waiting:
            self._passed = [z for z in self._passed if z == shown and len(left) > 1]
            waiting = [z for z in left if z not in self._passed]
        self.sliceChosen.emit(waiting[0])
        self._tell()

    def refresh(self, board: Any = None) -> None:
        """Slices were corrected, or are no longer."""
        self._tell()

    def _timer_start(self) -> None:
        self._timer.start()

    def _forget(self) -> None:
        """Another scan, or none: what is known of slices holds no longer."""
        if self._task is not None:
            self._task.stop()
        self._suggestions, self._passed = [], []
        self._timer.start()
        self._tell()

    def _rank(self) -> None:
        session, sources = self._session, self._sources()
        work = session.work
        if work is None or not sources or not self._is_known():
            self._take(work, [])
            return
        if self._task is not None:
            self._task.stop()
        probability, shape, threshold = work.probability.data, work.mask.model.shape, session.rule.threshold
        case = "" if session.case is None else session.case.case_id
        data, corrected = work.mask.data, self._settled()
        suggest = self._suggest

        def rank(task: Task) -> list[Suggestion]:
            volume = volume_from(sources)
            if volume.shape != shape:
                return []
            # It is painted on meanwhile: a stroke more or less makes no difference to the ranking.
            mask = as_bytes(data)
            return list(
                suggest(
                    volume,
                    any_class(probability),
                    case=case,
                    mask=mask,
                    corrected=corrected,
                    threshold=threshold,
                    flair=flair_index(volume.channel_names),
                )
            )

        self._task = self._lane.submit(rank, returned=lambda found: self._take(work, found), failed=self.failed.emit)

    def _take(self, work: Work | None, suggestions: Sequence[Suggestion]) -> None:
        if self._session.work is work:
            self._suggestions = list(suggestions)
            self._tell()

    def _is_known(self) -> bool:
        """Whether a model has said something of every slice."""
        work = self._session.work
        return work is not None and bool(work.probability.known.all())

    def _settled(self) -> list[int]:
        work = self._session.work
        states = () if work is None else work.mask.states()
        return [z for z, state in enumerate(states) if state is not SliceState.OPEN]

    def _left(self) -> list[int]:
        """Slices to be corrected, the worst first."""
        settled = set(self._settled())
        return [suggestion.slice for suggestion in self._suggestions if suggestion.slice not in settled]

    def _tell(self, event: Any = None) -> None:
        text = self._make_text()
        if text != self._text:
            self._text = text
            self.valueChanged.emit(text)

    def _make_text(self) -> str:
        if not self._suggestions:
            return ""
        left, shown = self._left(), self._segmentation.shown_slice()
        if not left:
            return NOTHING_LEFT
        reasons = {suggestion.slice: suggestion.reason for suggestion in self._suggestions}
        z = shown if shown in left else next((z for z in left if z not in self._passed), left[0])
        return f"Slice {z}: {reasons[z]}"


def _suggest_slices(*arguments: Any, **options: Any) -> list[Suggestion]:
    from napari_unet_seg.engine.suggest import suggest_slices

    suggestions: list[Suggestion] = suggest_slices(*arguments, **options)
    return suggestions
