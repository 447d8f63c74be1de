"""The window's X ends the dock when the window goes, and not before, whatever napari asks in between."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from napari._qt.dialogs.confirm_close_dialog import ConfirmCloseDialog
from napari.settings import get_settings
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QWidget

from napari_unet_seg.widgets import dock
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import Answer, ask_about_edits, ask_about_loss
from napari_unet_seg.widgets.window_watch import WindowWatch
from tests.fakes import FakeDataset, FakeRound
from tests.widgets.test_whose_work import add_image, stroke
from tests.widgets.windows import open_case, our_threads, wait_idle


class _Spontaneous(QCloseEvent):
    def spontaneous(self) -> bool:
        return True


def press_x(window: QWidget) -> None:
    """What Qt does where the user presses the X."""
    event = _Spontaneous()
    QApplication.sendEvent(window, event)
    if event.isAccepted():
        window.hide()


@pytest.fixture
def confirmed() -> Iterator[None]:
    """napari asks before it closes, as it does by default."""
    settings = get_settings().application
    before, settings.confirm_close_window = settings.confirm_close_window, True
    yield
    settings.confirm_close_window = before


@pytest.fixture
def edited(docked: UNetDock, qtbot: QtBot) -> UNetDock:
    """With an unsaved stroke."""
    open_case(docked, qtbot)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    stroke(docked, 2)
    return docked


def answer_napari(answer: Callable[[ConfirmCloseDialog], None]) -> None:
    """Answer the question that napari will ask, a while after it was asked."""
    dialog = QApplication.activeModalWidget()
    if isinstance(dialog, ConfirmCloseDialog):
        QTimer.singleShot(400, lambda: answer(dialog))
    else:
        QTimer.singleShot(20, lambda: answer_napari(answer))


@pytest.mark.usefixtures("confirmed")
def test_the_dock_ends_when_napari_s_question_is_confirmed(
    docked: UNetDock, window: Viewer, rounds: FakeRound, qtbot: QtBot
) -> None:
    open_case(docked, qtbot)
    docked.retrain.start()
    qtbot.waitUntil(lambda: rounds.running == 1)
    answer_napari(ConfirmCloseDialog.accept)
    press_x(docked.window())
    assert docked.is_closed()
    assert rounds.running == 0
    assert our_threads() == []


@pytest.mark.usefixtures("confirmed")
@pytest.mark.parametrize("stays", [True, False])
def test_edits_are_discarded_only_when_the_window_goes(
    edited: UNetDock, dataset: FakeDataset, qtbot: QtBot, stays: bool
) -> None:
    edited._ask = lambda parent, text: Answer.DISCARD
    answer_napari(ConfirmCloseDialog.reject if stays else ConfirmCloseDialog.accept)
    press_x(edited.window())
    assert edited.is_closed() is not stays
    if stays:
        assert edited.saver.unsaved() == [2]
        # And what is decided later holds, not what was answered then.
        qtbot.wait(400)
        edited._ask = lambda parent, text: Answer.CANCEL
        edited.shutdown()
        assert list(dataset.autosaves["one"].planes()) == [2]
    else:
        assert dataset.autosaves == {}


@pytest.mark.parametrize("saved", [False, True])
def test_edits_that_are_kept_nowhere_are_asked_about(
    docked: UNetDock, own_registry: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot, tmp_path: Path, saved: bool
) -> None:
    """Of an image of no dataset, where the user's folder cannot be written."""
    answers, asked = [Answer.CANCEL, Answer.DISCARD], []
    monkeypatch.setattr(dock, "ask_about_loss", lambda parent, text: asked.append(text) or answers.pop(0))
    monkeypatch.setattr(get_settings().application, "confirm_close_window", False)
    (own_registry / "edits").write_text("no folder")
    image = add_image(docked._viewer)
    docked.runner.segment()
    wait_idle(docked, qtbot)
    stroke(docked, 2)
    if saved:
        docked.keeper.save(tmp_path / "mask.nii.gz", image=image)
        wait_idle(docked, qtbot)
        press_x(docked.window())
        assert asked == []
    else:
        press_x(docked.window())
        assert asked == ["The edits of follow-up flair could not be kept aside."]
        assert not docked.is_closed()
        assert "cannot be kept aside" in docked.status.value()
        press_x(docked.window())
        assert len(asked) == 2
    assert docked.is_closed()


@pytest.mark.usefixtures("confirmed")
def test_a_window_that_stayed_may_be_hidden(edited: UNetDock, qtbot: QtBot) -> None:
    edited._ask = lambda parent, text: Answer.SAVE
    answer_napari(ConfirmCloseDialog.reject)
    press_x(edited.window())
    qtbot.wait(400)
    edited.window().hide()
    assert not edited.is_closed()


def test_a_second_x_waits_for_the_save(edited: UNetDock, dataset: FakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    save, asked = dataset.save_correction, []

    def slow_save(*arguments: object, **told: object) -> None:
        time.sleep(0.5)
        save(*arguments, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "save_correction", slow_save)
    edited._ask = lambda parent, text: asked.append(text) or Answer.SAVE
    monkeypatch.setattr(get_settings().application, "confirm_close_window", False)
    window = edited.window()
    QTimer.singleShot(100, lambda: press_x(window))
    press_x(window)
    assert len(asked) == 1
    assert edited.is_closed()
    assert list(dataset["one"].corrected) == [2]


def test_a_window_closed_while_the_user_is_asked_is_closed(qtbot: QtBot) -> None:
    window, told = QMainWindow(), []
    qtbot.addWidget(window)
    window.show()

    def ask() -> bool:
        window.hide()
        return False

    watch = WindowWatch(may_close=ask, parent=window)
    watch.closed.connect(lambda: told.append("closed"))
    watch.watch(window)
    press_x(window)
    assert told == ["closed"]


@pytest.mark.parametrize("ask", [ask_about_edits, ask_about_loss])
def test_names_in_a_question_are_no_html(
    ask: Callable[[QWidget, str], Answer], qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: asked.append((box.text(), box.textFormat())))
    parent = QWidget()
    qtbot.addWidget(parent)
    ask(parent, "The edits of <i>pre</i> could not be kept aside.")
    assert asked == [("The edits of <i>pre</i> could not be kept aside.", Qt.TextFormat.PlainText)]
