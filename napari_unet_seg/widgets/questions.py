"""What only the user can decide, one question at a time, without stopping anybody."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal

RECOVER, DISCARD = "Recover", "Discard"
"""Answers to the question about edits that were kept aside."""


class Questions(QObject):
    """Shows the latest of the open questions, and those before it when it is settled."""

    changed = Signal(str, tuple)
    """The question to be shown, and the labels of the answers; an empty text for none."""
    answered = Signal(str, str)
    """The topic of the shown question, and the label that was chosen."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._open: dict[str, tuple[str, tuple[str, ...]]] = {}

    def ask(self, topic: str, text: str, *answers: str) -> None:
        """Ask something, in place of an open question of the same topic."""
        self._open.pop(topic, None)
        self._open[topic] = text, answers
        self._show()

    def settle(self, *topics: str) -> None:
        """The questions of these topics need no answer any more."""
        for topic in topics:
            self._open.pop(topic, None)
        self._show()

    def is_open(self, topic: str) -> bool:
        """Whether a question of that topic waits for an answer."""
        return topic in self._open

    def answer(self, label: str) -> None:
        """The user has answered the shown question."""
        if self._open:
            self.answered.emit(next(reversed(self._open)), label)

    def _show(self) -> None:
        text, answers = next(reversed(self._open.values()), ("", ()))
        self.changed.emit(text, answers)
