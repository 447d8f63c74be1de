"""What is scored, against which truth, and in which unit."""

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.engine.metrics import count
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.layers import sources_of
from tests.widgets.test_whose_work import stroke

Settle = Callable[[], None]
# 3 mm from slice to slice, 1.8 of them backwards.
LEANING = np.array([[-1.0, 0, 0, 0], [0, -1, -1.8, 0], [0, 0, 2.4, 0], [0, 0, 0, 1]])


def test_a_lazy_truth_is_scored(segmented: UNetDock, viewer: ViewerModel) -> None:
    truth = np.array(viewer.layers["Ground truth"].data)
    viewer.add_labels(dask.array.from_array(truth, chunks=(1, 32, 32)), name="lazy")
    segmented.scores_panel.setValue("lazy")
    assert segmented.scores_panel.board().volume == count(segmented.segmentation.layer.data, truth)


def test_a_truth_that_cannot_be_read_is_said_and_not_scored(segmented: UNetDock, viewer: ViewerModel) -> None:
    broken = False

    def read(block: np.ndarray) -> np.ndarray:
        if broken:
            raise OSError("the drive is gone")
        return block

    data = dask.array.zeros((6, 32, 32), chunks=(6, 32, 32), dtype=np.uint8).map_blocks(read, dtype=np.uint8)
    viewer.add_labels(data, name="lazy")
    broken = True
    segmented.scores_panel.setValue("lazy")
    assert "the drive is gone" in segmented.status.value()
    assert segmented.scores_panel.board().volume is None


def test_a_truth_has_two_or_three_axes(segmented: UNetDock, viewer: ViewerModel) -> None:
    viewer.add_labels(np.zeros((2, 6, 32, 32), np.uint8), name="of four axes")
    combo = segmented.scores_panel._truth
    assert [combo.itemText(index) for index in range(combo.count())] == ["(none)", "Ground truth"]


def test_a_truth_that_gets_a_fourth_axis_is_watched_no_more(
    segmented: UNetDock, viewer: ViewerModel, qtbot: QtBot
) -> None:
    layer = viewer.add_labels(np.zeros((6, 32, 32), np.uint8), name="mine")
    segmented.scores_panel.setValue("mine")
    layer.data = np.zeros((2, 6, 32, 32), np.uint8)
    assert segmented.status.is_error
    for z in (1, 2):
        viewer.dims.set_current_step(1, z)
        qtbot.wait(200)
    layer.paint((0, 2, 3, 3), 1)
    assert segmented.scores_panel.board().volume is None


@pytest.mark.parametrize(
    ("units", "metadata", "voxel_ml"),
    [
        (None, {}, None),
        (("mm", "mm", "mm"), {}, 0.003),
        (("µm", "µm", "µm"), {}, 3e-12),
        (("s", "mm", "mm"), {}, None),
        (None, {"spacing_known": True}, 0.003),
        (None, {"spacing_known": False}, None),
        (None, {"spacing_known": True, "affine": LEANING}, 0.0024),
        (None, {"spacing_known": True, "affine": "another program's"}, 0.003),
    ],
)
def test_volumes_are_in_ml_where_the_spacing_is_known(
    dock: UNetDock,
    viewer: ViewerModel,
    settle: Settle,
    units: tuple[str, ...] | None,
    metadata: dict[str, Any],
    voxel_ml: float | None,
) -> None:
    settle()
    pixels = np.random.default_rng(0).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    viewer.add_image(pixels, name="flair", scale=(3, 1, 1), units=units, metadata=metadata)
    dock.runner.segment()
    settle()
    found = dock.scores.value().voxel_ml
    assert found is None if voxel_ml is None else found == pytest.approx(voxel_ml)


def test_the_truth_of_a_case_scores_no_other_scan(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    truth, case = viewer.layers["Ground truth"], segmented.roles.value()
    assert segmented.scores.truth is truth
    pixels = np.random.default_rng(0).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    own = viewer.add_image(pixels, name="own")
    segmented.roles.setValue({"flair": sources_of(own)[0]})
    segmented.runner.segment()
    settle()
    assert segmented.scores.truth is None
    segmented.roles.setValue(case)
    segmented.runner.segment()
    settle()
    assert segmented.scores.truth is truth


def test_an_image_that_gets_fewer_slices_is_segmented_again(
    dock: UNetDock, viewer: ViewerModel, settle: Settle
) -> None:
    settle()
    pixels = np.random.default_rng(0).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    own = viewer.add_image(pixels, name="flair")
    dock.runner.segment()
    settle()
    own.data = pixels[2:5]
    dock.runner.segment()
    settle()
    assert dock.segmentation.layer.data.shape == (3, 32, 32)
    assert dock.scores_panel.board().volume is not None


def test_beyond_the_last_slice_none_is_in_view(segmented: UNetDock, viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((20, 32, 32), np.uint8), name="longer", scale=(3, 1, 1))
    before = segmented.segmentation.layer.data.copy()
    viewer.dims.set_point(0, 3 * 12)
    assert segmented.correct_panel._state.value()[0] == "Slices are not in view"
    assert segmented.scores_panel.board().slice is None
    assert segmented.scores_panel.board().volume is not None
    segmented.corrector.clear()
    np.testing.assert_array_equal(segmented.segmentation.layer.data, before)
    # And there is a way back.
    segmented.correct_panel.sliceChosen.emit(5)
    assert segmented.segmentation.shown_slice() == 5


def test_between_two_grids_the_slice_is_the_one_that_napari_shows(segmented: UNetDock, viewer: ViewerModel) -> None:
    layer = segmented.segmentation.layer
    layer.data[:] = np.arange(6, dtype=np.uint8)[:, None, None]
    layer.refresh()
    viewer.add_image(np.zeros((50, 32, 32), np.uint8), name="fine", scale=(0.5, 1, 1))
    for position in np.arange(0, 24, 0.5):
        viewer.dims.set_point(0, position)
        shown = np.asarray(layer._slice.image.raw)
        z = segmented.segmentation.shown_slice()
        assert (shown.shape == (32, 32) and int(shown[0, 0]) == z) if z is not None else not shown.any(), position


def test_the_history_is_of_one_truth(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> None:
    history = segmented.scores.value().history
    assert len(history) == 1
    viewer.add_labels(np.ones((6, 32, 32), np.uint8), name="other")
    segmented.scores_panel.setValue("other")
    assert segmented.scores.value().history == ()
    segmented.scores_panel.setValue("Ground truth")
    assert segmented.scores.value().history == history
    segmented.scores_panel.setValue("other")
    stroke(segmented, 2)
    segmented.saver.save()
    settle()
    assert segmented.scores.value().history == (segmented.scores.value().volume.dice,)


def test_the_history_outlives_a_visit_to_another_case(segmented: UNetDock, settle: Settle) -> None:
    history = segmented.scores.value().history
    for name in ("two", "one"):
        segmented.loader.open_case(name)
        settle()
    assert segmented.scores.value().history == history
