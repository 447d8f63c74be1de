"""The versions of a model, and the way back to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QAbstractItemView, QPushButton, QTableWidget, QVBoxLayout, QWidget

from napari_unet_seg.widgets.plain_table import fit_height, make_plain, put, texts_of
from napari_unet_seg.widgets.wrapped_label import WrappedLabel

_DASH = "\N{EN DASH}"
_MOST_LINES = 5


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version of a model, as the table shows it."""

    number: int
    time: str
    """When it was made, in the user's time."""

    made: str = ""
    """The same with day and time, for whoever asks."""

    before: float | None = None
    after: float | None = None
    promoted: bool = True
    current: bool = False
    reason: str = ""

    @property
    def state(self) -> str:
        """What became of it, in a word or two."""
        if self.current:
            return "in use"
        if self.number == 0:
            return "original"
        return "promoted" if self.promoted else "not promoted"


class VersionTable(QWidget):
    """Lists versions, the newest first; hidden while there is none."""

    restoreRequested = Signal(int)
    """The number of a version that should be used again."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[VersionRow, ...] = ()
        self._ready = True
        self._title = WrappedLabel()
        self._table = QTableWidget(0, 5)
        self._table.setHorizontalHeaderLabels(["No.", "Made", "Before", "After", "State"])
        make_plain(self._table)
        self._table.setAccessibleName("Versions")
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._use = QPushButton("Use this version")
        self._use.setObjectName("use_version")
        self._use.setToolTip("Segment with the selected version from now on; all others stay here")

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._title)
        layout.addWidget(self._table)
        layout.addWidget(self._use)
        self.setVisible(False)

        self._use.clicked.connect(self._ask)
        self._table.itemSelectionChanged.connect(self._show_button)

    def value(self) -> tuple[VersionRow, ...]:
        """What is listed, the oldest first."""
        return self._rows

    def setValue(self, rows: Sequence[VersionRow], *, title: str = "") -> None:
        """List these, the oldest first."""
        self._title.setText(title)
        if tuple(rows) == self._rows:
            return
        chosen, self._rows = self._chosen(), tuple(rows)
        with QSignalBlocker(self._table):
            self._table.setRowCount(len(rows))
            for line, row in enumerate(reversed(self._rows)):
                scores = (_DASH if score is None else f"{score:.3f}" for score in (row.before, row.after))
                for column, text in enumerate((str(row.number), row.time, *scores, row.state)):
                    tip = row.made if column == 1 and row.made else row.reason
                    put(self._table, line, column, text, tooltip=tip, bold=row.current)
                if chosen is not None and row.number == chosen.number:
                    self._table.selectRow(line)
            fit_height(self._table, most=_MOST_LINES)
        self.setVisible(bool(rows))
        self._show_button()

    def set_ready(self, ready: bool) -> None:
        """Whether another version may be chosen now."""
        self._ready = ready
        self._show_button()

    def texts(self) -> list[tuple[str, ...]]:
        """The cells, row by row."""
        return [texts_of(self._table, line) for line in range(self._table.rowCount())]

    def _chosen(self) -> VersionRow | None:
        lines = sorted({index.row() for index in self._table.selectedIndexes()})
        return self._rows[len(self._rows) - 1 - lines[0]] if lines and lines[0] < len(self._rows) else None

    def _show_button(self) -> None:
        chosen = self._chosen()
        self._use.setEnabled(self._ready and chosen is not None and not chosen.current)
        self._use.setText("Use this version" if chosen is None else f"Use version {chosen.number}")

    def _ask(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.restoreRequested.emit(chosen.number)
