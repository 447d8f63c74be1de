"""The panel Retrain by itself: what it shows, what it asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontMetrics

from napari_unet_seg.engine.events import StepDone, ValidationDone
from napari_unet_seg.engine.round_report import CaseReport
from napari_unet_seg.widgets.curve_plot import CurvePlot
from napari_unet_seg.widgets.outcome_table import OutcomeTable
from napari_unet_seg.widgets.plot_colours import PlotColours
from napari_unet_seg.widgets.retrain_board import RetrainBoard, RetrainSettings
from napari_unet_seg.widgets.retrain_panel import RetrainPanel
from napari_unet_seg.widgets.round_history import RoundHistory, means
from napari_unet_seg.widgets.version_table import VersionRow, VersionTable
from tests.fakes import round_report, round_started

LEARNABLE = RetrainBoard(open=True, case="one", scan_slices=3, slices=5, cases=2)


@pytest.fixture
def panel(qtbot: QtBot) -> RetrainPanel:
    panel = RetrainPanel()
    qtbot.addWidget(panel)
    panel.set_colours(PlotColours.of_theme("dark"))
    panel.set_board(LEARNABLE)
    panel.show()
    return panel


def history(*, steps: int = 20) -> RoundHistory:
    told = RoundHistory(budget=60)
    told.take(round_started())
    told.take(ValidationDone(step=0, dice=0.7, before=0.7, elapsed=0.0))
    for step in range(1, steps + 1):
        told.take(StepDone(step=step, steps=1000, loss=1 / step, elapsed=float(step)))
    return told


def test_the_curves_are_as_high_as_their_numbers_need(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    heights = []
    for line in (15, 24):
        monkeypatch.setattr(QFontMetrics, "height", lambda metrics, line=line: line)
        plot = CurvePlot(colours=PlotColours.of_theme("dark"))
        qtbot.addWidget(plot)
        heights.append((plot.minimumSizeHint().height(), plot.sizeHint().height()))
    assert heights == [(200, 200), (312, 312)]


def test_value_and_set_value_go_both_ways(panel: RetrainPanel, qtbot: QtBot) -> None:
    wanted = RetrainSettings(scope="model", seconds=120, name="mine")
    with qtbot.waitSignal(panel.valueChanged) as changed:
        panel.setValue(wanted)
    assert changed.args == [wanted]
    assert panel.value() == wanted
    panel.setValue(RetrainSettings(scope="scan", seconds=30, name="mine"))
    assert panel.value() == RetrainSettings(scope="scan", seconds=30, name="mine")
    with qtbot.assertNotEmitted(panel.valueChanged):
        panel.setValue(panel.value())


def test_each_scope_says_what_it_does_and_learns_from(panel: RetrainPanel) -> None:
    scan, model = panel._explanations["scan"], panel._explanations["model"]
    assert scan.text() == "Adapts to the open scan, and is used for it alone: 3 corrected slices."
    assert model.text() == "Improves the model for every scan: 5 corrected slices in 2 cases."
    panel.set_board(RetrainBoard(open=True, slices=1, cases=1))
    assert scan.text().endswith("no scan of a dataset is open.")
    assert model.text().endswith("1 corrected slice in 1 case.")
    panel.set_board(RetrainBoard())
    assert model.text().endswith("no dataset is open.")


def test_a_single_picture_is_sent_to_the_model(panel: RetrainPanel) -> None:
    panel.set_board(RetrainBoard(open=True, case="one", scan_slices=1, slices=4, cases=4, picture=True))
    assert panel._hint.text().startswith("A round for a single picture cannot be checked")
    panel._model.setChecked(True)
    assert panel._hint.text() == ""


def test_a_round_for_all_that_nothing_can_check_is_warned_of(panel: RetrainPanel) -> None:
    panel.setValue(RetrainSettings(scope="model", name="mine"))
    panel.set_board(RetrainBoard(open=True, case="one", scan_slices=3, slices=3, cases=1, alone=True))
    assert "correct a scan of a second patient too" in panel._hint.text()
    assert panel._start.isEnabled()
    panel.setValue(RetrainSettings(scope="scan"))
    assert panel._hint.text() == ""


@pytest.mark.parametrize(
    ("board", "scope", "name", "ready"),
    [
        (LEARNABLE, "scan", "", True),
        (LEARNABLE, "model", "mine", True),
        (LEARNABLE, "model", "", False),
        (RetrainBoard(open=True, case="one", slices=5, cases=1), "scan", "", False),
        (RetrainBoard(open=True, slices=5, cases=1), "scan", "", False),
        (RetrainBoard(open=True, slices=5, cases=1), "model", "mine", True),
        (RetrainBoard(), "model", "mine", False),
    ],
)
def test_a_round_starts_where_there_is_something_to_learn(
    panel: RetrainPanel, board: RetrainBoard, scope: str, name: str, ready: bool
) -> None:
    panel.set_board(board)
    panel.setValue(RetrainSettings(scope=scope, name=name))
    assert panel._start.isEnabled() is ready


def test_the_name_is_asked_for_where_it_matters(panel: RetrainPanel) -> None:
    assert not panel._name.isVisible()
    panel.setValue(RetrainSettings(scope="model"))
    assert panel._name.isVisible()


def test_it_says_what_a_round_begins_with(panel: RetrainPanel) -> None:
    panel.setValue(RetrainSettings(scope="model", name="mine"))
    assert panel._origin.text().strip() == ""
    panel.set_parent("default")
    assert panel._origin.text() == "Begins with default, which stays as it is."
    panel.set_parent("mine")
    assert panel._origin.text() == "Goes on from mine; what is there now stays as a version."
    assert panel._origin.isVisible()
    panel.setValue(RetrainSettings(scope="scan", name="mine"))
    assert not panel._origin.isVisible()


def test_a_round_is_told_of_from_start_to_end(panel: RetrainPanel, qtbot: QtBot) -> None:
    told = RoundHistory(budget=60)
    panel.set_round(told, elapsed=-1)
    assert panel._round.scores() == ("", "")
    # Shown as text: a bar that moves by itself has the whole window drawn anew with each of its frames.
    assert panel._round.stage() == "Reading the corrections …"
    assert panel._round._progress.maximum() > 0
    panel.set_round(told, elapsed=-45)
    assert panel._round.stage() == "Reading the corrections, 45 s …"
    assert panel._round.scores() == ("Other programs may keep the processor busy.", "")
    panel.set_round(told, elapsed=-1, stopping=True)
    assert panel._round.stage() == "Stopping …"
    panel.set_round(history(steps=1), elapsed=1)
    assert panel._round.scores()[1] == "1 step"
    panel.set_round(history(), elapsed=20)
    assert panel._round.stage() == "40 s left"
    assert panel._round.scores() == ("Dice 0.700, before 0.700", "20 steps")
    panel.set_round(history(), elapsed=61)
    assert panel._round.stage() == "Comparing before and after …"
    panel.set_round(history(), elapsed=20, stopping=True)
    assert panel._round.stage().startswith("Stopping")
    for part in (panel._start, panel._scan, panel._seconds):
        assert not part.isEnabled()
    panel.set_idle()
    panel.set_outcome("Promoted: better.", round_report())
    assert panel._start.isEnabled()
    assert not panel._stop.isEnabled()
    assert not panel._round._progress.isVisible()
    qtbot.waitUntil(panel.plot.isVisible)


def test_minutes_are_told_as_minutes(panel: RetrainPanel) -> None:
    told = RoundHistory(budget=600)
    panel.set_round(told, elapsed=0)
    assert panel._round.stage() == "10 min 0 s left"


def test_a_round_is_stopped_once(panel: RetrainPanel, qtbot: QtBot) -> None:
    panel.set_round(history(), elapsed=1)
    qtbot.mouseClick(panel._stop, Qt.MouseButton.LeftButton)
    panel.set_round(history(), elapsed=2, stopping=True)
    # A stroke, while it stops.
    panel.set_board(replace(LEARNABLE, unsaved=1))
    assert not panel._stop.isEnabled()
    panel.set_idle()
    panel.set_round(history(), elapsed=1)
    assert panel._stop.isEnabled()


def test_the_buttons_ask(panel: RetrainPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(panel.startRequested):
        qtbot.mouseClick(panel._start, Qt.MouseButton.LeftButton)
    panel.set_round(history(), elapsed=1)
    with qtbot.waitSignal(panel.stopRequested):
        qtbot.mouseClick(panel._stop, Qt.MouseButton.LeftButton)


def test_a_name_that_cannot_be_is_told_of_before_the_round(panel: RetrainPanel) -> None:
    panel.set_board(replace(LEARNABLE, unsaved=1))
    panel.setValue(RetrainSettings(scope="model", name="a/b"))
    panel.set_parent("default", problem="'a/b' cannot be a model's name")
    assert panel._origin.text() == "'a/b' cannot be a model's name"
    assert not panel._start.isEnabled()
    assert not panel._save_and_start.isEnabled()
    panel.setValue(RetrainSettings(scope="scan", name="a/b"))
    assert panel._start.isEnabled()
    panel.setValue(RetrainSettings(scope="model", name="ab"))
    panel.set_parent("default")
    assert panel._origin.text() == "Begins with default, which stays as it is."
    assert panel._start.isEnabled()


def test_the_plot_follows_the_theme(panel: RetrainPanel) -> None:
    panel.set_round(history(), elapsed=1)
    light = PlotColours.of_theme("light")
    panel.set_colours(light)
    assert panel.plot.backgroundBrush().color().getRgb()[:3] == light.background
    assert panel.plot._dice.opts["pen"].color().getRgb()[:3] == light.dice


def test_many_losses_become_a_line_that_can_be_read() -> None:
    points = [(float(step), float(step % 2)) for step in range(6000)]
    found = means(points, most=150)
    assert len(found) == 150
    assert {value for _, value in found} == {0.5}
    assert means(points[:3], most=150) == points[:3]
    assert means([], most=150) == []


def test_what_was_lost_comes_first(qtbot: QtBot) -> None:
    table = OutcomeTable()
    qtbot.addWidget(table)
    cases = (
        CaseReport(case="kept", role="rehearsal", slices=20, before=0.9, after=0.9),
        CaseReport(case="worse", role="rehearsal", slices=20, before=0.9, after=0.88),
        CaseReport(case="one", role="held back", slices=1, before=0.5, after=0.75),
    )
    table.setValue(round_report(cases=cases))
    assert table.rows() == [
        ("Corrected", "0.500", "0.750", "+0.250"),
        ("  one", "0.500", "0.750", "+0.250"),
        ("Labelled", "0.900", "0.890", "\N{MINUS SIGN}0.010"),
        ("  worse", "0.900", "0.880", "\N{MINUS SIGN}0.020"),
        ("  kept", "0.900", "0.900", "0.000"),
    ]
    assert table.item(1, 0).toolTip() == "one: 1 slice"
    assert "ean" not in table.item(0, 0).toolTip()
    assert table.item(2, 0).toolTip().endswith(". Mean of 2 cases")
    table.setValue(None)
    assert table.isHidden()


def test_the_version_in_use_cannot_be_chosen_again(qtbot: QtBot) -> None:
    table = VersionTable()
    qtbot.addWidget(table)
    table.setValue(
        [VersionRow(number=0, time="12:00"), VersionRow(number=1, time="12:05", before=0.7, after=0.8, current=True)],
        title="Versions of mine:",
    )
    table.show()
    assert table.texts()[1] == ("0", "12:00", "\N{EN DASH}", "\N{EN DASH}", "original")
    assert not table._use.isEnabled()
    where = table._table.visualItemRect(table._table.item(0, 0)).center()
    qtbot.mouseClick(table._table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert not table._use.isEnabled()
    where = table._table.visualItemRect(table._table.item(1, 0)).center()
    qtbot.mouseClick(table._table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    with qtbot.waitSignal(table.restoreRequested) as asked:
        qtbot.mouseClick(table._use, Qt.MouseButton.LeftButton)
    assert asked.args == [0]
    table.set_ready(False)
    assert not table._use.isEnabled()
    table.setValue([])
    assert table.isHidden()
