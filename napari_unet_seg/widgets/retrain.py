"""Retraining in the dock: what a round is asked for, and what is done with its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QObject, Signal

from napari_unet_seg.case_state import LoadedCase
from napari_unet_seg.engine.events import RoundEvent
from napari_unet_seg.engine.round_process import RoundRequest
from napari_unet_seg.engine.round_report import RoundReport, Scope
from napari_unet_seg.errors import InputError
from napari_unet_seg.saving import SaveJob, SaveResult
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.adaptations import adaptation_name
from napari_unet_seg.widgets.correct_panel import CorrectionBoard
from napari_unet_seg.widgets.correction_counts import CorrectionCounts
from napari_unet_seg.widgets.correction_saver import CorrectionSaver
from napari_unet_seg.widgets.corrector import Corrector
from napari_unet_seg.widgets.plot_colours import PlotColours
from napari_unet_seg.widgets.retrain_board import RetrainBoard, RetrainSettings
from napari_unet_seg.widgets.retrain_panel import RetrainPanel
from napari_unet_seg.widgets.round_history import RoundHistory
from napari_unet_seg.widgets.round_runner import RoundRunner
from napari_unet_seg.widgets.segment_runner import LoadedModel, SegmentRunner
from napari_unet_seg.widgets.status_line import sentence
from napari_unet_seg.widgets.times import day_and_time, time_or_day
from napari_unet_seg.widgets.version_table import VersionRow
from napari_unet_seg.widgets.workers import Lane

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_unet_seg.engine.versions import Version


class Versions(Protocol):
    """What is needed of the versions of a model; `engine.versions.VersionLine` has it."""

    def versions(self) -> tuple[Version, ...]:
        """All of them, oldest first."""

    def restore(self, number: int) -> Version:
        """Make one the current one."""


class Retrain(QObject):
    """Connects the panel, the round in the background, and the models that come of it.

    Parameters
    ----------
    session : Session
    viewer : ViewerModel
        Its theme gives the colours of the curves.
    panel : RetrainPanel
    segmenting : SegmentRunner
        It is given the model that a round has made.
    corrector : Corrector
        Tells when something was corrected.
    saver : CorrectionSaver
        Saves what is not saved yet.
    rounds : Lane
        Where rounds are watched from; they may take minutes.
    files : Lane
        Where corrections are counted, and versions are read and restored.
    run_round : callable, optional
        As of `RoundRunner`.
    versions : callable, optional
        Name of a model to its `Versions`; by default those in the registry.
    """

    said = Signal(str)
    failed = Signal(object)

    def __init__(
        self,
        *,
        session: Session,
        viewer: ViewerModel,
        panel: RetrainPanel,
        segmenting: SegmentRunner,
        corrector: Corrector,
        saver: CorrectionSaver,
        rounds: Lane,
        files: Lane,
        run_round: Callable[..., Iterator[RoundEvent]] | None = None,
        versions: Callable[[str], Versions] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._viewer = viewer
        self._panel = panel
        self._segmenting = segmenting
        self._saver = saver
        self._files = files
        self._versions = versions or _versions
        self._request: RoundRequest | None = None
        self._awaited: tuple[SaveJob, float] | None = None
        self._line = ""
        self._own_line = ""
        self._renewed: dict[tuple[Path, str], str] = {}
        self.runner = RoundRunner(lane=rounds, run_round=run_round, parent=self)
        self._counts = CorrectionCounts(session=session, lane=files, parent=self)
        self._counts.valueChanged.connect(self._tell)
        self._counts.failed.connect(self.failed)
        panel.startRequested.connect(self.start)
        panel.saveRequested.connect(self.save_and_start)
        panel.stopRequested.connect(self._stop)
        panel.restoreRequested.connect(self.restore)
        panel.valueChanged.connect(self._on_settings)
        self.runner.progressed.connect(self._show_round)
        self.runner.returned.connect(self._take_report)
        self.runner.failed.connect(self._on_failed)
        self.runner.idle.connect(panel.set_idle)
        segmenting.modelLoaded.connect(self._on_model)
        segmenting.adaptationChanged.connect(self._on_adaptation)
        corrector.valueChanged.connect(self._on_corrections)
        session.case_changed.connect(self._on_case_changed)
        session.saved.connect(self._on_saved)
        viewer.events.theme.connect(self._colour)
        self._colour()

    def disconnect_all(self) -> None:
        """Start nothing new, and disconnect."""
        self._viewer.events.theme.disconnect(self._colour)
        self._session.case_changed.disconnect(self._on_case_changed)
        self._session.saved.disconnect(self._on_saved)
        self._counts.disconnect_all()
        self.runner.disconnect_all()

    def take_case(self, layers: Sequence[Layer], loaded: LoadedCase) -> None:
        """Another case is shown, in these layers: segment it with its own adaptation, if it has one."""
        self._own_line = loaded.own_model or adaptation_name(loaded.case.case_id, loaded.image_hash)
        self._panel.prepare()
        dataset, last = self._session.dataset, self._request
        this = None if dataset is None else (dataset.root, loaded.case.case_id)
        if last is not None and last.scope == "scan" and (last.dataset, last.case) != this:
            # Under "This scan", what came of a round for another one would be taken for this one's.
            self._panel.forget_round()
        # A round may have ended while another case was open.
        renewed = None if dataset is None else self._renewed.pop((dataset.root, loaded.case.case_id), None)
        self._segmenting.set_adaptation(renewed or loaded.adaptation, layers=layers)
        work = self._session.case_work
        if renewed is not None or (work is not None and work.successor == self._segmenting.model()):
            self._segmenting.segment_again()
        self._counts.note(loaded.case.case_id, len(loaded.corrected))
        self._tell()
        self._list_versions()

    def start(self) -> None:
        """Run a round with what is saved."""
        self._start(asked=time.time())

    def _start(self, *, asked: float) -> None:
        settings, dataset, case = self._panel.value(), self._session.dataset, self._session.case
        if self.runner.busy() or dataset is None or (settings.scope == "scan" and case is None):
            return
        alone, name = settings.scope == "scan", self._line_name()
        self._request = RoundRequest(
            dataset=dataset.root,
            overlay=dataset.overlay,
            # What is in use now: a round is to be better than that.
            model=self._segmenting.model() if alone else _parent(name, chosen=self._segmenting.chosen_model),
            name=name,
            scope=settings.scope,
            case=case.case_id if alone and case is not None else None,
            seconds=settings.seconds,
            asked=asked,
        )
        self.said.emit("Retraining; you can go on working.")
        self.runner.start(self._request)

    def save_and_start(self) -> None:
        """Save the unsaved slices, and run a round when that is done, if the case is still open then."""
        asked = time.time()
        if not self._saver.unsaved():
            self._start(asked=asked)
            return
        if self._saver.saving():
            # What it writes is older than what the user sees.
            self.said.emit("The save before still runs; press again when it is done.")
            return
        job = self._saver.save()
        self._awaited = None if job is None else (job, asked)

    def restore(self, number: int) -> None:
        """Go back to a version of the model that the panel lists."""
        line, scope, case = self._line, self._panel.value().scope, self._session.case
        if self.runner.busy() or not line:
            return

        def take(version: Version) -> None:
            text = f"Version {version.number} of {_whose(line, scope)} is in use.{self._still_adapted(scope)}"
            name = line if scope == "model" or version.scope == "scan" else ""
            if not name:
                # What a line of a scan's own began with is a model for every scan: the scan has no adaptation then.
                text = f"This scan is segmented by {self._segmenting.chosen_model} again, the model for all scans."
            self.said.emit(text)
            self._adopt(name, scope, None if case is None else case.case_id, root=root)

        root = None if self._session.dataset is None else self._session.dataset.root
        versions = self._versions
        self._files.submit(lambda task: versions(line).restore(number), returned=take, failed=self.failed.emit)

    # What a round tells.

    def _stop(self) -> None:
        self.runner.stop()

    def _show_round(self, history: RoundHistory, elapsed: float) -> None:
        if self.runner.busy():
            self._panel.set_round(history, elapsed=elapsed, stopping=self.runner.stopping())

    def _take_report(self, report: RoundReport | None) -> None:
        request = self._request
        if report is None or request is None:
            self._panel.set_outcome(f"Stopped{self._for_other()}; the model is as it was.")
            self.said.emit(f"Retraining stopped{self._for_other()}; the model is as it was.")
            return
        verdict = f"{'Promoted' if report.promoted else 'Not promoted'}{self._for_other()}: {report.reason}."
        if report.promoted:
            verdict += self._still_adapted(request.scope)
        self._panel.set_outcome(verdict, report)
        self.said.emit(f"Retraining: {verdict}")
        if report.promoted:
            self._adopt(request.name, request.scope, request.case, root=request.dataset)
        else:
            self._list_versions()

    def _still_adapted(self, scope: str) -> str:
        """What is to be said of another model for all scans where the open one has its own."""
        adapted = scope == "model" and self._segmenting.uses_adaptation()
        return " This scan is still segmented by the model adapted to it." if adapted else ""

    def _for_other(self) -> str:
        """The scan that the round was for, where that is not the open one, as the verdict names it."""
        request, dataset, case = self._request, self._session.dataset, self._session.case
        here = None if dataset is None or case is None else (dataset.root, case.case_id)
        if request is None or request.case is None or here == (request.dataset, request.case):
            return ""
        return f" for {request.case}"

    def _on_failed(self, error: Exception) -> None:
        self._panel.set_outcome(f"The round{self._for_other()} failed: {sentence(error)}")
        self.failed.emit(error)
        self._list_versions()

    def _adopt(self, name: str, scope: str, case: str | None, *, root: Path | None) -> None:
        """Segment with what a round, or a version, has put under a name."""
        session = self._session
        if scope == "model":
            # What other cases show is brought up to date when they are opened.
            session.note_successor(name, of={name, self._segmenting.chosen_model})
            self._segmenting.load_model(name)
            if self._segmenting.model() == name:
                self._segmenting.segment_again()
        elif session.case is not None and session.dataset is not None and session.case.case_id == case:
            if session.dataset.root == root:
                self._segmenting.set_adaptation(name)
                self._segmenting.segment_again()
        elif case is not None and root is not None:
            self._renewed[root, case] = name
        self._list_versions()

    # What there is to learn from.

    def _on_case_changed(self) -> None:
        self._awaited = None
        if self._session.case is None:
            self._own_line = ""
            self._segmenting.set_adaptation("", layers=())
        self._tell()

    def _on_corrections(self, board: CorrectionBoard) -> None:
        if board.unsaved != self._panel.board().unsaved:
            self._tell()

    def _on_saved(self, result: SaveResult) -> None:
        self._tell()
        if self._awaited is None or result.job is not self._awaited[0]:
            return
        (_, asked), self._awaited = self._awaited, None
        if result.error is None:
            self._start(asked=asked)

    def _on_settings(self, settings: RetrainSettings) -> None:
        if self._line_name() != self._line:
            self._list_versions()

    def _on_model(self, loaded: LoadedModel) -> None:
        # A model that came with the package stays as it is.
        name = f"{Path(loaded.name).stem}-tuned" if loaded.fixed else loaded.name
        self._panel.setValue(replace(self._panel.value(), name=name))
        # The name may be the same and what a round begins with another.
        self._list_versions()

    def _on_adaptation(self) -> None:
        self._list_versions()

    def _tell(self) -> None:
        session = self._session
        self._counts.follow()
        counts = self._counts.value()
        case, work = session.case, session.case_work
        self._panel.set_board(
            RetrainBoard(
                open=session.dataset is not None,
                case="" if case is None else case.case_id,
                scan_slices=0 if case is None else counts.get(case.case_id, 0),
                slices=sum(counts.values()),
                cases=sum(count > 0 for count in counts.values()),
                alone=self._counts.alone(),
                picture=work is not None and work.mask.model.shape[0] == 1,
                unsaved=0 if work is None else len(work.mask.unsaved(thorough=False)),
            )
        )

    # Versions.

    def _line_name(self) -> str:
        """The model that a round with the present settings goes to."""
        settings = self._panel.value()
        return settings.name if settings.scope == "model" else self._own_line

    def _list_versions(self) -> None:
        line, versions, chosen = self._line_name(), self._versions, self._segmenting.chosen_model
        if line != self._line:
            self._panel.set_parent("")
        self._line = line
        if not line:
            self._panel.versions.setValue(())
            return

        def read(task: object) -> tuple[tuple[Version, ...], str, str]:
            parent = _parent(line, chosen=chosen)
            try:
                return versions(line).versions(), parent, ""
            except InputError as error:
                # The round would refuse the name as well, but only once it has begun.
                return (), parent, sentence(error)

        def show(found: tuple[tuple[Version, ...], str, str]) -> None:
            if self._line == line:
                listed, parent, problem = found
                self._panel.set_parent(parent, problem=problem)
                title = f"Versions of {_whose(line, self._panel.value().scope)}:"
                self._panel.versions.setValue([_row(version) for version in listed], title=title)

        self._files.submit(read, returned=show, failed=self.failed.emit)

    def _colour(self) -> None:
        self._panel.set_colours(PlotColours.of_theme(str(self._viewer.theme)))


def _parent(line: str, *, chosen: str) -> str:
    """The model that a round for all scans begins with, if its result goes to `line`.

    What earlier rounds have put there is built on, also where another model is chosen to segment with: a promoted
    round takes the place of all of that.
    """
    from napari_unet_seg.engine.registry import Registry

    return line if Registry().owns(line) else chosen


def _whose(line: str, scope: Scope) -> str:
    return "this scan's own model" if scope == "scan" else line


def _row(version: Version) -> VersionRow:
    return VersionRow(
        number=version.number,
        time=time_or_day(version.time),
        made=day_and_time(version.time),
        before=version.before,
        after=version.after,
        promoted=version.promoted,
        current=version.current,
        reason=version.reason,
    )


def _versions(name: str) -> Versions:
    from napari_unet_seg.engine.registry import Registry
    from napari_unet_seg.engine.versions import VersionLine

    return VersionLine(name, registry=Registry())
