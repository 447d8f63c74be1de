"""Panel Data: the dataset, its cases, and which image is which sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_unet_seg.data.formats.dicom_name import EXTENSIONS as DICOM
from napari_unet_seg.data.formats.extensions import NIFTI, PICTURES, TIFF
from napari_unet_seg.widgets.name_delegate import mark_shared
from napari_unet_seg.widgets.plain_table import make_plain

SCANS = (*TIFF, *NIFTI, *DICOM, *PICTURES)
"""What the names of scans end in; DICOM files often have no such ending."""


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """A row of the table of cases."""

    case_id: str
    state: tuple[str, ...]
    """What there is of it: "no mask", "ground truth", "predicted", "2 corrected", "1 unsaved", "edits kept"."""


class DataPanel(QWidget):
    """Opens a dataset and lists its cases.

    Parameters
    ----------
    roles : QWidget
        Shown below the table: which open image is which sequence.
    """

    pathEntered = Signal(Path)
    """A dataset should be opened."""
    caseActivated = Signal(str)
    """A case should be loaded; its id."""
    valueChanged = Signal(str)
    """Another case is open; its id, or an empty text."""

    def __init__(self, *, roles: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._open_case = ""

        self._path = QLineEdit()
        self._path.setPlaceholderText("Folder of scans, or one scan")
        self._path.setAccessibleName("Folder of scans, or one scan")
        self._path.setToolTip(
            "Type or drop a dataset's folder, or a scan: TIFF, NIfTI, DICOM, PNG, JPEG (Enter opens it)"
        )
        self._path.installEventFilter(self)
        self._folder_button = QPushButton("Folder…")
        self._folder_button.setToolTip("Choose a dataset's folder")
        self._file_button = QPushButton("File…")
        self._file_button.setToolTip("Choose a single scan")
        self._table = QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["Case", "State"])
        make_plain(self._table)
        self._table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._table.setAccessibleName("Cases")
        self._table.setToolTip("Double click, or Enter, opens a case")
        self._table.setMinimumHeight(70)
        self._channels_title = QLabel("Sequences, from the open layers:")

        row = QHBoxLayout()
        row.addWidget(self._path, 1)
        row.addWidget(self._folder_button)
        row.addWidget(self._file_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._table)
        layout.addWidget(self._channels_title)
        layout.addWidget(roles)
        self.set_cases([])

        self._path.returnPressed.connect(self._enter_path)
        self._folder_button.clicked.connect(self._choose_folder)
        self._file_button.clicked.connect(self._choose_file)
        self._table.itemActivated.connect(self._activate)
        self.setAcceptDrops(True)

    def value(self) -> str:
        """Id of the open case; empty if none is."""
        return self._open_case

    def setValue(self, case_id: str) -> None:
        """Mark a case as the open one."""
        if case_id != self._open_case:
            self._open_case = case_id
            self.mark_open()
            self.valueChanged.emit(case_id)

    def set_path(self, path: Path) -> None:
        """Show where the open dataset lies."""
        self._path.setText(str(path))

    def set_cases(self, rows: Sequence[CaseRow]) -> None:
        """List the cases of a dataset, the open one marked; the table is hidden while there are none."""
        # A table in view measures all of its rows anew for each cell that is put in: a minute for 2,000 cases.
        self._table.setVisible(False)
        self._table.setRowCount(len(rows))
        names = []
        for number, row in enumerate(rows):
            name = QTableWidgetItem(row.case_id)
            name.setData(Qt.ItemDataRole.UserRole, row.case_id)
            name.setToolTip(row.case_id)
            self._table.setItem(number, 0, name)
            names.append(name)
            cell = QTableWidgetItem()
            _show_state(cell, row.state)
            self._table.setItem(number, 1, cell)
        mark_shared(names)
        if self._open_case:
            self.mark_open()
        line = self._table.verticalHeader().defaultSectionSize()
        header = self._table.horizontalHeader().sizeHint().height()
        self._table.setFixedHeight(header + line * min(max(len(rows), 1), 5) + 6)
        self._table.setVisible(bool(rows))

    def set_state(self, case_id: str, state: tuple[str, ...]) -> None:
        """Show what there is of a case now."""
        for number in range(self._table.rowCount()):
            name, cell = self._table.item(number, 0), self._table.item(number, 1)
            if name is not None and cell is not None and name.data(Qt.ItemDataRole.UserRole) == case_id:
                _show_state(cell, state)

    def rows(self) -> list[CaseRow]:
        """What the table shows."""
        cells = [(self._table.item(row, 0), self._table.item(row, 1)) for row in range(self._table.rowCount())]
        return [
            CaseRow(case_id=name.text(), state=tuple(state.toolTip().split(", ")))
            for name, state in cells
            if name is not None and state is not None
        ]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let a folder dropped on the path's line open, where the line would only take its text."""
        if event.type() in (QEvent.Type.DragEnter, QEvent.Type.Drop):
            urls = event.mimeData().urls()
            if urls and urls[0].isLocalFile():
                event.acceptProposedAction()
                if event.type() == QEvent.Type.Drop:
                    self._open(urls[0].toLocalFile())
                return True
        return bool(super().eventFilter(watched, event))

    def dragEnterEvent(self, event: QEvent) -> None:
        """Take files and folders dropped anywhere on the panel."""
        self.eventFilter(self, event)

    def dropEvent(self, event: QEvent) -> None:
        """Open what was dropped."""
        self.eventFilter(self, event)

    def mark_open(self) -> None:
        """Show which case is open: in bold, selected, and in view."""
        for row in range(self._table.rowCount()):
            item = self._table.item(row, 0)
            if item is None:
                continue
            is_open = item.data(Qt.ItemDataRole.UserRole) == self._open_case
            font = item.font()
            if font.bold() != is_open:
                # Of no other row: for each one that is changed, a table in view measures all of its rows anew.
                font.setBold(is_open)
                item.setFont(font)
            if is_open:
                self._table.selectRow(row)
                self._table.scrollToItem(item)

    def _enter_path(self) -> None:
        text = self._path.text().strip()
        if text:
            self._open(text)

    def _choose_folder(self) -> None:
        self._open(QFileDialog.getExistingDirectory(self, "Open a dataset", self._start_folder()))

    def _choose_file(self) -> None:
        kinds = f"Scans ({' '.join(f'*{extension}' for extension in SCANS)});;All files (*)"
        self._open(QFileDialog.getOpenFileName(self, "Open a scan", self._start_folder(), kinds)[0])

    def _start_folder(self) -> str:
        return self._path.text() or str(Path.home())

    def _open(self, text: str) -> None:
        if text:
            self._path.setText(text)
            self.pathEntered.emit(Path(text).expanduser())

    def _activate(self, item: QTableWidgetItem) -> None:
        name = self._table.item(item.row(), 0)
        if name is not None:
            self.caseActivated.emit(name.data(Qt.ItemDataRole.UserRole))


def _show_state(cell: QTableWidgetItem, state: tuple[str, ...]) -> None:
    whole = ", ".join(state)
    if cell.toolTip() == whole:
        return
    # Beside other words the short one will do, and leaves room for the case's name.
    cell.setText(whole if len(state) == 1 else whole.replace("ground truth", "truth"))
    cell.setToolTip(whole)
