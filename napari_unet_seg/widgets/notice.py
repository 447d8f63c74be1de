"""A framed line with one or two buttons: something the user should decide, without being stopped."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_unet_seg.widgets.wrapped_label import WrappedLabel


class Notice(QFrame):
    """Hidden until there is something to decide."""

    chosen = Signal(str)
    """The label of the button that was pressed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._text = WrappedLabel()
        self._buttons = [QPushButton(), QPushButton()]
        row = QHBoxLayout()
        for button in self._buttons:
            button.clicked.connect(self._choose)
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self._text)
        layout.addLayout(row)
        self.setVisible(False)

    def value(self) -> str:
        """The text; empty where there is nothing to decide."""
        return str(self._text.text()) if not self.isHidden() else ""

    def setValue(self, text: str, *buttons: str) -> None:
        """Show a text with up to two buttons; an empty text hides it."""
        self._text.setText(text)
        for button, label in zip(self._buttons, (*buttons, "", ""), strict=False):
            button.setText(label)
            button.setVisible(bool(label))
        self.setVisible(bool(text))

    def _choose(self) -> None:
        sender = self.sender()
        if isinstance(sender, QPushButton):
            self.chosen.emit(sender.text())
