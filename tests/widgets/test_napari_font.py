import pytest
from napari.settings import NapariSettings
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QTableWidget, QVBoxLayout, QWidget

from napari_unet_seg.widgets import napari_font
from napari_unet_seg.widgets.napari_font import NapariFont


def test_tables_have_the_size_that_is_set_in_napari(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a file of its own, for the user's preferences would be overwritten.
    settings = NapariSettings(config_path=None)
    monkeypatch.setattr(napari_font, "get_settings", lambda: settings)
    widget, table = QWidget(), QTableWidget()
    QVBoxLayout(widget).addWidget(table)
    qtbot.addWidget(widget)
    settings.appearance.font_size = 13
    font = NapariFont(widget)
    assert table.font().pointSize() == 13
    settings.appearance.font_size = 17
    assert table.font().pointSize() == 17
    font.disconnect_all()
    settings.appearance.font_size = 11
    assert table.font().pointSize() == 17
