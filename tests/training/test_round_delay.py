from collections.abc import Callable

import numpy as np
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from training.benchmarks.round_delay import Hand


def test_the_hand_scrolls_and_paints_by_events(make_napari_viewer: Callable[..., Viewer], qtbot: QtBot) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((5, 64, 64), np.uint8))
    layer = viewer.add_labels(np.zeros((5, 64, 64), np.uint8))
    layer.mode = "paint"
    layer.brush_size = 3
    qtbot.wait(200)
    with Hand(viewer, layer) as hand:
        # The first stroke rubs out.
        qtbot.waitUntil(lambda: hand.strokes >= 2, timeout=120_000)
    # To the last slice and back.
    assert hand.scrolled >= 8
    qtbot.waitUntil(lambda: bool(layer.data.any()), timeout=10_000)
