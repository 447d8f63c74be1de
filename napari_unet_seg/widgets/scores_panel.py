"""Panel Scores: agreement with the ground truth, or of the edited mask with the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_unet_seg.engine.metrics import Counts
from napari_unet_seg.widgets.score_history import ScoreHistory
from napari_unet_seg.widgets.steady_label import SteadyLabel
from napari_unet_seg.widgets.wrapped_label import WrappedLabel
from napari_unet_seg.wording import counted

NO_TRUTH = "(none)"
_DASH = "\N{EN DASH}"
_NUMBERS = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True, kw_only=True)
class ScoreBoard:
    """What the panel shows."""

    z: int | None = None
    """The shown slice; None for a single one, or where slices are not in view."""

    slice: Counts | None = None
    """Counts of the shown slice; None where there is nothing to compare."""

    volume: Counts | None = None
    voxel_ml: float | None = None
    """Millilitres of a voxel; None where the spacing is not known: then voxels are shown."""

    slice_voxels: int | None = None
    """Voxels of the segmentation in the shown slice, whether or not there is a truth for it."""

    volume_voxels: int | None = None

    labelled: tuple[int, int] | None = None
    """Slices that the ground truth speaks of, and all; None for all of them."""

    partial: bool = False
    """Of some slices nothing is known yet: neither a model nor a person has said anything of them."""

    history: tuple[float, ...] = ()
    """Dice of the volume after each segmentation and each save."""

    against_model: bool = False
    """There is no ground truth: the edited mask is compared with the model's."""


class ScoresPanel(QWidget):
    """Dice, IoU and volume of the shown slice and of the whole scan."""

    valueChanged = Signal(str)
    """Another ground truth was chosen; the name of its layer, or an empty text."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._board = ScoreBoard()

        self._truth = QComboBox()
        self._truth.setObjectName("truth")
        self._truth.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._truth.setMinimumContentsLength(8)
        self._truth.setToolTip(
            "Labels layer with the true mask. Without one, the mask you edit is compared with the model's"
        )
        self._truth.addItem(NO_TRUTH)
        self._explanation = WrappedLabel()
        self._history = ScoreHistory()
        self._slice_title = SteadyLabel("Slice")
        # Within their own bounds too: a label that once held a longer text stays as wide.
        self._slice_title.setAlignment(_NUMBERS)
        self._truth_title = SteadyLabel("Ground truth")
        self._cells: dict[tuple[str, str], SteadyLabel] = {}

        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        grid.addWidget(self._slice_title, 0, 1, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(QLabel("Volume"), 0, 2, Qt.AlignmentFlag.AlignRight)
        rows = {"dice": "Dice", "iou": "IoU", "predicted": "Segmentation", "true": self._truth_title}
        for number, (key, title) in enumerate(rows.items(), 1):
            grid.addWidget(QLabel(title) if isinstance(title, str) else title, number, 0)
            for column, part in ((1, "slice"), (2, "volume")):
                cell = SteadyLabel(_DASH)
                cell.setObjectName(f"{key}_{part}")
                cell.setAlignment(_NUMBERS)
                cell.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                if key in ("dice", "iou"):
                    font = cell.font()
                    font.setBold(True)
                    cell.setFont(font)
                self._cells[key, part] = cell
                grid.addWidget(cell, number, column, Qt.AlignmentFlag.AlignRight)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Ground truth", self._truth)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(grid)
        layout.addWidget(self._history)
        layout.addWidget(self._explanation)
        self.set_board(self._board)

        self._truth.currentIndexChanged.connect(self._tell)

    def value(self) -> str:
        """Name of the ground-truth layer; empty for none."""
        return self._truth.currentText() if self._truth.currentIndex() > 0 else ""

    def setValue(self, name: str) -> None:
        """Choose the ground-truth layer; a name that is not listed means none."""
        self._truth.setCurrentIndex(max(0, self._names().index(name) if name in self._names() else 0))

    def set_layers(self, names: Sequence[str], *, chosen: str) -> None:
        """List the layers that can be ground truth, and show which one is chosen."""
        with QSignalBlocker(self._truth):
            self._truth.clear()
            self._truth.addItems([NO_TRUTH, *names])
            self._truth.setCurrentIndex(max(0, self._names().index(chosen) if chosen in names else 0))

    def board(self) -> ScoreBoard:
        """What is shown."""
        return self._board

    def set_board(self, board: ScoreBoard) -> None:
        """Show scores."""
        self._board = board
        self._slice_title.setText("Slice" if board.z is None else f"Slice {board.z}")
        self._truth_title.setText("Model's mask" if board.against_model else "Ground truth")
        parts = (("slice", board.slice, board.slice_voxels), ("volume", board.volume, board.volume_voxels))
        for part, counts, voxels in parts:
            texts = dict.fromkeys(("dice", "iou", "predicted", "true"), _DASH)
            if voxels is not None:
                texts["predicted"] = _amount(voxels, board.voxel_ml)
            if counts is not None:
                texts["dice"] = f"{counts.dice:.3f}"
                texts["iou"] = f"{counts.iou:.3f}"
                texts["true"] = _amount(counts.tp + counts.fn, board.voxel_ml)
            for key, text in texts.items():
                self._cells[key, part].setText(text)
        self._history.setValue(board.history)
        if board.volume_voxels is None:
            explanation = "Scores appear once there is a segmentation."
        elif board.partial:
            explanation = "The volume is scored once every slice is segmented: of some nothing is known yet."
        elif board.against_model:
            explanation = "No ground truth: agreement of your mask with the model's (corrective Dice)."
        elif board.labelled is not None:
            explanation = "Scored on the {} of {} slices that have a ground truth.".format(*board.labelled)
        else:
            explanation = ""
        if explanation != self._explanation.text():
            self._explanation.setText(explanation)
        self._explanation.setVisible(bool(explanation))

    def _tell(self) -> None:
        self.valueChanged.emit(self.value())

    def _names(self) -> list[str]:
        return [self._truth.itemText(index) for index in range(self._truth.count())]


def _amount(voxels: int, voxel_ml: float | None) -> str:
    return counted(voxels, "voxel") if voxel_ml is None else f"{voxels * voxel_ml:.2f} ml"
