"""The whole way in one go: open a scan, segment it, show the scores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_seg.errors import InputError
from napari_unet_seg.widgets.virtual_screen import has_screen, virtual_screen
from napari_unet_seg.wording import counted

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_unet_seg.session import Session
    from napari_unet_seg.widgets.dock import UNetDock
    from napari_unet_seg.widgets.scores_panel import ScoreBoard

DOCK_NAME = "U-Net segmentation"
_DOCK_WIDTH = 400
_WINDOW = (1500, 940)
_PICTURES = (".png", ".tif", ".tiff")
"""What napari saves with transparency; under any other ending it may write a TIFF."""


def run_demo(
    path: Path | None = None, *, screenshot: Path | None = None, model: str = "default", session: Session | None = None
) -> int:
    """Open napari on a scan with the dock beside it, segment the scan, print its scores.

    Returns when the user closes the window, or, with a screenshot, when that is saved.

    Parameters
    ----------
    path : Path, optional
        A dataset, of which the first case is taken, or a scan; by default the sample case.
    screenshot : Path, optional
        Where to save a picture of the whole window. On a machine without a screen a virtual one is started.
    model : str
        A model's name, or a model file.
    session : Session, optional
        By default a new one.

    Returns
    -------
    int
        The exit status, 0 where it worked.

    Raises
    ------
    InputError
        If the scan or the model cannot be used, or there is no screen.
    """
    if path is None:
        from napari_unet_seg.data.sample import own_sample
        from napari_unet_seg.engine.registry import user_folder

        path = own_sample(user_folder())
    else:
        from napari_unet_seg.data.dataset import open_dataset

        # A wrong path is told before any window opens.
        open_dataset(path)
    if screenshot is not None:
        _check_screenshot(screenshot)
    if not has_screen():
        if screenshot is None:
            raise InputError("there is no screen here; --screenshot FILE saves a picture of the window instead")
        with virtual_screen() as environment:
            arguments = ["demo", str(path), "--screenshot", str(screenshot), "--model", model]
            return subprocess.run([sys.executable, "-m", "napari_unet_seg", *arguments], env=environment).returncode

    import napari

    viewer = napari.Viewer()
    try:
        dock = add_dock(viewer, model=model, session=session)
        board = segment_first_case(viewer, dock, path)
        if board is not None:
            sys.stdout.write(report(dock, board) + "\n")
            sys.stdout.flush()
            if screenshot is None:
                napari.run()
            else:
                save_screenshot(viewer, screenshot.expanduser())
    finally:
        _close(viewer)
    return 0


def add_dock(viewer: Viewer, *, model: str = "default", session: Session | None = None, **options: Any) -> UNetDock:
    """Put the dock at the right of a viewer's window, at a comfortable width; `options` are those of `UNetDock`."""
    from qtpy.QtCore import Qt

    from napari_unet_seg.widgets.dock import UNetDock

    dock = UNetDock(viewer, model=model, session=session, **options)
    frame = viewer.window.add_dock_widget(dock, name=DOCK_NAME, area="right")
    window = dock.window()
    window.resize(*_WINDOW)
    window.resizeDocks([frame], [_DOCK_WIDTH], Qt.Orientation.Horizontal)
    return dock


def segment_first_case(viewer: Viewer, dock: UNetDock, path: Path) -> ScoreBoard | None:
    """Open the first case at a path, segment it and show the slice with the most tumour.

    Returns
    -------
    ScoreBoard or None
        The scores; None if the window was closed meanwhile.

    Raises
    ------
    InputError
        If the case or the model cannot be used.
    """
    failures: list[Exception] = []
    for part in (dock.loader, dock.runner):
        part.failed.connect(failures.append)
    dock.runner.modelFailed.connect(failures.append)
    session = dock.session

    def step(start: Callable[[], None], done: Callable[[], bool]) -> bool:
        start()
        _wait_until(lambda: done() or bool(failures) or dock.is_closed())
        if failures:
            raise failures[0]
        return not dock.is_closed()

    if not step(lambda: dock.loader.open_path(path), lambda: session.dataset is not None and not dock.loader.busy()):
        return None
    assert session.dataset is not None
    first = session.dataset.cases[0].case_id
    # A dataset of a single case has opened it itself.
    if session.case is None and not step(lambda: dock.loader.open_case(first), lambda: session.case is not None):
        return None
    if not step(dock.runner.segment, lambda: session.work is not None and not dock.busy()):
        return None
    assert session.work is not None
    areas = (session.work.mask.data != 0).sum(axis=(1, 2))
    if areas.any():
        viewer.dims.set_current_step(viewer.dims.ndim - 3, int(areas.argmax()))
    return dock.scores.value()


def report(dock: UNetDock, board: ScoreBoard) -> str:
    """The scores in a line."""
    case = dock.session.case
    name = "" if case is None else case.case_id
    counts, segmented = board.volume, board.volume_voxels
    assert segmented is not None

    def amount(voxels: int) -> str:
        return counted(voxels, "voxel") if board.voxel_ml is None else f"{voxels * board.voxel_ml:.1f} ml"

    found = f"segmented {amount(segmented)}"
    if board.against_model or counts is None:
        return f"{name}: {found} (no ground truth to score against)"
    return f"{name}: Dice {counts.dice:.3f}, IoU {counts.iou:.3f}, {found}, truth {amount(counts.tp + counts.fn)}"


def _check_screenshot(path: Path) -> None:
    if not path.expanduser().absolute().parent.is_dir():
        raise InputError("the folder of the screenshot does not exist", path=path)
    if path.suffix.lower() not in _PICTURES:
        raise InputError("the screenshot is saved as .png or .tif; give the file such an ending", path=path)


def save_screenshot(viewer: Viewer, path: Path) -> None:
    """Save a picture of the whole window once it has been drawn.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    # The canvas and the layer list's thumbnails are drawn by the event loop.
    _pause(400)
    try:
        viewer.window.screenshot(str(path), canvas_only=False, flash=False)
    except (OSError, ValueError) as error:
        raise InputError(f"the screenshot cannot be saved ({error})", path=path) from error


def _wait_until(condition: Callable[[], bool]) -> None:
    """Let the window live until something is so."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if condition() else None)
    timer.start(10)
    if not condition():
        loop.exec()
    timer.stop()


def _pause(milliseconds: int) -> None:
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def _close(viewer: Any) -> None:
    # The user may have closed it.
    if getattr(viewer.window, "_qt_window", None) is not None:
        viewer.close()
