"""Panel Retrain: what to learn from the corrections, how long, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_unet_seg.engine.round_report import RoundReport, Scope
from napari_unet_seg.widgets.outcome_table import OutcomeTable
from napari_unet_seg.widgets.retrain_board import RetrainBoard, RetrainSettings
from napari_unet_seg.widgets.round_history import RoundHistory
from napari_unet_seg.widgets.round_view import RoundView
from napari_unet_seg.widgets.version_table import VersionTable
from napari_unet_seg.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_unet_seg.widgets.curve_plot import CurvePlot
    from napari_unet_seg.widgets.plot_colours import PlotColours


class RetrainPanel(QWidget):
    """Starts and stops rounds, draws them, and lists the versions that they made."""

    valueChanged = Signal(object)
    """`RetrainSettings`, by the user."""
    startRequested = Signal()
    saveRequested = Signal()
    """The unsaved slices should be saved, and a round started then."""
    stopRequested = Signal()
    restoreRequested = Signal(int)
    revealRequested = Signal(QWidget)
    """A part that should be in view: the user has just asked for it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._board = RetrainBoard()
        self._running = False
        self._stopping = False

        self._scan = QRadioButton("This scan")
        self._model = QRadioButton("The model, for all scans")
        self._scan.setChecked(True)
        self._group = QButtonGroup(self)
        self._group.addButton(self._scan)
        self._group.addButton(self._model)
        self._explanations: dict[Scope, QLabel] = {"scan": _indented(), "model": _indented()}
        self._seconds = QSpinBox()
        # After Enter the keys are the viewer's again, as in napari's own panels.
        self._seconds.lineEdit().returnPressed.connect(self._seconds.clearFocus)
        self._seconds.setRange(15, 3600)
        self._seconds.setSingleStep(15)
        self._seconds.setValue(60)
        self._seconds.setSuffix(" s")
        self._seconds.setToolTip("Time that a round may take, counted from the click")
        self._name = QLineEdit()
        self._name.setToolTip("Name of the model that the result goes to; what was there before stays as a version")
        self._name_title = QLabel("Result in")
        self._name_title.setBuddy(self._name)
        self._parent, self._problem = "", ""
        self._origin = WrappedLabel()
        self._hint = WrappedLabel()
        self._start = QPushButton("Retrain")
        self._start.setObjectName("retrain")
        self._start.setToolTip("Learn from the saved corrections, in the background; you can go on working")
        self._save_and_start = QPushButton("Save and retrain")
        self._save_and_start.setToolTip("Save the corrected slices first, then learn from them too")
        self._stop = QPushButton("Stop")
        self._stop.setToolTip("End the round now; the best so far is used, if it is better than before")
        self._round = RoundView()
        self._verdict = WrappedLabel()
        self._verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._outcome = OutcomeTable()
        self._versions = VersionTable()

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Time", self._seconds)
        form.addRow(self._name_title, self._name)
        buttons = QHBoxLayout()
        buttons.addWidget(self._start, 1)
        buttons.addWidget(self._save_and_start, 1)
        buttons.addWidget(self._stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._scan)
        layout.addWidget(self._explanations["scan"])
        layout.addWidget(self._model)
        layout.addWidget(self._explanations["model"])
        layout.addLayout(form)
        layout.addWidget(self._origin)
        layout.addWidget(self._hint)
        layout.addLayout(buttons)
        layout.addWidget(self._round)
        layout.addWidget(self._verdict)
        layout.addWidget(self._outcome)
        layout.addWidget(self._versions)
        for part in (self._round, self._verdict):
            part.setVisible(False)
        self._show_board()

        self._scan.toggled.connect(self._tell)
        self._seconds.valueChanged.connect(self._tell)
        self._name.textChanged.connect(self._tell)
        self._start.clicked.connect(self.startRequested)
        self._save_and_start.clicked.connect(self.saveRequested)
        self._stop.clicked.connect(self._ask_to_stop)
        self._versions.restoreRequested.connect(self.restoreRequested)

    def value(self) -> RetrainSettings:
        """What is set."""
        scope: Scope = "scan" if self._scan.isChecked() else "model"
        return RetrainSettings(scope=scope, seconds=float(self._seconds.value()), name=self._name.text().strip())

    def setValue(self, value: RetrainSettings) -> None:
        """Set everything."""
        if value == self.value():
            return
        with QSignalBlocker(self._scan), QSignalBlocker(self._seconds), QSignalBlocker(self._name):
            (self._scan if value.scope == "scan" else self._model).setChecked(True)
            self._seconds.setValue(round(value.seconds))
            self._name.setText(value.name)
        self._tell()

    def board(self) -> RetrainBoard:
        """What there is to learn from, as shown."""
        return self._board

    def set_board(self, board: RetrainBoard) -> None:
        """Show what there is to learn from."""
        if board != self._board:
            self._board = board
            self._show_board()

    def set_parent(self, parent: str, *, problem: str = "") -> None:
        """Show which model a round for all scans begins with, or why there can be none.

        Parameters
        ----------
        parent : str
            A model's name; empty where that is not known yet.
        problem : str
            Why the result cannot go to the model that is named; empty where it can.
        """
        self._parent, self._problem = parent, problem
        self._show_board()

    def prepare(self) -> None:
        """Make the plot, if it is not there yet: the first one takes a tenth of a second or two."""
        self._round.prepare()

    def set_colours(self, colours: PlotColours) -> None:
        """Draw the curves in these colours."""
        self._round.set_colours(colours)

    def set_round(self, history: RoundHistory, *, elapsed: float, stopping: bool = False) -> None:
        """Show how far a round is; see `RoundView.setValue`."""
        if not self._running:
            self._set_running(True)
            self.set_outcome("")
            self._round.setVisible(True)
            self.revealRequested.emit(self._round)
        if stopping != self._stopping:
            self._stopping = stopping
            self._show_board()
        self._round.setValue(history, elapsed=elapsed, stopping=stopping)

    def set_idle(self) -> None:
        """Be ready for the next round."""
        self._set_running(False)

    def forget_round(self) -> None:
        """Take the last round away, its curves too; one that runs stays."""
        if not self._running:
            self.set_outcome("")
            self._round.setVisible(False)

    def verdict(self) -> str:
        """What came of the last round, or why it failed; empty while one runs."""
        return str(self._verdict.text()) if not self._verdict.isHidden() else ""

    def set_outcome(self, verdict: str, report: RoundReport | None = None) -> None:
        """Show what came of a round; an empty text takes it away."""
        self._verdict.setText(verdict)
        self._verdict.setVisible(bool(verdict))
        self._outcome.setValue(report)
        if verdict:
            # It lies below the curves, which were in view while the round ran.
            self.revealRequested.emit(self._verdict if report is None else self._outcome)

    def outcome(self) -> list[tuple[str, ...]]:
        """The rows of the table of scores before and after."""
        return self._outcome.rows()

    @property
    def versions(self) -> VersionTable:
        """The versions of what a round with the present settings goes to."""
        return self._versions

    @property
    def plot(self) -> CurvePlot | None:
        """The curves; None before the first round."""
        return self._round.plot

    def _set_running(self, running: bool) -> None:
        self._running, self._stopping = running, False
        self._round.set_running(running)
        self._versions.set_ready(not running)
        self._show_board()

    def _show_board(self) -> None:
        board, settings = self._board, self.value()
        for scope, label in self._explanations.items():
            if label.text() != board.explain(scope):
                label.setText(board.explain(scope))
        for_all = settings.scope == "model"
        self._name.setVisible(for_all)
        self._name_title.setVisible(for_all)
        self._origin.setText(self._tell_origin(settings))
        self._origin.setVisible(for_all)
        hint = self._make_hint(board, settings)
        if hint != self._hint.text():
            self._hint.setText(hint)
        self._hint.setVisible(bool(hint))
        named = not for_all or (bool(settings.name) and not self._problem)
        ready = not self._running and board.open and named and (for_all or bool(board.case))
        self._start.setEnabled(ready and board.learnable(settings.scope) > 0)
        self._save_and_start.setVisible(board.unsaved > 0 and not self._running)
        self._save_and_start.setEnabled(ready)
        self._stop.setEnabled(self._running and not self._stopping)
        for part in (self._scan, self._model, self._seconds, self._name):
            part.setEnabled(not self._running)

    def _tell_origin(self, settings: RetrainSettings) -> str:
        if self._problem:
            return self._problem
        if not self._parent:
            # Its place is kept, so that nothing moves while a name is typed.
            return "\N{NO-BREAK SPACE}"
        if self._parent == settings.name:
            return f"Goes on from {self._parent}; what is there now stays as a version."
        return f"Begins with {self._parent}, which stays as it is."

    def _make_hint(self, board: RetrainBoard, settings: RetrainSettings) -> str:
        if self._running or not board.open:
            return ""
        if board.unsaved:
            one = board.unsaved == 1
            count = f"{board.unsaved} unsaved slice{' is' if one else 's are'}"
            return f"{count} not learned from; save {'it' if one else 'them'} first."
        if not board.learnable(settings.scope):
            return "Correct some slices and save them (panel Correct): a round learns from those."
        if settings.scope == "scan" and board.picture:
            return "A round for a single picture cannot be checked: correct several, and choose The model."
        if settings.scope == "model" and board.alone:
            return "A round for all scans is used only if others can check it: correct a scan of a second patient too."
        return ""

    def _ask_to_stop(self) -> None:
        self._stopping = True
        self._show_board()
        self.stopRequested.emit()

    def _tell(self) -> None:
        self._show_board()
        self.valueChanged.emit(self.value())


def _indented() -> WrappedLabel:
    label = WrappedLabel()
    label.setIndent(22)
    return label
