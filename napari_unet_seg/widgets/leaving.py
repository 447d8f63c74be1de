"""Asks what becomes of unsaved edits when their case is left."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_unet_seg.data.scan import listed_slices
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.correction_saver import CorrectionSaver
from napari_unet_seg.widgets.loose_keeper import LooseKeeper


class Answer(Enum):
    """What the user wants."""

    SAVE = "save"
    DISCARD = "discard"
    CANCEL = "cancel"


def ask_about_edits(parent: QWidget, text: str) -> Answer:
    """Ask; closing the question means to stay."""
    box = _box(QMessageBox.Icon.Question, "Unsaved corrections", text, parent)
    box.setInformativeText("Save into the dataset?")
    save = box.addButton("Save", QMessageBox.ButtonRole.AcceptRole)
    discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(save)
    box.setEscapeButton(cancel)
    box.exec()
    clicked = box.clickedButton()
    if clicked is save:
        return Answer.SAVE
    return Answer.DISCARD if clicked is discard else Answer.CANCEL


def ask_about_loss(parent: QWidget, text: str) -> Answer:
    """Ask whether the window may close all the same: DISCARD or CANCEL; closing the question means to stay."""
    box = _box(QMessageBox.Icon.Warning, "Corrections that are kept nowhere", text, parent)
    box.setInformativeText("They are lost when the window closes. To keep them, stay and save the mask as a file.")
    close = box.addButton("Close all the same", QMessageBox.ButtonRole.DestructiveRole)
    stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)
    box.exec()
    return Answer.DISCARD if box.clickedButton() is close else Answer.CANCEL


def _box(icon: QMessageBox.Icon, title: str, text: str, parent: QWidget) -> QMessageBox:
    box = QMessageBox(icon, title, text, parent=parent)
    # A name is shown as it was typed, never as HTML.
    box.setTextFormat(Qt.TextFormat.PlainText)
    return box


class Leaving:
    """Sees to unsaved edits before their case is left, or the window closes.

    Parameters
    ----------
    session : Session
    saver : CorrectionSaver
    keeper : LooseKeeper
    ask : callable
        Asks the user a question about unsaved edits of a case.
    ask_about_loss : callable
        Asks about those of other images that could not be kept aside.
    """

    def __init__(
        self,
        *,
        session: Session,
        saver: CorrectionSaver,
        keeper: LooseKeeper,
        ask: Callable[[str], Answer],
        ask_about_loss: Callable[[str], Answer],
    ) -> None:
        self._session = session
        self._saver = saver
        self._keeper = keeper
        self._ask = ask
        self._ask_about_loss = ask_about_loss
        self._deciding = False
        self._discard = False

    def may_leave(self) -> bool:
        """Ask what to do with unsaved edits, and do it; whether the open case may be left then.

        It may not while another call still waits, for an answer or for a save.
        """
        answer = self._decide()
        if answer is Answer.DISCARD:
            self._saver.discard()
        return answer is not Answer.CANCEL

    def may_close(self) -> bool:
        """As `may_leave`, before the window closes: nothing is discarded until `discard`, for it may stay yet."""
        answer = self._decide()
        if answer is not Answer.CANCEL and self._would_lose():
            answer = Answer.CANCEL
        self._discard = answer is Answer.DISCARD
        return answer is not Answer.CANCEL

    def discard(self) -> None:
        """The window closes: do what the user answered to `may_close`."""
        if self._discard:
            self._discard = False
            self._saver.discard()

    def stay(self) -> None:
        """The window stays, and with it what was to be discarded."""
        self._discard = False

    def _would_lose(self) -> bool:
        """Whether the user stays for edits that could not be kept aside."""
        images = self._keeper.unkept()
        if not images:
            return False
        listed = ", ".join(images)
        return self._ask_about_loss(f"The edits of {listed} could not be kept aside.") is Answer.CANCEL

    def _decide(self) -> Answer:
        """What the user wants; SAVE if all is saved, CANCEL if that failed."""
        if self._deciding:
            return Answer.CANCEL
        self._deciding = True
        try:
            # Before it is done, nobody can say what is unsaved, nor discard it.
            if not self._saver.wait():
                return Answer.CANCEL
            slices, case = self._saver.unsaved(), self._session.case
            if not slices or case is None:
                return Answer.SAVE
            are = "is" if len(slices) == 1 else "are"
            answer = self._ask(f"{case.case_id}: {listed_slices(slices)} {are} corrected but not saved.")
            return Answer.CANCEL if answer is Answer.SAVE and not self._saver.save_now() else answer
        finally:
            self._deciding = False
