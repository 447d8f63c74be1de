from dataclasses import replace
from pathlib import Path

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QMimeData, QObject, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_unet_seg.engine.metrics import Counts
from napari_unet_seg.errors import InputError
from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.widgets.contrast import readable
from napari_unet_seg.widgets.data_panel import CaseRow, DataPanel
from napari_unet_seg.widgets.scores_panel import ScoreBoard, ScoresPanel
from napari_unet_seg.widgets.segment_panel import SegmentPanel, SegmentSettings
from napari_unet_seg.widgets.status_line import StatusLine


@pytest.fixture
def data_panel(qtbot: QtBot) -> DataPanel:
    panel = DataPanel(roles=QWidget())
    qtbot.addWidget(panel)
    panel.set_cases([CaseRow(case_id="a", state=("no mask",)), CaseRow(case_id="b", state=("ground truth",))])
    panel.show()
    return panel


def test_enter_opens_the_path_typed(data_panel: DataPanel, qtbot: QtBot) -> None:
    qtbot.keyClicks(data_panel._path, "some/scans")
    with qtbot.waitSignal(data_panel.pathEntered) as entered:
        qtbot.keyClick(data_panel._path, Qt.Key.Key_Return)
    assert entered.args == [Path("some/scans")]


def test_opening_a_case_changes_no_other_rows(data_panel: DataPanel) -> None:
    data_panel.set_cases([CaseRow(case_id=str(number), state=("no mask",)) for number in range(300)])
    changed: list[int] = []
    data_panel._table.itemChanged.connect(lambda item: changed.append(item.row()))
    data_panel.setValue("7")
    data_panel.setValue("250")
    assert changed == [7, 7, 250]
    bold = [row for row in range(300) if data_panel._table.item(row, 0).font().bold()]
    assert bold == [250]


