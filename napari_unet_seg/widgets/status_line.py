"""The dock's one line for what has happened, or gone wrong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    from napari.components import ViewerModel

_log = logging.getLogger(__name__)

Colour = tuple[float, ...]


def sentence(error: Exception) -> str:
    """An exception as one line for the user; one that is nobody's input goes to the log with its traceback too."""
    text = " ".join(str(error).split())
    expected = isinstance(error, InputError) or type(error).__name__ in ("SegmentationError", "RoundError")
    if expected and text:
        return text
    _log.error("unexpected error in a background task", exc_info=error)
    return f"Something went wrong ({type(error).__name__}: {text or 'no message'}); the details are in the log"


def readable(colour: Colour, text: Colour, background: Colour) -> tuple[int, int, int]:
    """A colour, mixed with the text's just so far that it can be read: a contrast of 4.5, as the WCAG has it.

    napari's dark theme has an error colour that is meant to lie behind text.

    Parameters
    ----------
    colour, text, background : tuple of float
        Red, green and blue, 0 to 255.

    Returns
    -------
    tuple of int
        Red, green and blue, 0 to 255.
    """
    mixed = colour
    for step in range(21):
        mixed = tuple(c + (t - c) * step / 20 for c, t in zip(colour, text, strict=True))
        low, high = sorted((_luminance(mixed), _luminance(background)))
        if (high + 0.05) / (low + 0.05) >= 4.5:
            break
    red, green, blue = (round(value) for value in mixed)
    return red, green, blue


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2)."""
    shares = [c / 255 for c in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class StatusLine(QLabel):
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
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # A path without spaces must not widen the dock.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
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
        theme = get_theme(self._viewer.theme)
        colours = (theme.error.as_rgb_tuple(), theme.text.as_rgb_tuple(), theme.background.as_rgb_tuple())
        error, text, background = (tuple(float(value) for value in colour[:3]) for colour in colours)
        shown = readable(error, text, background)
        self.setStyleSheet("color: rgb({}, {}, {});".format(*shown) if self.is_error else "")
