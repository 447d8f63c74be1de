from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_unet_seg.widgets.slice_strip import COLOURS, SliceStrip
from napari_unet_seg.working_mask import SliceState

STATES = [SliceState.OPEN] * 7 + [SliceState.EDITED, SliceState.SAVED, SliceState.OPEN]


def strip(qtbot: QtBot) -> SliceStrip:
    widget = SliceStrip()
    qtbot.addWidget(widget)
    widget.resize(200, 20)
    widget.setValue(STATES, current=2)
    widget.show()
    return widget


def test_each_slice_has_the_colour_of_its_state(qtbot: QtBot) -> None:
    widget = strip(qtbot)
    picture = widget.grab().toImage()
    scale = picture.width() / widget.width()
    for z in (7, 8):
        colour = picture.pixelColor(int(widget.position_of(z) * scale), picture.height() // 2)
        assert colour.name() == COLOURS[STATES[z]].name()


def test_a_click_goes_to_a_slice(qtbot: QtBot) -> None:
    widget = strip(qtbot)
    with qtbot.waitSignal(widget.sliceChosen) as chosen:
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(int(widget.position_of(8)), 10))
    assert chosen.args == [8]


def test_a_click_on_the_shown_slice_goes_nowhere(qtbot: QtBot) -> None:
    widget = strip(qtbot)
    with qtbot.assertNotEmitted(widget.sliceChosen, wait=50):
        qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(int(widget.position_of(2)), 10))


def test_every_slice_can_be_reached_even_of_many(qtbot: QtBot) -> None:
    widget = strip(qtbot)
    widget.setValue([SliceState.OPEN] * 90, current=0)
    assert [widget.slice_at(widget.position_of(z)) for z in range(90)] == list(range(90))
    assert widget.slice_at(-1) is None
    assert widget.slice_at(widget.width()) is None
