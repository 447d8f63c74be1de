import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_unet_seg.widgets.slice_history import SliceHistory


@pytest.fixture
def layer() -> Labels:
    return Labels(np.zeros((4, 5, 6), np.uint8))


def history(layer: Labels) -> tuple[SliceHistory, dict[int, bool]]:
    marks: dict[int, bool] = {}
    return SliceHistory(layer, set_mark=marks.__setitem__), marks


def test_slices_are_written_and_taken_back_in_one_step(layer: Labels) -> None:
    slices, _ = history(layer)
    planes = {1: np.full((5, 6), 2, np.uint8), 3: np.eye(5, 6, dtype=np.uint8)}
    assert slices.write(planes) == [1, 3]
    for z, plane in planes.items():
        np.testing.assert_array_equal(layer.data[z], plane)
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    np.testing.assert_array_equal(layer.data[1], planes[1])


def test_slices_of_a_hidden_layer_are_written(layer: Labels) -> None:
    viewer = ViewerModel()
    viewer.layers.append(layer)
    layer.data[2] = 3
    layer.visible = False
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(0, 2)
    slices, _ = history(layer)
    assert slices.write({2: np.eye(5, 6, dtype=np.uint8)}) == [2]
    np.testing.assert_array_equal(layer.data[2], np.eye(5, 6))
    layer.undo()
    assert (layer.data[2] == 3).all()


def test_nothing_changed_is_no_step(layer: Labels) -> None:
    slices, _ = history(layer)
    assert slices.write({0: np.zeros((5, 6), np.uint8)}) == []
    assert not layer._undo_history


def test_a_mark_is_undone_and_redone(layer: Labels) -> None:
    slices, marks = history(layer)
    slices.mark(2, True)
    assert marks == {2: True}
    layer.undo()
    slices.follow()
    assert marks == {2: False}
    layer.redo()
    slices.follow()
    assert marks == {2: True}


def test_undo_takes_back_the_steps_in_their_order(layer: Labels) -> None:
    slices, marks = history(layer)
    layer.paint((1, 2, 2), 1)
    slices.mark(1, True)
    layer.paint((0, 2, 2), 1)
    layer.undo()
    slices.follow()
    assert marks == {1: True}
    layer.undo()
    slices.follow()
    assert marks == {1: False}
    assert layer.data[1].any()


def test_a_mark_outlives_the_history(layer: Labels) -> None:
    slices, marks = history(layer)
    slices.mark(2, True)
    for index in range(110):
        layer.data_setitem((np.array([0]), np.array([0]), np.array([0])), index % 2 + 1)
    slices.follow()
    assert marks == {2: True}


def test_after_a_save_no_undo_changes_a_mark(layer: Labels) -> None:
    slices, marks = history(layer)
    slices.mark(2, True)
    marks.clear()
    slices.forget_marks()
    layer.undo()
    slices.follow()
    assert marks == {}


def test_a_single_slice_is_written_too() -> None:
    layer = Labels(np.zeros((5, 6), np.uint8))
    slices, _ = history(layer)
    assert slices.write({0: np.ones((5, 6), np.uint8)}) == [0]
    slices.mark(0, True)
    assert layer.data.all()
    layer.undo()
    layer.undo()
    assert not layer.data.any()


def test_a_mark_goes_and_comes_with_the_slice() -> None:
    layer = Labels(np.ones((3, 4, 4), np.uint8))
    marks: dict[int, bool] = {}
    history = SliceHistory(layer, set_mark=marks.__setitem__)
    history.mark(1, True)
    history.write({1: np.zeros((4, 4), np.uint8), 2: np.ones((4, 4), np.uint8)}, unmark=[1, 2])
    assert marks == {1: False}
    layer.undo()
    history.follow()
    assert (marks, layer.data[1].all()) == ({1: True}, True)
    layer.redo()
    history.follow()
    assert (marks, layer.data[1].any()) == ({1: False}, False)
    layer.undo()
    layer.undo()
    history.follow()
    assert (marks, layer.data[1].all()) == ({1: False}, True)
