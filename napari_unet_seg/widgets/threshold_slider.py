"""A slider for a probability, with its value beside it."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget

_STEPS = 100


class ThresholdSlider(QWidget):
    """A slider in hundredths and a spin box, one value.

    superqt's slider for fractions does not listen to the keyboard.

    Parameters
    ----------
    minimum, maximum : float
        Bounds of the value, in whole hundredths.
    """

    valueChanged = Signal(float)

    def __init__(self, *, minimum: float, maximum: float, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(minimum * _STEPS), round(maximum * _STEPS))
        self.slider.setPageStep(10)
        self.box = QDoubleSpinBox()
        # After Enter the keys are the viewer's again, as in napari's own panels.
        self.box.lineEdit().returnPressed.connect(self.box.clearFocus)
        self.box.setRange(minimum, maximum)
        self.box.setSingleStep(1 / _STEPS)
        self.box.setKeyboardTracking(False)

        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.box)
        self.setFocusProxy(self.slider)

        self.slider.valueChanged.connect(self._on_slider)
        self.box.valueChanged.connect(self._on_box)

    def setAccessibleName(self, name: str) -> None:
        """Name both parts: a reader of the screen stops at each."""
        super().setAccessibleName(name)
        self.slider.setAccessibleName(name)
        self.box.setAccessibleName(name)

    def value(self) -> float:
        """The value, in whole hundredths."""
        return float(self.slider.value()) / _STEPS

    def setValue(self, value: float) -> None:
        """Set it to the nearest hundredth within the bounds."""
        self.slider.setValue(round(value * _STEPS))

    def minimum(self) -> float:
        """Lowest value."""
        return float(self.slider.minimum()) / _STEPS

    def maximum(self) -> float:
        """Highest value."""
        return float(self.slider.maximum()) / _STEPS

    def _on_slider(self) -> None:
        with QSignalBlocker(self.box):
            self.box.setValue(self.value())
        self.valueChanged.emit(self.value())

    def _on_box(self, value: float) -> None:
        self.setValue(value)
