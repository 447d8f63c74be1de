"""Panel Correct: what a person has done to each slice, and what can be done with the shown one."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_unet_seg.widgets.notice import Notice
from napari_unet_seg.widgets.slice_strip import NAMES, SliceStrip
from napari_unet_seg.widgets.text_line import TextLine
from napari_unet_seg.wording import counted
from napari_unet_seg.working_mask import SliceState


@dataclass(frozen=True, kw_only=True)
class CorrectionBoard:
    """What the panel shows."""

    states: tuple[SliceState, ...] = ()
    """Of every slice; empty where there is no mask to correct."""

    z: int | None = None
    """The slice in view."""

    can_start: bool = False
    """A scan is open that has no working mask yet."""

    goes_on: bool = False
    """The working mask would be the one that was put aside."""

    starts_from_truth: bool = False
    """The working mask would begin as the dataset's own mask."""

    can_save: bool = False
    """The scan belongs to a dataset, which the corrections are saved into; any other mask is saved as a file."""

    saving: bool = False
    note: str = ""
    """When the last save or autosave was."""

    @property
    def unsaved(self) -> int:
        """Number of slices that wait to be saved."""
        return sum(state in (SliceState.EDITED, SliceState.ACCEPTED) for state in self.states)


class CorrectPanel(QWidget):
    """Accepts, reverts, clears and interpolates slices, and saves them into the dataset."""

    startRequested = Signal()
    acceptRequested = Signal()
    revertRequested = Signal()
    clearRequested = Signal()
    interpolateRequested = Signal()
    saveRequested = Signal()
    nextRequested = Signal()
    sliceChosen = Signal(int)
    noticeAnswered = Signal(str)
    """The label of a button of the notice."""
    revealRequested = Signal(QWidget)
    """A part that should be in view: it has something to decide."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._board = CorrectionBoard()
        self._notice = Notice()
        self._state = TextLine()
        self._strip = SliceStrip()
        self._start = QPushButton()
        self._accept = QPushButton("Accept slice")
        self._accept.setCheckable(True)
        self._accept.setToolTip("This slice is right as it is: it counts as corrected (Shift+A; again takes it back)")
        self._revert = QPushButton("Revert slice")
        self._revert.setToolTip("Put this slice back to the model's mask (Shift+R; Ctrl+Z undoes it)")
        self._clear = QPushButton("Clear slice")
        self._clear.setToolTip("Empty this slice (Shift+C; Ctrl+Z undoes it)")
        self._interpolate = QPushButton("Interpolate")
        self._interpolate.setToolTip(
            "Fill the slices between the nearest corrected ones on both sides by shape (Shift+I; Ctrl+Z undoes it)"
        )
        self._next = QPushButton("Next slice")
        self._next.setObjectName("next_slice")
        self._next.setToolTip("Go to the slice that is most worth correcting next (Shift+N); below it, why")
        self._suggestion = TextLine(lines=2)
        self._save = QPushButton("Save")
        self._save.setObjectName("save_corrections")
        self._note = TextLine()

        buttons = QGridLayout()
        for number, button in enumerate((self._accept, self._revert, self._clear, self._interpolate)):
            buttons.addWidget(button, number // 2, number % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._notice)
        layout.addWidget(self._start)
        layout.addWidget(self._state)
        layout.addWidget(self._strip)
        layout.addLayout(buttons)
        layout.addWidget(self._next)
        layout.addWidget(self._suggestion)
        layout.addWidget(self._save)
        layout.addWidget(self._note)

        self._start.clicked.connect(self.startRequested)
        self._accept.clicked.connect(self.acceptRequested)
        self._revert.clicked.connect(self.revertRequested)
        self._clear.clicked.connect(self.clearRequested)
        self._interpolate.clicked.connect(self.interpolateRequested)
        self._next.clicked.connect(self.nextRequested)
        self._save.clicked.connect(self.saveRequested)
        self._strip.sliceChosen.connect(self.sliceChosen)
        self._notice.chosen.connect(self.noticeAnswered)
        self._show()

    def value(self) -> CorrectionBoard:
        """What is shown."""
        return self._board

    def setValue(self, board: CorrectionBoard) -> None:
        """Show this."""
        if board != self._board:
            self._board = board
            self._show()

    def set_notice(self, text: str, *buttons: str) -> None:
        """Show something to decide, with up to two buttons; an empty text takes it away."""
        self._notice.setValue(text, *buttons)
        if text:
            self.revealRequested.emit(self._notice)

    def notice(self) -> str:
        """The text to be decided on; empty for none."""
        return self._notice.value()

    def set_suggestion(self, text: str) -> None:
        """Show which slice to correct next, and why."""
        self._suggestion.setValue(text)

    def suggestion(self) -> str:
        """Which slice to correct next, and why."""
        return self._suggestion.value()[0]

    def _show(self) -> None:
        board = self._board
        working = bool(board.states)
        state = board.states[board.z] if working and board.z is not None else None
        self._start.setVisible(board.can_start)
        if board.goes_on:
            self._start.setText("Go on with the corrections")
        else:
            self._start.setText("Correct the dataset's mask" if board.starts_from_truth else "Start with an empty mask")
        self._start.setToolTip("Make a mask to paint on, without a model")
        buttons = (self._accept, self._revert, self._clear, self._interpolate, self._next, self._save)
        for part in (self._state, self._strip, *buttons, self._suggestion, self._note):
            part.setVisible(working)
        if not working:
            return
        count = board.unsaved
        waiting = f"{counted(count, 'slice')} to save" if count else ""
        shown = "Slices are not in view" if state is None else f"Slice {board.z}: {NAMES[state]}"
        self._state.setValue(shown, waiting)
        self._strip.setValue(board.states, current=board.z)
        for button in (self._accept, self._revert, self._clear, self._interpolate):
            button.setEnabled(state is not None)
        self._accept.setChecked(state == SliceState.ACCEPTED)
        self._save.setEnabled(not board.saving)
        text = "Saving …" if board.saving else "Save" if board.can_save else "Save as a file …"
        if self._save.text() != text:
            self._save.setText(text)
        self._save.setToolTip(
            "Write the corrected slices into the dataset (Shift+S); their originals are kept"
            if board.can_save
            else "Write the mask into a file, where the image lies in the patient (Shift+S)"
        )
        self._note.setValue(board.note)
