"""Long names in a table, cut where they are alike, so that what tells them apart can be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableWidgetItem

_SHARED = int(Qt.ItemDataRole.UserRole) + 1
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class NameDelegate(QStyledItemDelegate):
    """Draws a name in one line, and cuts what it shares with the others first; see `mark_shared`."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:
        """Shorten the text to what fits."""
        super().initStyleOption(option, index)
        widget = option.widget
        style = QApplication.style() if widget is None else widget.style()
        room = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, widget).width()
        # Qt leaves this much free on both sides of a text, and cuts what reaches into it.
        margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, option, widget) + 1
        shared = index.data(_SHARED) or ("", "")
        option.text = shorten(option.text, shared=shared, width=room - 2 * margin, metrics=option.fontMetrics)


def mark_shared(items: Sequence[QTableWidgetItem]) -> None:
    """Note in each of these names what all of them share, for `NameDelegate`."""
    shared = shared_parts([item.text() for item in items])
    for item in items:
        item.setData(_SHARED, shared)


def shared_parts(names: Sequence[str]) -> tuple[str, str]:
    """What all names begin and end with, in whole words: of numbers that share digits, every digit is needed."""
    if len(names) < 2:
        return "", ""
    words = [re.split(r"([\W_]+)", name) for name in names]
    start = _alike(words)
    end = _alike([row[len(start) :][::-1] for row in words])
    return "".join(start), "".join(reversed(end))


def _alike(rows: Sequence[Sequence[str]]) -> list[str]:
    """What all rows begin with."""
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))]


def shorten(name: str, *, shared: tuple[str, str], width: int, metrics: QFontMetrics) -> str:
    """A name cut to a width in pixels: of what it shares with others as much as fits, then its own part's middle."""
    if metrics.horizontalAdvance(name) <= width:
        return name
    start, end = shared
    if indent := len(name) - len(name.lstrip()):
        # It shows whose the row is.
        room = width - metrics.horizontalAdvance(name[:indent])
        return name[:indent] + shorten(name[indent:], shared=(start[indent:], end), width=room, metrics=metrics)
    own = name[len(start) : len(name) - len(end)]
    dots = metrics.horizontalAdvance(_ELLIPSIS)
    room = width - metrics.horizontalAdvance(own + end)
    if start and room >= dots:
        return f"{metrics.elidedText(start, Qt.TextElideMode.ElideRight, room)}{own}{end}"
    head, foot = (_ELLIPSIS if part else "" for part in (start, end))
    room = width - metrics.horizontalAdvance(head + own)
    if end and room >= dots:
        return f"{head}{own}{metrics.elidedText(end, Qt.TextElideMode.ElideLeft, room)}"
    room = width - metrics.horizontalAdvance(head + foot)
    return f"{head}{metrics.elidedText(own, Qt.TextElideMode.ElideMiddle, room)}{foot}"