def test_every_kind_of_scan_can_be_chosen(data_panel: DataPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ""

    def choose(_parent: object, _title: str, _folder: str, offered: str) -> tuple[str, str]:
        nonlocal kinds
        kinds = offered
        return "scans/a.dcm", offered

    monkeypatch.setattr(QFileDialog, "getOpenFileName", choose)
    with qtbot.waitSignal(data_panel.pathEntered) as entered:
        qtbot.mouseClick(data_panel._file_button, Qt.MouseButton.LeftButton)
    assert entered.args == [Path("scans/a.dcm")]
    assert all(f"*.{extension}" in kinds for extension in ("tif", "nii.gz", "dcm", "png", "jpg"))


def test_a_folder_dropped_anywhere_is_opened(data_panel: DataPanel, qtbot: QtBot, tmp_path: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    for deliver in (data_panel.dropEvent, lambda event: data_panel.eventFilter(data_panel._path, event)):
        drop = QDropEvent(
            QPoint(2, 2).toPointF(),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        with qtbot.waitSignal(data_panel.pathEntered) as entered:
            deliver(drop)
        assert entered.args == [tmp_path]


def test_a_double_click_opens_a_case(data_panel: DataPanel, qtbot: QtBot) -> None:
    table = data_panel._table
    where = table.visualItemRect(table.item(1, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    with qtbot.waitSignal(data_panel.caseActivated) as activated:
        qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert activated.args == ["b"]


def test_the_open_case_is_bold_and_its_state_changes(data_panel: DataPanel, qtbot: QtBot) -> None:
    with qtbot.waitSignal(data_panel.valueChanged):
        data_panel.setValue("b")
    assert data_panel.value() == "b"
    assert [data_panel._table.item(row, 0).font().bold() for row in (0, 1)] == [False, True]
    data_panel.set_state("b", ("ground truth", "predicted"))
    assert data_panel._table.item(1, 1).text() == "truth, predicted"
    assert data_panel.rows()[1] == CaseRow(case_id="b", state=("ground truth", "predicted"))


def test_a_panel_without_cases_shows_no_table(data_panel: DataPanel) -> None:
    data_panel.set_cases([])
    assert not data_panel._table.isVisible()


@pytest.fixture
def segment_panel(qtbot: QtBot) -> SegmentPanel:
    panel = SegmentPanel()
    qtbot.addWidget(panel)
    panel.set_models(["default", "mine"])
    return panel


def test_settings_go_both_ways(segment_panel: SegmentPanel, qtbot: QtBot) -> None:
    wanted = SegmentSettings(model="mine", rule=MaskRule(threshold=0.25, largest_component=True), live=True)
    with qtbot.waitSignal(segment_panel.valueChanged) as changed:
        segment_panel.setValue(wanted)
    assert changed.args == [wanted]
    assert segment_panel.value() == wanted
    with qtbot.assertNotEmitted(segment_panel.valueChanged):
        segment_panel.setValue(wanted)
    with qtbot.waitSignal(segment_panel.valueChanged):
        segment_panel._live.click()
    assert not segment_panel.value().live


def test_the_slider_s_ends_are_valid_thresholds(segment_panel: SegmentPanel) -> None:
    for end in (segment_panel._threshold.minimum(), segment_panel._threshold.maximum()):
        segment_panel._threshold.setValue(end)
        assert segment_panel.value().rule.threshold == pytest.approx(end)


def test_keys_and_typing_move_the_threshold(segment_panel: SegmentPanel, qtbot: QtBot) -> None:
    threshold = segment_panel._threshold
    with qtbot.waitSignal(segment_panel.valueChanged):
        qtbot.keyClick(threshold.slider, Qt.Key.Key_Left)
    assert segment_panel.value().rule.threshold == 0.49
    qtbot.keyClick(threshold.slider, Qt.Key.Key_PageUp)
    assert (threshold.value(), threshold.box.value()) == (0.59, 0.59)
    threshold.box.selectAll()
    qtbot.keyClicks(threshold.box, threshold.box.textFromValue(0.25))
    qtbot.keyClick(threshold.box, Qt.Key.Key_Return)
    assert segment_panel.value().rule.threshold == 0.25


def test_a_chosen_model_stays_when_the_list_grows(segment_panel: SegmentPanel, qtbot: QtBot) -> None:
    segment_panel.setValue(SegmentSettings(model="mine"))
    with qtbot.assertNotEmitted(segment_panel.valueChanged):
        segment_panel.set_models(["default", "another", "mine"])
    assert segment_panel.value().model == "mine"


def test_a_board_is_shown(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    assert panel._cells["dice", "volume"].text() == "\N{EN DASH}"
    board = ScoreBoard(
        z=3,
        slice=Counts(tp=1, fp=1, fn=2),
        volume=Counts(tp=10, fp=0, fn=10),
        slice_voxels=2,
        volume_voxels=10,
        voxel_ml=0.1,
        against_model=False,
    )
    panel.set_board(board)
    texts = {key: cell.text() for key, cell in panel._cells.items()}
    assert texts["dice", "slice"] == "0.400"
    assert texts["iou", "volume"] == "0.500"
    assert (texts["predicted", "slice"], texts["true", "volume"]) == ("0.20 ml", "2.00 ml")
    panel.set_board(
        ScoreBoard(slice=Counts(tp=1), volume=Counts(tp=1), slice_voxels=1, volume_voxels=1, against_model=True)
    )
    assert panel._cells["predicted", "volume"].text() == "1 voxel"
    assert "corrective Dice" in panel._explanation.text()


def test_a_slice_without_truth_has_a_size_but_no_score(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    panel.set_board(ScoreBoard(z=3, volume=Counts(tp=1), slice_voxels=7, volume_voxels=9, labelled=(4, 6)))
    assert panel._cells["predicted", "slice"].text() == "7 voxels"
    assert panel._cells["dice", "slice"].text() == "\N{EN DASH}"
    assert panel._cells["dice", "volume"].text() == "1.000"
    assert "4 of 6 slices" in panel._explanation.text()


def test_shorter_numbers_stay_at_the_right(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    panel.show()
    panel.set_board(ScoreBoard(z=100, slice_voxels=12345, volume_voxels=1234567))
    panel.set_board(ScoreBoard(z=1, slice_voxels=1, volume_voxels=2, voxel_ml=0.001))
    for label in (panel._slice_title, *panel._cells.values()):
        # It is as wide as its longest text was.
        assert label.alignment() & Qt.AlignmentFlag.AlignRight, label.objectName()


def test_numbers_are_whole_in_another_font(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    panel.show()
    panel.set_board(ScoreBoard(z=100, slice_voxels=12345, volume_voxels=1234567))
    # As napari does where the user chooses a size.
    for size in (24, 8):
        panel.setStyleSheet(f"QLabel {{ font-size: {size}pt }}")
        qtbot.wait(50)
        for label in (panel._slice_title, panel._truth_title, *panel._cells.values()):
            assert label.size() == label.sizeHint(), label.objectName()


def test_new_numbers_lay_nothing_out(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    panel.show()
    board = ScoreBoard(z=3, slice=Counts(tp=1, fp=1), volume=Counts(tp=10), slice_voxels=2, volume_voxels=10)
    panel.set_board(board)
    qtbot.wait(50)
    laid_out = []
    spy = LayoutSpy(laid_out)
    panel.installEventFilter(spy)
    panel.set_board(replace(board, slice=Counts(tp=1, fp=2), slice_voxels=3))
    qtbot.wait(50)
    assert laid_out == []


class LayoutSpy(QObject):
    """Notes every request to lay out anew."""

    def __init__(self, seen: list[QEvent.Type]) -> None:
        super().__init__()
        self.seen = seen

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self.seen.append(event.type())
        return False


def test_the_ground_truth_is_chosen(qtbot: QtBot) -> None:
    panel = ScoresPanel()
    qtbot.addWidget(panel)
    panel.set_layers(["a", "b"], chosen="b")
    assert panel.value() == "b"
    with qtbot.waitSignal(panel.valueChanged) as changed:
        panel.setValue("a")
    assert changed.args == ["a"]
    panel.setValue("gone")
    assert panel.value() == ""


@pytest.mark.parametrize(
    ("colour", "text", "background"),
    [((153, 18, 31), (240, 241, 242), (38, 41, 48)), ((255, 18, 31), (59, 58, 57), (239, 235, 233))],
)
def test_an_error_s_colour_can_be_read(colour: tuple, text: tuple, background: tuple) -> None:
    red, green, blue = readable(colour, text, background)
    assert red > 1.3 * max(green, blue)
    if background[0] < 128:
        assert red > 180


def test_the_status_line_follows_the_theme(qtbot: QtBot, viewer: ViewerModel) -> None:
    line = StatusLine(viewer=viewer)
    qtbot.addWidget(line)
    line.show_error(InputError("no such folder", path="/some/where"))
    assert line.value() == "/some/where: no such folder"
    dark = line.styleSheet()
    viewer.theme = "light"
    assert dark
    assert line.styleSheet()
    line.setValue("all well")
    assert line.styleSheet() == ""
    line.disconnect_all()


def test_an_error_whose_cause_is_gone_is_taken_back(qtbot: QtBot, viewer: ViewerModel) -> None:
    line = StatusLine(viewer=viewer)
    qtbot.addWidget(line)
    error = InputError("the masks differ")
    line.show_error(error)
    line.take_back(InputError("the masks differ"))
    assert line.value() == "the masks differ"
    line.take_back(error)
    assert (line.value(), line.is_error) == ("", False)
    line.show_error(error)
    line.setValue("saved")
    line.take_back(error)
    assert line.value() == "saved"
    line.disconnect_all()
