"""The dock's one line for what has happened, or gone wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QWidget

from napari_unet_seg.engine.round_process import RoundError
from napari_unet_seg.errors import InputError, SegmentationError
from napari_unet_seg.widgets.contrast import readable_part
from napari_unet_seg.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel

_log = logging.getLogger(__name__)


def sentence(error: Exception) -> str:
    """An exception as one line for the user; one that is nobody's input goes to the log with its traceback too."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError | SegmentationError | RoundError) and text:
        return text
    _log.error("unexpected error in a background task", exc_info=error)
    return f"Something went wrong ({type(error).__name__}: {text or 'no message'}); the details are in the log"


class StatusLine(WrappedLabel):
    """A wrapped label that shows errors in the theme's error colour; the whole text is its tooltip too.

    Parameters
    ----------
    viewer : ViewerModel
        Its theme gives the colour.
    """

    valueChanged = Signal(str)

    def __init__(self, *, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._error: Exception | None = None
        self.is_error = False
        """Whether the line tells of an error."""
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        viewer.events.theme.connect(self._colour)

    def disconnect_all(self) -> None:
        """Disconnect from the viewer."""
        self._viewer.events.theme.disconnect(self._colour)

    def value(self) -> str:
        """The text."""
        return str(self.toolTip())

    def setValue(self, text: str) -> None:
        """Tell something; an empty text takes back what was told, but for an error."""
        if text or not self.is_error:
            self._show(text, error=False)

    def show_error(self, error: Exception) -> None:
        """Tell of an error, in one line."""
        self._show(sentence(error), error=True)
        self._error = error

    def take_back(self, error: Exception) -> None:
        """Tell of an error no longer: what caused it is over. Anything told since then stays."""
        if self._error is error:
            self._show("", error=False)

    def _show(self, text: str, *, error: bool) -> None:
        self.is_error, self._error = error, None
        # Long paths may break at their slashes.
        self.setText(text.replace("/", "/\u200b"))
        self.setToolTip(text)
        self._colour()
        self.valueChanged.emit(text)

    def _colour(self) -> None:
        shown = readable_part(str(self._viewer.theme), "error")
        self.setStyleSheet("color: rgb({}, {}, {});".format(*shown) if self.is_error else "")
