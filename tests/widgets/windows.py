"""What tests of the dock in a real window need."""

from __future__ import annotations

import threading
from pathlib import Path

from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QWidget

from napari_unet_seg.widgets.dock import UNetDock


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("unet-seg")]


def wait_idle(dock: UNetDock, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not dock.busy(), timeout=20_000)


def open_case(dock: UNetDock, qtbot: QtBot) -> None:
    dock.loader.open_path(Path("scans"))
    wait_idle(dock, qtbot)
    dock.loader.open_case("one")
    wait_idle(dock, qtbot)


def on_canvas(viewer: Viewer, y: float, x: float) -> tuple[QWidget, QPoint]:
    """The canvas, and where on it a point of the image lies."""
    canvas = viewer.window._qt_viewer.canvas
    camera = viewer.scene.camera
    width, height = canvas.size[1], canvas.size[0]
    row = height / 2 + (y - camera.center[1]) * camera.zoom
    column = width / 2 + (x - camera.center[2]) * camera.zoom
    return canvas.native, QPoint(round(column), round(row))
