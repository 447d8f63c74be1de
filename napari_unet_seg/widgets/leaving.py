"""Asks what becomes of unsaved edits when their case is left."""

from __future__ import annotations

from enum import Enum

from qtpy.QtWidgets import QMessageBox, QWidget


class Answer(Enum):
    """What the user wants."""

    SAVE = "save"
    DISCARD = "discard"
    CANCEL = "cancel"


def ask_about_edits(parent: QWidget, text: str) -> Answer:
    """Ask; closing the question means to stay."""
    box = QMessageBox(QMessageBox.Icon.Question, "Unsaved corrections", text, parent=parent)
    box.setInformativeText("Save them into the dataset?")
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
