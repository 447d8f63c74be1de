"""Whatever is done to the masks, the scores shown are those of a full count."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Labels

from napari_unet_seg.case_state import Prediction
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.probability_map import MaskRule
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.score_keeper import ScoreKeeper
from napari_unet_seg.widgets.segmentation_layer import SegmentationLayer
from tests.fakes import FakeSegmenter

SHAPE = (4, 9, 10)


class Scene:
    """A viewer with a segmentation and a ground truth, both in hand."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(rng.random(SHAPE).astype(np.float32), scale=(3, 1, 1))
        self.session = Session(load_model=lambda name: FakeSegmenter())
        self.segmentation = SegmentationLayer(session=self.session, viewer=self.viewer)
        self.keeper = ScoreKeeper(session=self.session, segmentation=self.segmentation, viewer=self.viewer)
        self.predict(0)
        self.segmentation.show_work(self.image)
        self.layer: Labels = self.segmentation.layer
        self.truth = self.viewer.add_labels((rng.random(SHAPE) > 0.7).astype(np.uint8), scale=(3, 1, 1))
        self.keeper.set_truth(self.truth)

    def predict(self, seed: int) -> None:
        probability = np.random.default_rng(seed).random(SHAPE).astype(np.float32)
        from napari_unet_seg.probability_map import ProbabilityMap

        prediction = Prediction(probability=ProbabilityMap.of(probability), model="fake", seconds=0)
        self.session.take_prediction(prediction, shape=SHAPE)

    def close(self) -> None:
        self.keeper.disconnect_all()
        self.segmentation.disconnect_all()

    def check(self) -> None:
        """The scores shown a frame later, nothing read again for the test's sake, are exact."""
        board = self.keeper.settled()
        y_pred, y = np.asarray(self.layer.data), np.asarray(self.truth.data)
        assert board.volume == count(y_pred, y)
        dims = self.viewer.dims
        if 0 in dims.displayed:
            # Slices across are in view, or all at once.
            assert (board.z, board.slice, board.slice_voxels) == (None, None, None)
        else:
            assert board.z == dims.current_step[0]
            assert board.slice == count(y_pred[board.z], y[board.z])


@contextmanager
def new_scene() -> Iterator[Scene]:
    scene = Scene()
    try:
        yield scene
    finally:
        scene.close()


@pytest.fixture
def scene(qapp: object) -> Iterator[Scene]:
    with new_scene() as scene:
        yield scene


def test_a_stroke_of_the_mouse_is_counted_at_each_movement(scene: Scene) -> None:
    layer = scene.layer
    scene.viewer.dims.set_current_step(0, 2)
    layer.brush_size = 3
    layer.mode = "paint"
    before = layer.data.copy()
    # What napari's drawing with the mouse does: paint without refresh, then one partial refresh a movement.
    with layer.block_history():
        for x in range(2, 8):
            layer._draw(1, (2, 4, x - 1), (2, 4, x))
            scene.check()
    assert (layer.data != before).any()
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)
    scene.check()


@pytest.mark.parametrize("hidden", [False, True])
def test_undo_in_a_slice_that_is_not_shown(scene: Scene, hidden: bool) -> None:
    layer = scene.layer
    scene.viewer.dims.set_current_step(0, 0)
    layer.paint((0, 4, 4), 0)
    scene.viewer.dims.set_current_step(0, 3)
    layer.visible = not hidden
    layer.undo()
    if hidden:
        # A hidden layer tells of nothing; asking for the value, or showing it, looks.
        assert scene.keeper.value().volume == count(layer.data, scene.truth.data)
        layer.redo()
        layer.visible = True
    scene.check()


def test_painting_in_three_dimensions(scene: Scene) -> None:
    scene.layer.n_edit_dimensions = 3
    scene.layer.brush_size = 7
    scene.layer.paint((1, 4, 4), 1)
    scene.check()
    scene.layer.undo()
    scene.check()


def test_painting_from_the_side(scene: Scene) -> None:
    scene.viewer.dims.order = (1, 0, 2)
    scene.viewer.dims.set_current_step(1, 5)
    scene.layer.paint((2, 5, 3), 1)
    scene.check()
    scene.viewer.dims.order = (0, 1, 2)
    scene.check()


@pytest.mark.parametrize("contour", [0, 1])
def test_an_outline_is_no_obstacle(scene: Scene, contour: int) -> None:
    scene.layer.contour = contour
    scene.layer.paint((scene.viewer.dims.current_step[0], 0, 0), 1)
    scene.check()


def test_a_batch_of_strokes_without_refresh_is_read_when_asked_for(scene: Scene) -> None:
    for x in range(5):
        scene.layer.paint((1, 4, x), 1, refresh=False)
    assert scene.keeper.value().volume == count(scene.layer.data, scene.truth.data)


def test_scores_follow_the_model_while_the_truth_is_the_model(scene: Scene) -> None:
    scene.keeper.set_truth(None)
    assert scene.keeper.settled().volume.dice == 1
    scene.layer.data[1] = 0
    scene.layer.refresh()
    assert scene.keeper.settled().volume == count(scene.layer.data, scene.session.work.mask.model)
    scene.predict(5)
    assert scene.keeper.settled().volume == count(scene.layer.data, scene.session.work.mask.model)
    scene.session.set_rule(MaskRule(threshold=0.2))
    assert scene.keeper.settled().volume == count(scene.layer.data, scene.session.work.mask.model)


