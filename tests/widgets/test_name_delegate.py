"""Long names in tables: one line each, and told apart."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QApplication, QStyleOptionViewItem, QTableWidget, QWidget

from napari_unet_seg.engine.round_report import CaseReport
from napari_unet_seg.widgets.data_panel import CaseRow, DataPanel
from napari_unet_seg.widgets.name_delegate import shared_parts, shorten
from napari_unet_seg.widgets.outcome_table import OutcomeTable
from tests.fakes import round_report

SCANS = tuple(
    f"sub-glioma-longitudinal-{patient}_ses-{session}_acq-ce_T1w"
    for patient in ("000", "001")
    for session in ("2021-03-01", "2022-04-05")
)


@pytest.fixture
def metrics(qtbot: QtBot) -> QFontMetrics:
    return QFontMetrics(QApplication.font())


def drawn(table: QTableWidget) -> list[str]:
    """The first column's texts as the delegate hands them to Qt."""
    texts = []
    for row in range(table.rowCount()):
        index = table.model().index(row, 0)
        option = QStyleOptionViewItem()
        option.widget, option.rect = table, table.visualRect(index)
        table.itemDelegateForColumn(0).initStyleOption(option, index)
        texts.append(option.text)
    return texts


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (SCANS, ("sub-glioma-longitudinal-", "_acq-ce_T1w")),
        (("TCGA_CS_4941", "TCGA_CS_4942"), ("TCGA_CS_", "")),
        (("  a-1", "  a-2"), ("  a-", "")),
        (("case1", "case2"), ("", "")),
        (("alone-1",), ("", "")),
        ((), ("", "")),
    ],
)
def test_names_share_whole_words(names: tuple[str, ...], shared: tuple[str, str]) -> None:
    assert shared_parts(names) == shared


@pytest.mark.parametrize("kept", [0.95, 0.8, 0.6, 0.5])
def test_a_name_that_fits_not_is_cut_where_all_are_alike(metrics: QFontMetrics, kept: float) -> None:
    width = round(kept * metrics.horizontalAdvance(SCANS[0]))
    cut = [shorten(name, shared=shared_parts(SCANS), width=width, metrics=metrics) for name in SCANS]
    assert len(set(cut)) == len(SCANS)
    assert all(metrics.horizontalAdvance(name) <= width for name in cut)
    assert all("\N{HORIZONTAL ELLIPSIS}" in name for name in cut)
    assert "000_ses-2021-03-01" in cut[0]


def test_a_name_that_fits_is_whole(metrics: QFontMetrics) -> None:
    width = metrics.horizontalAdvance(SCANS[0])
    assert shorten(SCANS[0], shared=shared_parts(SCANS), width=width, metrics=metrics) == SCANS[0]


def test_an_indent_stays(metrics: QFontMetrics) -> None:
    names = [f"  {name}" for name in SCANS]
    width = metrics.horizontalAdvance(names[0]) // 2
    cut = shorten(names[0], shared=shared_parts(names), width=width, metrics=metrics)
    assert cut.startswith("  \N{HORIZONTAL ELLIPSIS}000_ses")
    assert metrics.horizontalAdvance(cut) <= width


def test_cases_are_told_apart_in_one_line(qtbot: QtBot) -> None:
    panel = DataPanel(roles=QWidget())
    qtbot.addWidget(panel)
    panel.set_cases([CaseRow(case_id=name, state=("ground truth",)) for name in SCANS])
    panel.resize(330, 400)
    panel.show()
    assert not panel._table.wordWrap()
    assert len(set(drawn(panel._table))) == len(SCANS)
    assert [row.case_id for row in panel.rows()] == list(SCANS)


def test_the_cases_of_a_round_are_told_apart(qtbot: QtBot) -> None:
    table = OutcomeTable()
    qtbot.addWidget(table)
    held = [CaseReport(case=name, role="held back", slices=3, before=0.7, after=0.8) for name in SCANS]
    other = CaseReport(case="TCGA_CS_4941_19960909", role="rehearsal", slices=9, before=0.9, after=0.9)
    table.setValue(round_report(cases=(*held, other)))
    table.resize(330, 300)
    table.show()
    assert len(set(drawn(table))) == table.rowCount() == len(SCANS) + 3
    assert table.rows()[1][0] == f"  {SCANS[0]}"
