"""The dock: its panels, and who listens to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_unet_seg.case_state import LoadedCase, Written
from napari_unet_seg.data.roles import ROLES
from napari_unet_seg.engine.events import RoundEvent
from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.brush_box import leave_out_brush_box
from napari_unet_seg.widgets.canvas_context import CanvasContext
from napari_unet_seg.widgets.case_list import CaseList
from napari_unet_seg.widgets.case_loader import CaseLoader
from napari_unet_seg.widgets.channel_roles import ChannelRoles
from napari_unet_seg.widgets.correct_panel import CorrectPanel
from napari_unet_seg.widgets.correction_saver import CorrectionSaver
from napari_unet_seg.widgets.corrector import Corrector
from napari_unet_seg.widgets.data_panel import DataPanel
from napari_unet_seg.widgets.focus_frame import FocusFrame
from napari_unet_seg.widgets.keys import Keys
from napari_unet_seg.widgets.layers import place_of_slice, reference_of
from napari_unet_seg.widgets.leaving import Answer, Leaving, ask_about_edits, ask_about_loss
from napari_unet_seg.widgets.left_open import LeftOpen
from napari_unet_seg.widgets.loose_keeper import LooseKeeper
from napari_unet_seg.widgets.mask_dialog import choose_mask_file, file_beside
from napari_unet_seg.widgets.model_names import models_to_choose_from
from napari_unet_seg.widgets.napari_font import NapariFont
from napari_unet_seg.widgets.next_slice import NextSlice
from napari_unet_seg.widgets.panel_column import PanelColumn, fold
from napari_unet_seg.widgets.questions import Questions
from napari_unet_seg.widgets.retrain import Retrain, Versions
from napari_unet_seg.widgets.retrain_panel import RetrainPanel
from napari_unet_seg.widgets.rule_follower import RuleFollower
from napari_unet_seg.widgets.score_keeper import ScoreKeeper
from napari_unet_seg.widgets.scores_panel import ScoresPanel
from napari_unet_seg.widgets.segment_panel import SegmentPanel, SegmentSettings
from napari_unet_seg.widgets.segment_runner import LoadedModel, SegmentRunner
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer, load_labels
from napari_unet_seg.widgets.status_line import StatusLine
from napari_unet_seg.widgets.truth_choice import TruthChoice
from napari_unet_seg.widgets.window_watch import WindowWatch
from napari_unet_seg.widgets.workers import Lane

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_unet_seg.engine.suggest import Suggestion


class UNetDock(QWidget):
    """Open a scan, segment it, see the scores.

    Parameters
    ----------
    napari_viewer : Viewer
        The name is the one by which napari gives a plugin its viewer.
    model : str
        Name or file of the model that is loaded first.
    session : Session, optional
        The state; by default a new one with the package's own dataset and model loaders.
    list_models : callable, optional
        Names of the models to choose from; called in the background. By default those of the registry.
    run_round, versions, suggest : callable, optional
        As of `RoundRunner`, `Retrain` and `NextSlice`.
    ask : callable, optional
        Asks what to do with unsaved edits; by default `ask_about_edits`.
    choose_file : callable, optional
        Asks for the file of a mask, given a suggestion; by default `choose_mask_file`.
    """

    def __init__(
        self,
        napari_viewer: Viewer,
        *,
        model: str = "default",
        session: Session | None = None,
        list_models: Callable[[], Sequence[str]] | None = None,
        run_round: Callable[..., Iterator[RoundEvent]] | None = None,
        versions: Callable[[str], Versions] | None = None,
        suggest: Callable[..., Sequence[Suggestion]] | None = None,
        ask: Callable[[QWidget, str], Answer] | None = None,
        choose_file: Callable[[QWidget, Path], Path | None] | None = None,
    ) -> None:
        super().__init__()
        self.setObjectName("unet_segmentation")
        self._viewer = viewer = napari_viewer
        self._closed = False
        self._left_rule: MaskRule | None = None
        self._ask = ask or ask_about_edits
        self._choose_mask_file = choose_file or choose_mask_file
        self.session = session if session is not None else Session()
        # Plain threads, not children of this widget: Qt must not delete them while they run.
        self._lanes = tuple(Lane(f"unet-seg-{name}") for name in ("files", "model", "saves", "rounds", "ranking"))
        file_lane, model_lane, save_lane, round_lane, ranking_lane = self._lanes
        self._model_lane, self._save_lane = model_lane, save_lane

        self.roles = ChannelRoles(viewer=viewer, wanted=ROLES)
        self.data_panel = DataPanel(roles=self.roles)
        self.segment_panel = SegmentPanel(model=model)
        self.correct_panel = CorrectPanel()
        self.retrain_panel = RetrainPanel()
        self.scores_panel = ScoresPanel()
        self.status = StatusLine(viewer=viewer)
        self.segmentation = SegmentationLayer(session=self.session, viewer=viewer, parent=self)
        self.scores = ScoreKeeper(session=self.session, segmentation=self.segmentation, viewer=viewer, parent=self)
        self.questions = Questions(parent=self)
        self.saver = CorrectionSaver(
            session=self.session,
            segmentation=self.segmentation,
            questions=self.questions,
            lane=save_lane,
            parent=self,
        )
        self.keeper = LooseKeeper(
            session=self.session,
            segmentation=self.segmentation,
            questions=self.questions,
            lane=save_lane,
            parent=self,
        )
        self._leaving = Leaving(
            session=self.session,
            saver=self.saver,
            keeper=self.keeper,
            ask=lambda text: self._ask(self, text),
            ask_about_loss=lambda text: ask_about_loss(self, text),
        )
        self._canvas = CanvasContext(viewer=viewer, inside=self)
        leave_out_brush_box(viewer)
        self._window = WindowWatch(may_close=lambda: self._closed or self._leaving.may_close(), parent=self)
        self._window.closed.connect(self._on_window_closed)
        self._window.stayed.connect(self._leaving.stay)
        self.loader = CaseLoader(
            session=self.session,
            segmentation=self.segmentation,
            viewer=viewer,
            lane=file_lane,
            may_leave=self._leaving.may_leave,
            wait_for_saves=save_lane.wait,
            parent=self,
        )
        self.runner = SegmentRunner(
            session=self.session,
            segmentation=self.segmentation,
            viewer=viewer,
            lane=model_lane,
            sources=self.roles.value,
            list_models=list_models or models_to_choose_from,
            is_of_case=self.loader.shows,
            parent=self,
        )
        self.rule = RuleFollower(
            session=self.session, segmentation=self.segmentation, viewer=viewer, lane=file_lane, parent=self
        )
        self.corrector = Corrector(
            session=self.session,
            segmentation=self.segmentation,
            viewer=viewer,
            saver=self.saver,
            keeper=self.keeper,
            reference=self._reference,
            is_of_case=self.loader.shows,
            parent=self,
        )
        self.next = NextSlice(
            session=self.session,
            segmentation=self.segmentation,
            viewer=viewer,
            lane=ranking_lane,
            sources=self.roles.value,
            suggest=suggest,
            parent=self,
        )
        self.retrain = Retrain(
            session=self.session,
            viewer=viewer,
            panel=self.retrain_panel,
            segmenting=self.runner,
            corrector=self.corrector,
            saver=self.saver,
            rounds=round_lane,
            files=file_lane,
            run_round=run_round,
            versions=versions,
            parent=self,
        )
        self._truth = TruthChoice(
            viewer=viewer,
            segmentation=self.segmentation,
            scores=self.scores,
            panel=self.scores_panel,
            is_of_case=self.loader.shows,
            parent=self,
        )
        self._cases = CaseList(session=self.session, panel=self.data_panel, parent=self)
        self._parts = (
            self.loader,
            self.runner,
            self.rule,
            self.scores,
            self.saver,
            self.keeper,
            self.corrector,
            self.next,
            self.retrain,
            self._truth,
            self._cases,
            self.segmentation,
            self.roles,
            self.status,
            self._canvas,
            self._window,
            NapariFont(self),
        )
        self._lay_out()
        self._connect()
        self.status.setValue("Open a dataset, or choose the open layers, and press Segment.")
        # The dock is drawn first: importing torch, though in another thread, would hold it up.
        QTimer.singleShot(150, self._start)

    def busy(self) -> bool:
        """Whether anything runs in the background."""
        return any(lane.busy() for lane in self._lanes)

    def is_closed(self) -> bool:
        """Whether it was shut down."""
        return self._closed

    def shutdown(self) -> None:
        """End what runs, wait for its threads, and disconnect from the viewer; more calls do nothing."""
        if self._closed:
            return
        try:
            # A save that runs is finished, and nothing follows from it; what was discarded is not offered again.
            with self.session.saved.blocked():
                self._save_lane.finish()
            # The last edits may be younger than the last autosave.
            if self.saver.unsaved():
                self.saver.autosave(final=True)
            self.keeper.leave()
            self._save_lane.wait()
        finally:
            self._end()

    def _end(self) -> None:
        self._closed = True
        if self.session.dataset is not None:
            self.session.dataset.release()
        for lane in self._lanes:
            lane.close()
        self._keys.close()
        self._focus_frame.close()
        for part in self._parts:
            part.disconnect_all()

    def event(self, event: QEvent) -> bool:
        """Notice being docked into a window, and being taken out of it for good."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self._leave_open()
            else:
                QTimer.singleShot(0, self._watch_window)
        return bool(super().event(event))

    def _leave_open(self) -> None:
        """End all work, and have the next dock of the window go on with what is open."""
        if self._closed:
            return
        window, layer, settings = self._window.window, self.segmentation.layer, self.segment_panel.value()
        left = self.loader.left
        if left is not None:
            # Closed anew before all was read.
            left.session = self.session
        else:
            case, rule = self.session.case, settings.rule if self.session.segmenter is not None else self._left_rule
            left = LeftOpen(
                session=self.session,
                case=case,
                images=self.loader.images,
                truth=self.loader.truth,
                # With a case open, the mask of any other image stays in its layer, as the user's own.
                mask=layer if case is None or self.session.case_work is not None else None,
                reference=self.segmentation.reference,
                model=settings.model,
                rule=rule,
            )
        self.shutdown()
        if window is not None:
            left.put_into(window)
        if layer is not None:
            # napari shows the first words alone until the user asks for more.
            show_info("Nothing painted now is kept until the U-Net dock is open again (menu Plugins).")

    def closeEvent(self, event: QCloseEvent) -> None:
        """End all work."""
        self.shutdown()
        super().closeEvent(event)

    def _lay_out(self) -> None:
        self._column = PanelColumn(
            {
                "Data": self.data_panel,
                "Segment": self.segment_panel,
                "Correct": self.correct_panel,
                "Retrain": self.retrain_panel,
            }
        )
        self.correct_panel.revealRequested.connect(self._column.reveal)
        self.retrain_panel.revealRequested.connect(self._column.reveal)
        layout = QVBoxLayout(self)
        layout.addWidget(self._column, 1)
        # Below the others, and always in view: they are watched while painting.
        layout.addWidget(fold("Scores", self.scores_panel))
        layout.addWidget(self.status)

    def _connect(self) -> None:
        self.data_panel.pathEntered.connect(self.loader.open_path)
        self.data_panel.caseActivated.connect(self.loader.open_case)
        self.loader.caseShown.connect(self._on_case_shown)
        self.loader.stayed.connect(self.data_panel.mark_open)
        self.roles.valueChanged.connect(self.runner.sources_changed)
        self.roles.valueChanged.connect(self.corrector.refresh)
        self.segmentation.lost.connect(self.status.setValue)
        self.segment_panel.valueChanged.connect(self._on_settings)
        self.segment_panel.segmentRequested.connect(self.runner.segment)
        self.segment_panel.cancelRequested.connect(self.runner.cancel)
        # At once: any other change in the panel would choose the model that it shows.
        self.runner.modelChosen.connect(self.segment_panel.choose_model)
        self.runner.modelLoaded.connect(self._on_model_loaded)
        self.runner.modelFailed.connect(self._on_model_failed)
        self.runner.modelsListed.connect(self._on_models_listed)
        self.runner.liveEnded.connect(self.segment_panel.end_live)
        self.runner.segmented.connect(self._on_segmented)
        self.runner.busy.connect(self.segment_panel.set_busy)
        self.runner.idle.connect(self.segment_panel.set_idle)
        self.runner.adaptationChanged.connect(self.segment_panel.set_adaptation)
        panel, corrector, saver = self.correct_panel, self.corrector, self.saver
        panel.startRequested.connect(corrector.start)
        panel.acceptRequested.connect(corrector.accept)
        panel.revertRequested.connect(corrector.revert)
        panel.clearRequested.connect(corrector.clear)
        panel.interpolateRequested.connect(corrector.interpolate)
        panel.saveRequested.connect(self._save)
        panel.noticeAnswered.connect(self.questions.answer)
        panel.sliceChosen.connect(self._show_slice)
        panel.nextRequested.connect(self.next.show_next)
        self.next.sliceChosen.connect(self._show_slice)
        self.next.valueChanged.connect(panel.set_suggestion)
        corrector.valueChanged.connect(self.next.refresh)
        corrector.valueChanged.connect(panel.setValue)
        self.questions.changed.connect(self._set_notice)
        saver.folderWanted.connect(self._choose_overlay)
        for part in (saver, corrector):
            part.caseChanged.connect(self._cases.refresh)
        self.scores.noticed.connect(corrector.note_edited)
        self.scores.valueChanged.connect(self.scores_panel.set_board)
        self.scores.mended.connect(self.status.take_back)
        for part in (self.loader, self.runner, self.rule, saver, self.keeper, corrector, self.next, self.retrain):
            part.said.connect(self.status.setValue)
        telling = (self.loader, self.runner, self.rule, self.scores, saver, self.keeper, corrector, self.next)
        for part in (*telling, self.retrain):
            part.failed.connect(self.status.show_error)
        self._focus_frame = FocusFrame(self._viewer, self)
        self._keys = Keys(
            self._viewer,
            self,
            {
                "Shift-A": self.corrector.accept,
                "Shift-R": self.corrector.revert,
                "Shift-C": self.corrector.clear,
                "Shift-I": self.corrector.interpolate,
                "Shift-S": self._save,
                "Shift-N": self.next.show_next,
            },
        )

    def _start(self) -> None:
        if not self._closed:
            self.runner.load_model(self.segment_panel.value().model)
            # Behind the model, not beside it: two imports at a time hold the window up.
            self._model_lane.submit(load_labels, failed=self.status.show_error)

    def _watch_window(self) -> None:
        window = self.window()
        if not self._closed and window is not self:
            self._window.watch(window)
            left = LeftOpen.take_from(window)
            if left is not None:
                self._take_over(left)

    def _take_over(self, left: LeftOpen) -> None:
        """Go on where the dock before this one was closed."""
        self.segment_panel.choose_model(left.model)
        self._left_rule = left.rule
        self.loader.take_over(left)

    def _on_window_closed(self) -> None:
        if not self._closed:
            self._leaving.discard()
            self.shutdown()

    def _on_settings(self, settings: SegmentSettings) -> None:
        self.rule.set_rule(settings.rule)
        self.runner.set_live(settings.live)
        self.runner.use_model(settings.model)
        self.runner.use_adaptation(settings.adapted)

    def _on_model_loaded(self, loaded: LoadedModel) -> None:
        description = loaded.segmenter.description
        self.segment_panel.set_models(loaded.names, chosen=loaded.name)
        self.segment_panel.set_device(loaded.segmenter.device_note)
        # The rule is the model's own, or the one that the mask was left with.
        rule, self._left_rule = self._left_rule or description, None
        self.segment_panel.set_model_defaults(
            threshold=rule.threshold, largest_component=rule.largest_component, min_fraction=rule.min_fraction
        )
        self.roles.set_wanted(description.channel_names)

    def _on_segmented(self, written: Written) -> None:
        self.roles.keep()
        self.scores.note_progress()

    def _on_model_failed(self, error: Exception) -> None:
        self._left_rule = None
        self.segment_panel.set_device("no model is loaded")
        self.status.show_error(error)

    def _on_models_listed(self, names: tuple[str, ...]) -> None:
        self.segment_panel.set_models(names, chosen=self.runner.chosen_model)

    def _on_case_shown(self, layers: list[Any], loaded: LoadedCase) -> None:
        self.roles.prefer(layers)
        self.corrector.take_case(loaded)
        self.saver.take_case(loaded)
        self.retrain.take_case(layers, loaded)
        self._truth.take_case(self.loader.truth)

    # Correcting.

    def _set_notice(self, text: str, answers: tuple[str, ...]) -> None:
        self.correct_panel.set_notice(text, *answers)

    def _show_slice(self, z: int) -> None:
        layer = self.segmentation.layer
        if layer is not None and not self.segmentation.shows_slices():
            # The point would move where nobody sees it.
            self.status.setValue("Slices are not in view; go back to two dimensions, with the slices' axis first.")
        elif layer is not None and layer.ndim > 2:
            self._viewer.dims.set_point(self._viewer.dims.ndim - 3, place_of_slice(layer, z))

    def _save(self) -> None:
        image = self.keeper.image()
        if image is None:
            self.saver.save()
            return
        path = self._choose_mask_file(self, file_beside(image))
        if path is not None:
            self.keeper.save(path, image=image)

    def _choose_overlay(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A folder for the corrections", str(Path.home()))
        dataset = self.session.dataset
        if folder and dataset is not None:
            self.loader.open_overlay(Path(folder), self.saver.use_overlay)

    def _reference(self) -> Layer | None:
        """The image to be corrected: what is chosen, or else the open case's own, whatever sequence that is."""
        chosen = reference_of(self.roles.value())
        return chosen if chosen is not None else next(reversed(self.loader.images), None)
