"""Has the canvas's OpenGL context be the current one while layers are taken out.

napari deletes what a layer had on the graphics card at once, in whatever context is current then: between two frames
that is Qt's own. With Mesa's drivers the next frame may end the whole program, if the brush was in view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtOpenGLWidgets import QOpenGLWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QWidget


class CanvasContext:
    """Looks after one viewer.

    Parameters
    ----------
    viewer : ViewerModel
    inside : QWidget
        A widget of the viewer's window.
    """

    def __init__(self, *, viewer: ViewerModel, inside: QWidget) -> None:
        self._viewer = viewer
        self._inside = inside
        viewer.layers.events.removing.connect(self._make_current)

    def disconnect_all(self) -> None:
        """Leave the contexts alone."""
        self._viewer.layers.events.removing.disconnect(self._make_current)

    def _make_current(self) -> None:
        widget = self._inside
        # A dock that floats is a window of its own, and a child of napari's.
        while (parent := widget.parentWidget()) is not None:
            widget = parent
        canvas = widget.findChild(QOpenGLWidget)
        if canvas is not None and canvas.isValid():
            canvas.makeCurrent()