def test_data_of_another_shape_is_said_and_scored_no_more(scene: Scene) -> None:
    said = []
    scene.segmentation.lost.connect(said.append)
    scene.layer.data = np.zeros((4, 9, 11), np.uint8)
    assert "another shape" in said[0]
    assert scene.keeper.settled().volume is None


def test_a_two_dimensional_image_has_one_slice(qapp: object) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.eye(8, dtype=np.float32), scale=(2, 2))
    session = Session(load_model=lambda name: FakeSegmenter())
    segmentation = SegmentationLayer(session=session, viewer=viewer)
    keeper = ScoreKeeper(session=session, segmentation=segmentation, viewer=viewer)
    session.take_prediction(
        Prediction(probability=np.eye(8, dtype=np.float32), z=0, model="m", seconds=0), shape=(1, 8, 8)
    )
    segmentation.show_work(image)
    layer = segmentation.layer
    assert layer.ndim == 2
    truth = viewer.add_labels(np.eye(8, dtype=np.uint8), scale=(2, 2))
    keeper.set_truth(truth)
    assert keeper.settled().slice.dice == 1
    layer.paint((0, 7), 1)
    layer.fill((5, 2), 1)
    assert keeper.settled().slice == keeper.settled().volume == count(layer.data, truth.data)
    layer.undo()
    assert keeper.settled().volume == count(layer.data, truth.data)
    assert session.work.mask.edited() == [0]
    keeper.disconnect_all()
    segmentation.disconnect_all()


# Random edits, each a function of the scene.

Z, Y, X = st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1), st.integers(0, SHAPE[2] - 1)
LABEL = st.integers(0, 2)
WHICH = st.sampled_from(["layer", "truth"])
Edit = Callable[[Scene], None]


def paint(which: str, z: int, y: int, x: int, label: int, size: int) -> Edit:
    def edit(scene: Scene) -> None:
        layer = getattr(scene, which)
        layer.brush_size = size
        layer.paint((z, y, x), label)

    return edit


def fill(which: str, z: int, y: int, x: int, label: int, contiguous: bool) -> Edit:
    def edit(scene: Scene) -> None:
        layer = getattr(scene, which)
        layer.contiguous = contiguous
        layer.fill((z, y, x), label)

    return edit


def polygon(which: str, z: int, corners: list[tuple[int, int]], label: int) -> Edit:
    return lambda scene: getattr(scene, which).paint_polygon([(z, *corner) for corner in corners], label)


def set_items(which: str, z: int, y: int, x: int, label: int) -> Edit:
    def edit(scene: Scene) -> None:
        getattr(scene, which).data_setitem((np.array([z, 0]), np.array([y, 0]), np.array([x, 1])), label)

    return edit


def assign(which: str, seed: int, dtype: str) -> Edit:
    def edit(scene: Scene) -> None:
        getattr(scene, which).data = (np.random.default_rng(seed).random(SHAPE) > 0.5).astype(dtype)

    return edit


def write_in_place(which: str, z: int, label: int) -> Edit:
    def edit(scene: Scene) -> None:
        layer = getattr(scene, which)
        layer.data[z, 2:5] = label
        layer.refresh()

    return edit


def dimensions(which: str, n: int) -> Edit:
    return lambda scene: setattr(getattr(scene, which), "n_edit_dimensions", n)


EDITS = st.one_of(
    st.builds(paint, WHICH, Z, Y, X, LABEL, st.integers(1, 6)),
    st.builds(fill, WHICH, Z, Y, X, LABEL, st.booleans()),
    st.builds(polygon, WHICH, Z, st.lists(st.tuples(Y, X), min_size=3, max_size=5), LABEL),
    st.builds(set_items, WHICH, Z, Y, X, LABEL),
    st.builds(assign, WHICH, st.integers(0, 5), st.sampled_from(["uint8", "int32", "bool"])),
    st.builds(write_in_place, WHICH, Z, LABEL),
    st.builds(dimensions, WHICH, st.sampled_from([2, 3])),
    st.builds(lambda which: lambda scene: getattr(scene, which).undo(), WHICH),
    st.builds(lambda which: lambda scene: getattr(scene, which).redo(), WHICH),
    st.builds(lambda z: lambda scene: scene.viewer.dims.set_current_step(0, z), Z),
    st.builds(lambda order: lambda scene: setattr(scene.viewer.dims, "order", order), st.permutations([0, 1, 2])),
    st.builds(lambda t: lambda scene: scene.session.set_rule(MaskRule(threshold=t)), st.sampled_from([0.2, 0.5, 0.8])),
    st.builds(lambda seed: lambda scene: scene.predict(seed), st.integers(0, 3)),
)


# Without shrinking: a failing example is short enough to read, and shrinking one takes minutes.
@settings(
    deadline=None,
    max_examples=60,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(EDITS, min_size=1, max_size=12))
def test_after_any_edits_the_scores_are_exact(qapp: object, edits: list[Edit]) -> None:
    with new_scene() as scene:
        for edit in edits:
            # napari has polygons in two dimensions only.
            with suppress(NotImplementedError):
                edit(scene)
            scene.check()
