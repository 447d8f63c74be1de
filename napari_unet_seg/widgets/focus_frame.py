"""A frame around whatever of the dock has the keyboard's focus: napari's style draws none around most controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QApplication, QWidget

from napari_unet_seg.widgets.contrast import readable_part

if TYPE_CHECKING:
    from napari.components import ViewerModel

_CONTROLS = ("QPushButton", "QToolButton", "QCheckBox", "QRadioButton", "QComboBox", "QSlider")


class FocusFrame:
    """Frames the controls in a widget in the colour of the viewer's theme, until it is closed.

    Parameters
    ----------
    viewer : ViewerModel
    widget : QWidget
        With all that is in it.
    """

    def __init__(self, viewer: ViewerModel, widget: QWidget) -> None:
        self._viewer = viewer
        self._widget = widget
        self._used = False
        viewer.events.theme.connect(self._colour)
        QApplication.instance().focusChanged.connect(self._on_focus)

    def close(self) -> None:
        """Disconnect from the viewer and the application."""
        self._viewer.events.theme.disconnect(self._colour)
        if not self._used:
            QApplication.instance().focusChanged.disconnect(self._on_focus)

    def _on_focus(self, before: QWidget | None, now: QWidget | None) -> None:
        # Not before it is needed: to lay a style over the whole dock takes a moment, which its opening has not.
        if now is not None and self._widget.isAncestorOf(now):
            QApplication.instance().focusChanged.disconnect(self._on_focus)
            self._used = True
            self._colour()

    def _colour(self) -> None:
        if not self._used:
            return
        focused = ", ".join(f"{control}:focus" for control in _CONTROLS)
        colour = "rgb({}, {}, {})".format(*readable_part(str(self._viewer.theme), "current"))
        self._widget.setStyleSheet(f"{focused} {{ border: 1px solid {colour}; border-radius: 2px; }}")
