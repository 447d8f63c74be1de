"""A round's scores before and after, case by case."""

from __future__ import annotations

from statistics import fmean

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QWidget

from napari_unet_seg.engine.round_report import CaseReport, RoundReport
from napari_unet_seg.widgets.name_delegate import mark_shared
from napari_unet_seg.widgets.plain_table import fit_height, make_plain, put, texts_of
from napari_unet_seg.wording import counted

_MOST_LINES = 7


_ROLES = {
    "held back": ("Corrected", "Corrected slices, each scored by weights that did not learn from it"),
    "learned": ("Learned from", "A single corrected slice cannot be held back: the round has learned from it"),
    "rehearsal": ("Labelled", "Slices with a mask of their own: what the model knows of them should stay"),
    "confident": (
        "Unlabelled",
        "Slices nobody has labelled, against the model's own mask where it was sure: that should stay",
    ),
}
"""Role of a case in the report, to what the table calls it, and why."""


class OutcomeTable(QTableWidget):
    """The cases that a round was judged by, under what they were judged for; hidden while there is no round."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 4, parent)
        self.setHorizontalHeaderLabels(["Dice", "Before", "After", "Change"])
        make_plain(self)
        self.setAccessibleName("Dice before and after the round")
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setVisible(False)

    def rows(self) -> list[tuple[str, ...]]:
        """What it shows."""
        return [texts_of(self, row) for row in range(self.rowCount())]

    def setValue(self, report: RoundReport | None) -> None:
        """Show what came of a round; None hides the table."""
        cases = () if report is None else report.cases
        self.setRowCount(0)
        for role in dict.fromkeys((*_ROLES, *(case.role for case in cases))):
            self._add_group(role, [case for case in cases if case.role == role])
        fit_height(self, most=_MOST_LINES)
        self.setVisible(bool(cases))

    def _add_group(self, role: str, cases: list[CaseReport]) -> None:
        if not cases:
            return
        title, explanation = _ROLES.get(role, (role, role))
        before, after = (fmean(scores) for scores in zip(*((c.before, c.after) for c in cases), strict=True))
        if len(cases) > 1:
            # Said here: a title with it does not fit a narrow window.
            explanation = f"{explanation}. Mean of {counted(len(cases), 'case')}"
        self._add(title, before, after, explanation, bold=True)
        first = self.rowCount()
        # What was lost comes first: that is what a person looks for.
        for case in sorted(cases, key=lambda case: case.after - case.before):
            slices = f"{case.case}: {counted(case.slices, 'slice')}"
            self._add(f"  {case.case}", case.before, case.after, slices)
        mark_shared([self.item(row, 0) for row in range(first, self.rowCount())])

    def _add(self, name: str, before: float, after: float, explanation: str, *, bold: bool = False) -> None:
        row = self.rowCount()
        self.insertRow(row)
        # The difference of the figures that are shown.
        change = round(round(after, 3) - round(before, 3), 3)
        signed = f"{change:+.3f}".replace("-", "\N{MINUS SIGN}") if change else "0.000"
        texts = (name, f"{before:.3f}", f"{after:.3f}", signed)
        for column, text in enumerate(texts):
            put(self, row, column, text, tooltip=explanation, bold=bold)
