from collections.abc import Iterator

import pytest
from napari.utils import progress
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QMovie
from qtpy.QtWidgets import QLabel

from napari_unet_seg.widgets.activity import Activity


@pytest.fixture
def activity() -> Iterator[Activity]:
    activity = Activity("some work")
    yield activity
    activity.close()


def wheel(window: Viewer) -> tuple[QLabel, QMovie]:
    """napari's sign that something runs."""
    labels = [label for label in window.window._qt_window.findChildren(QLabel) if label.movie() is not None]
    assert len(labels) == 1
    return labels[0], labels[0].movie()


def test_the_wheel_turns_with_the_work_alone(window: Viewer, activity: Activity, qtbot: QtBot) -> None:
    sign, movie = wheel(window)
    activity.open(wanted=lambda: True)
    assert sign.isVisible()
    frames = []
    movie.frameChanged.connect(frames.append)
    qtbot.wait(200)
    assert frames == []
    activity.show(1, 10)
    activity.show(2, 10)
    assert len(frames) == 2
    activity.close()
    qtbot.waitUntil(lambda: not sign.isVisible())
    assert movie.state() == QMovie.MovieState.NotRunning


def test_the_wheel_turns_by_itself_for_others(window: Viewer, activity: Activity, qtbot: QtBot) -> None:
    sign, movie = wheel(window)
    activity.open(wanted=lambda: True)
    other = progress(total=0, desc="another plugin's")
    activity.close()
    assert movie.state() == QMovie.MovieState.Running
    other.close()
    qtbot.waitUntil(lambda: not sign.isVisible())


def test_one_of_two_works_that_ends_leaves_the_wheel_to_the_other(window: Viewer, activity: Activity) -> None:
    _, movie = wheel(window)
    segmenting = Activity("another of ours")
    activity.open(wanted=lambda: True)
    segmenting.open(wanted=lambda: True)
    segmenting.close()
    assert movie.state() == QMovie.MovieState.Paused
