"""A label whose text changes often, at the cost of a redraw of itself."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QLabel

_BOUNDLESS = 16777215
"""Qt's QWIDGETSIZE_MAX."""


class SteadyLabel(QLabel):
    """Grows when it must and never shrinks, but for another font.

    Qt lays the whole dock out anew when the text of a label changes, unless the label's size is fixed: 5 ms with every
    movement of the brush.
    """

    def setText(self, text: str) -> None:
        """Show a text."""
        if text != self.text():
            super().setText(text)
            self._fit()

    def changeEvent(self, event: QEvent) -> None:
        """Take what room the text needs in another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.setMinimumSize(0, 0)
            self.setMaximumSize(_BOUNDLESS, _BOUNDLESS)
            self._fit()

    def _fit(self) -> None:
        size = self.sizeHint().expandedTo(self.minimumSize())
        if size != self.minimumSize():
            self.setFixedSize(size)
