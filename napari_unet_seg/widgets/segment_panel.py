"""Panel Segment: the model, the button, and how probabilities become a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_unet_seg.probability_map import FLOOR, MaskRule
from napari_unet_seg.widgets.threshold_slider import ThresholdSlider
from napari_unet_seg.widgets.wrapped_label import WrappedLabel


@dataclass(frozen=True, kw_only=True)
class SegmentSettings:
    """What the panel says."""

    model: str = "default"
    rule: MaskRule = field(default_factory=MaskRule)
    live: bool = False
    """Predict the shown slice as the user scrolls."""

    adapted: bool = True
    """Use the model that was adapted to the open scan, where there is one."""


class SegmentPanel(QWidget):
    """Chooses the model, starts and stops the segmentation, sets threshold and largest component.

    Parameters
    ----------
    model : str
        The one that is listed before the list of models is known.
    """

    valueChanged = Signal(object)
    """`SegmentSettings`, by the user."""
    segmentRequested = Signal()
    cancelRequested = Signal()

    def __init__(self, *, model: str = "default", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._min_fraction = 0.0

        self._model = QComboBox()
        self._model.setToolTip("The network that segments")
        self._model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._model.setMinimumContentsLength(8)
        self._model.addItem(model)
        self._device = WrappedLabel()
        self._device.setText("loading…")
        self._segment = QPushButton("Segment")
        self._segment.setObjectName("segment")
        self._segment.setToolTip("Segment the whole volume (Ctrl+Shift+G). Slices edited by hand stay as they are")
        self._segment.setShortcut("Ctrl+Shift+G")
        self._cancel = QPushButton("Cancel")
        self._cancel.setToolTip("Stop; nothing is changed")
        self._progress = QProgressBar()
        self._live = QCheckBox("This slice, live")
        self._live.setToolTip("Segment the shown slice as you scroll (Ctrl+Shift+L)")
        self._live.setShortcut("Ctrl+Shift+L")
        self._adapted = QCheckBox("Adapted to this scan")
        self._adapted.setToolTip(
            "Segment with the model that was adapted to this scan's corrections; without the tick, with the plain one"
        )
        self._adapted.setChecked(True)
        self._adapted.setVisible(False)
        self._threshold = ThresholdSlider(minimum=FLOOR, maximum=1 - FLOOR)
        self._threshold.setValue(0.5)
        self._threshold.setAccessibleName("Threshold")
        self._threshold.setToolTip(
            "Probability from which a voxel belongs to the mask; acts at once (arrow keys: 0.01, Page Up/Down: 0.1)"
        )
        self._largest = QCheckBox("Largest component only")
        self._largest.setToolTip("Keep only the largest connected region of the volume; acts at once")

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Model", self._model)
        form.addRow("Device", self._device)
        buttons = QHBoxLayout()
        buttons.addWidget(self._segment, 1)
        buttons.addWidget(self._cancel)
        rule = QFormLayout()
        rule.setContentsMargins(0, 0, 0, 0)
        rule.addRow("Threshold", self._threshold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._adapted)
        layout.addLayout(buttons)
        layout.addWidget(self._progress)
        layout.addWidget(self._live)
        layout.addLayout(rule)
        layout.addWidget(self._largest)
        self.set_idle()

        self._segment.clicked.connect(self.segmentRequested)
        self._cancel.clicked.connect(self.cancelRequested)
        self._model.currentTextChanged.connect(self._tell)
        self._live.toggled.connect(self._tell)
        self._adapted.toggled.connect(self._tell)
        self._threshold.valueChanged.connect(self._tell)
        self._largest.toggled.connect(self._tell)

    def value(self) -> SegmentSettings:
        """What is set."""
        rule = MaskRule(
            threshold=self._threshold.value(),
            largest_component=self._largest.isChecked(),
            min_fraction=self._min_fraction,
        )
        return SegmentSettings(
            model=self._model.currentText(),
            rule=rule,
            live=self._live.isChecked(),
            adapted=self._adapted.isChecked(),
        )

    def setValue(self, value: SegmentSettings) -> None:
        """Set everything; a model that is not listed is ignored."""
        if value == self.value():
            return
        with (
            QSignalBlocker(self._model),
            QSignalBlocker(self._live),
            QSignalBlocker(self._adapted),
            QSignalBlocker(self._threshold),
            QSignalBlocker(self._largest),
        ):
            self._model.setCurrentIndex(max(0, self._model.findText(value.model)))
            self._live.setChecked(value.live)
            self._adapted.setChecked(value.adapted)
            self._threshold.setValue(value.rule.threshold)
            self._largest.setChecked(value.rule.largest_component)
        self._min_fraction = value.rule.min_fraction
        self._tell()

    def set_models(self, names: Sequence[str], *, chosen: str = "") -> None:
        """List the models there are, and show which one is chosen: by default the one that was, if it is still there.

        A file stays listed while it is chosen.
        """
        given, chosen = bool(chosen), chosen or self._model.currentText()
        listed = list(names) or [chosen]
        if (given or Path(chosen).is_file()) and chosen not in listed:
            listed.append(chosen)
        with QSignalBlocker(self._model):
            self._model.clear()
            self._model.addItems(listed)
            self._model.setCurrentIndex(max(0, self._model.findText(chosen)))

    def choose_model(self, name: str) -> None:
        """Show that another model is chosen, before it is loaded."""
        with QSignalBlocker(self._model):
            if self._model.findText(name) < 0:
                self._model.addItem(name)
            self._model.setCurrentIndex(self._model.findText(name))

    def set_adaptation(self, name: str) -> None:
        """There is a model adapted to the open scan now, and it is used; or, with an empty name, there is none."""
        with QSignalBlocker(self._adapted):
            self._adapted.setChecked(True)
        self._adapted.setVisible(bool(name))

    def end_live(self) -> None:
        """Take the tick away: slices are no longer segmented as they are shown."""
        with QSignalBlocker(self._live):
            self._live.setChecked(False)

    def set_device(self, note: str) -> None:
        """Show where the model runs, and why there."""
        self._device.setText(note)
        self._device.setToolTip(note)

    def device(self) -> str:
        """The note on the device."""
        return str(self._device.text())

    def set_model_defaults(self, *, threshold: float, largest_component: bool, min_fraction: float) -> None:
        """Take the rule a model was made for."""
        rule = MaskRule(
            threshold=min(max(threshold, FLOOR), 1 - FLOOR),
            largest_component=largest_component,
            min_fraction=min_fraction,
        )
        self.setValue(replace(self.value(), rule=rule))

    def set_busy(self, done: int, total: int) -> None:
        """Show how far a segmentation is; a total of 0 means that nobody knows yet."""
        self._segment.setEnabled(False)
        self._cancel.setEnabled(True)
        # Never the bar that runs to and fro: with each of its frames the whole window is composed anew.
        self._progress.setRange(0, total or 1)
        self._progress.setValue(done)
        self._progress.setFormat("%v of %m slices" if total else "Preparing …")
        self._progress.setVisible(True)

    def set_idle(self) -> None:
        """Be ready for the next one."""
        self._segment.setEnabled(True)
        self._cancel.setEnabled(False)
        self._progress.setRange(0, 1)
        self._progress.setValue(0)
        self._progress.setVisible(False)

    def _tell(self) -> None:
        self.valueChanged.emit(self.value())
