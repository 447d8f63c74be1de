"""The size of letters that is set in napari's preferences, in all of the dock."""

from __future__ import annotations

from typing import Any

from napari.settings import get_settings
from qtpy.QtWidgets import QWidget


class NapariFont:
    """Gives a widget and its children napari's font size, and each one that is set later.

    napari's style sheet names labels, buttons and a few others; tables, fields for text and what paints itself would
    keep the system's size among them.

    Parameters
    ----------
    widget : QWidget
    """

    def __init__(self, widget: QWidget) -> None:
        self._widget = widget
        get_settings().appearance.events.font_size.connect(self._take_size)
        self._take_size()

    def disconnect_all(self) -> None:
        """Listen no longer."""
        get_settings().appearance.events.font_size.disconnect(self._take_size)

    def _take_size(self, event: Any = None) -> None:
        font = self._widget.font()
        font.setPointSize(get_settings().appearance.font_size)
        self._widget.setFont(font)
