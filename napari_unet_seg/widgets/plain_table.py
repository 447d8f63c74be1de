"""The plain look that small tables of numbers share."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_unet_seg.widgets.name_delegate import NameDelegate


def make_plain(table: QTableWidget) -> None:
    """No grid, no editing, no row numbers; the first column takes what room there is."""
    table.verticalHeader().setVisible(False)
    table.setShowGrid(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    # On two lines, a name is cut at its end or by the row's: in one, `NameDelegate` keeps what tells it apart.
    table.setWordWrap(False)
    # Tab would go through every cell, and never leave the table; the arrow keys do that.
    table.setTabKeyNavigation(False)
    table.setItemDelegateForColumn(0, NameDelegate(table))
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = table.horizontalHeader()
    header.setHighlightSections(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)


def put(table: QTableWidget, row: int, column: int, text: str, *, tooltip: str, bold: bool = False) -> None:
    """Write a cell; numbers, in all columns but the first, at the right."""
    item = QTableWidgetItem(text)
    item.setToolTip(tooltip)
    if column:
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    if bold:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    table.setItem(row, column, item)


def texts_of(table: QTableWidget, row: int) -> tuple[str, ...]:
    """The texts of a row."""
    items = [table.item(row, column) for column in range(table.columnCount())]
    return tuple("" if item is None else str(item.text()) for item in items)


def fit_height(table: QTableWidget, *, most: int) -> None:
    """As high as its rows, and no higher than `most` of them."""
    line = table.verticalHeader().defaultSectionSize()
    header = table.horizontalHeader().sizeHint().height()
    table.setFixedHeight(header + line * min(max(table.rowCount(), 1), most) + 6)
