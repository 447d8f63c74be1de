"""The box that napari draws behind the circle of the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel


def leave_out_brush_box(viewer: ViewerModel) -> None:
    """Have no such box.

    It is meant for what is written on the canvas. With the second mask that is painted on, napari 0.9 shows it as a
    black square in the middle of the brush, and leaves it on the scan when the brush is put away.
    """
    brush = viewer.canvas.overlays.get("_brush_circle")
    if brush is not None:
        brush.box = False
