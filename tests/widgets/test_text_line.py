"""A text that is drawn in a fixed number of lines."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from napari_unet_seg.widgets.text_line import TextLine

REASON = "Slice 11: 179 pixels of border, where masks err most"


@pytest.mark.parametrize("lines", [1, 2])
def test_a_long_text_is_broken_between_words_and_only_its_last_line_is_cut_short(qtbot: QtBot, lines: int) -> None:
    line = TextLine(lines=lines)
    qtbot.addWidget(line)
    line.setValue(REASON)
    width = line.fontMetrics().horizontalAdvance("Slice 11: 179 pixels")
    shown = line.shown(width)
    assert len(shown) == lines
    assert all(line.fontMetrics().horizontalAdvance(part) <= width for part in shown)
    assert REASON.startswith(" ".join(shown).rstrip("\N{HORIZONTAL ELLIPSIS}"))
    assert shown[-1].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert line.toolTip() == REASON


def test_two_lines_hold_what_one_cannot_and_a_short_text_takes_one(qtbot: QtBot) -> None:
    line = TextLine(lines=2)
    qtbot.addWidget(line)
    line.setValue(REASON)
    width = line.fontMetrics().horizontalAdvance(REASON) * 2 // 3
    assert " ".join(line.shown(width)) == REASON
    assert len(line.shown(width)) == 2
    assert line.shown(10 * width) == [REASON]
    line.setValue("a_name_without_a_space_that_is_longer_than_there_is_room for")
    assert line.shown(100)[0].endswith("\N{HORIZONTAL ELLIPSIS}")
    line.setValue("")
    assert line.shown(width) == []
    assert line.sizeHint().height() >= 2 * line.fontMetrics().height()
