"""A mask stays with the scan that it is of, and what a person has done to it is never lost."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_unet_seg.errors import InputError
from napari_unet_seg.shelf import Shelf
from napari_unet_seg.widgets.correction_saver import KEEP_MINE, TAKE_THEIRS
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.layers import sources_of
from napari_unet_seg.widgets.leaving import Answer
from tests.fakes import FakeDataset, FakeSegmenter

Settle = Callable[[], None]


def stroke(dock: UNetDock, z: int) -> None:
    """Paint on a slice of the segmentation."""
    layer = dock.segmentation.layer
    dock._viewer.dims.set_point(0, layer.scale[0] * z)
    layer.data_setitem((np.full(3, z), np.arange(3), np.arange(3)), 1)
    dock.segmentation.settle()


def add_image(viewer: ViewerModel, name: str = "follow-up flair") -> object:
    pixels = np.random.default_rng(0).integers(20, 120, (6, 32, 32), dtype=np.uint8)
    return viewer.add_image(pixels, name=name)


def choose_flair(dock: UNetDock, name: str) -> None:
    combo = dock.roles._combos["flair"]
    combo.setCurrentIndex(combo.findText(name))
    combo.activated.emit(combo.currentIndex())


def segment(dock: UNetDock, settle: Settle) -> None:
    dock.runner.segment()
    settle()


def test_the_mask_of_another_image_is_not_saved_into_the_open_case(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    stroke(segmented, 2)
    own = segmented.session.work
    add_image(segmented._viewer)
    choose_flair(segmented, "follow-up flair")
    segment(segmented, settle)
    stroke(segmented, 3)
    assert not segmented.corrector.value().can_save
    assert segmented.saver.unsaved() == []
    segmented.saver.save()
    settle()
    assert dataset.saves == []
    assert segmented.retrain_panel.board().unsaved == 0
    # And the case's own comes back with its images, as it was.
    choose_flair(segmented, "FLAIR")
    segment(segmented, settle)
    assert segmented.session.work is own
    assert segmented.saver.unsaved() == [2]


def test_what_was_put_aside_is_kept_on_the_disk_too(segmented: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    stroke(segmented, 2)
    add_image(segmented._viewer)
    choose_flair(segmented, "follow-up flair")
    segment(segmented, settle)
    segmented.saver.autosave()
    settle()
    assert list(dataset.autosaves["one"].planes()) == [2]


def test_a_segmentation_of_a_loose_image_does_not_land_in_a_case_opened_meanwhile(
    opened: UNetDock, segmenter: FakeSegmenter, settle: Settle
) -> None:
    add_image(opened._viewer)
    choose_flair(opened, "follow-up flair")
    segmenter.delay = 0.1
    opened.runner.segment()
    opened.loader.open_case("two")
    settle()
    assert opened.session.case.case_id == "two"
    assert opened.session.work is None
    assert "dropped" in opened.status.value()


def test_another_sequence_of_the_case_keeps_the_edits(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    work = segmented.session.work
    choose_flair(segmented, "post")
    segment(segmented, settle)
    assert segmented.session.work is work
    assert segmented.saver.unsaved() == [2]
    assert sum(isinstance(layer, Labels) and layer.name.startswith("Seg") for layer in segmented._viewer.layers) == 1


def test_a_loose_mask_stays_where_a_dataset_is_opened(dock: UNetDock, settle: Settle) -> None:
    settle()
    add_image(dock._viewer)
    choose_flair(dock, "follow-up flair")
    segment(dock, settle)
    stroke(dock, 2)
    mask = dock.segmentation.layer
    dock.loader.open_path("scans")
    settle()
    dock.loader.open_case("one")
    settle()
    assert mask in dock._viewer.layers
    assert dock.segmentation.layer is not mask


@pytest.mark.parametrize("how", ["remove", "clear"])
def test_edits_outlive_the_removal_of_their_layer(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, how: str
) -> None:
    stroke(segmented, 2)
    segmented.saver.save()
    settle()
    stroke(segmented, 4)
    layers = segmented._viewer.layers
    if how == "remove":
        layers.remove(segmented.segmentation.layer)
    else:
        layers.clear()
    assert segmented.corrector.value().states == ()
    assert "is kept" in segmented.status.value()
    segmented.saver.autosave()
    settle()
    assert list(dataset.autosaves["one"].planes()) == [4]
    if how == "remove":
        assert segmented.correct_panel._start.text() == "Go on with the corrections"
        segmented.corrector.start()
        assert segmented.segmentation.layer in layers
        assert "as it was left" in segmented.status.value()
        assert [str(state) for state in segmented.corrector.value().states][2:5:2] == ["corrected", "edited"]


def test_a_segmentation_after_the_removal_keeps_edits_too(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 4)
    segmented._viewer.layers.remove(segmented.segmentation.layer)
    segment(segmented, settle)
    assert segmented.saver.unsaved() == [4]


def test_a_stroke_made_while_a_case_is_loaded_is_asked_about(segmented: UNetDock, settle: Settle) -> None:
    asked: list[str] = []
    segmented._ask = lambda parent, text: asked.append(text) or Answer.CANCEL
    segmented.loader.open_case("two")
    stroke(segmented, 2)
    settle()
    assert len(asked) == 1
    assert segmented.session.case.case_id == "one"
    assert segmented.saver.unsaved() == [2]


def test_nothing_is_discarded_for_a_dataset_that_is_none(segmented: UNetDock, settle: Settle) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise InputError("there is no scan here", path="nowhere")

    segmented._ask = lambda parent, text: Answer.DISCARD
    stroke(segmented, 2)
    segmented.session.reader.read_dataset = fail
    segmented.loader.open_path("nowhere")
    settle()
    assert segmented.saver.unsaved() == [2]


def reopened(dock: UNetDock, settle: Settle) -> None:
    """The case "one" as another window would open it."""
    dock.loader.open_case("two")
    settle()
    dock.session._shelf = Shelf()
    dock.loader.open_case("one")
    settle()


@pytest.fixture
def bare(opened: UNetDock, dataset: FakeDataset, settle: Settle) -> tuple[UNetDock, int, int]:
    """A case of which one slice was corrected, open again; that slice, and another one with tumour in the dataset."""
    truth = dataset["one"].mask
    lesion = int(np.argmax(truth.sum(axis=(1, 2))))
    opened.corrector.start()
    stroke(opened, lesion)
    opened.saver.save()
    settle()
    reopened(opened, settle)
    return opened, lesion, next(int(z) for z in np.flatnonzero(truth.any(axis=(1, 2))) if z != lesion)


def test_slices_that_nothing_is_known_of_are_not_taken_for_empty(
    bare: tuple[UNetDock, int, int], dataset: FakeDataset
) -> None:
    opened, lesion, other = bare
    opened._viewer.dims.set_point(0, opened.segmentation.layer.scale[0] * other)
    opened.corrector.accept()
    assert opened.saver.unsaved() == []
    assert "nothing is known of slice" in opened.status.value()
    opened._viewer.dims.set_point(0, opened.segmentation.layer.scale[0] * lesion)
    opened.corrector.revert()
    assert opened.saver.unsaved() == []
    # The dataset's own mask is still on offer.
    assert not opened.correct_panel._start.isHidden()
    opened.corrector.start()
    np.testing.assert_array_equal(opened.segmentation.layer.data[other], dataset["one"].mask[other])
    assert opened.correct_panel._start.isHidden()
    assert opened.saver.unsaved() == []


def test_a_stroke_where_nothing_was_shown_does_not_replace_the_datasets_mask_unasked(
    bare: tuple[UNetDock, int, int], dataset: FakeDataset, settle: Settle
) -> None:
    dock, _, other = bare
    before, saves = dataset["one"].mask[other].copy(), len(dataset.saves)
    stroke(dock, other)
    dock.saver.save()
    settle()
    assert len(dataset.saves) == saves
    assert f"The dataset has a mask of slice {other}, and what you drew would take its place." in (
        dock.correct_panel.notice()
    )
    dock.questions.answer(TAKE_THEIRS)
    settle()
    np.testing.assert_array_equal(dock.segmentation.layer.data[other], before)
    assert dock.saver.unsaved() == []
    # What is added to it is saved with it, and nobody is asked again.
    stroke(dock, other)
    dock.saver.save()
    settle()
    assert dock.correct_panel.notice() == ""
    assert dataset.saves[-1]["slices"] == [other]


def test_what_was_drawn_takes_the_place_of_the_datasets_mask_if_that_is_wanted(
    bare: tuple[UNetDock, int, int], dataset: FakeDataset, settle: Settle
) -> None:
    dock, _, other = bare
    stroke(dock, other)
    dock.saver.save()
    settle()
    dock.questions.answer(KEEP_MINE)
    settle()
    assert dataset.saves[-1]["slices"] == [other]
    assert dock.saver.unsaved() == []
    assert dock.correct_panel.notice() == ""


def test_what_was_segmented_before_it_was_painted_on_is_saved_unasked(
    bare: tuple[UNetDock, int, int], dataset: FakeDataset, settle: Settle
) -> None:
    dock, _, other = bare
    segment(dock, settle)
    stroke(dock, other)
    dock.saver.save()
    settle()
    assert dataset.saves[-1]["slices"] == [other]


def test_slices_that_nothing_is_known_of_are_not_cleared(bare: tuple[UNetDock, int, int]) -> None:
    dock, _, other = bare
    dock._viewer.dims.set_point(0, dock.segmentation.layer.scale[0] * other)
    dock.corrector.clear()
    assert dock.saver.unsaved() == []
    assert f"nothing is known of slice {other} yet" in dock.status.value()


def test_slices_that_nothing_is_known_of_are_not_scored(bare: tuple[UNetDock, int, int], settle: Settle) -> None:
    dock, lesion, other = bare
    show = dock._viewer.dims.set_point
    show(0, dock.segmentation.layer.scale[0] * other)
    assert (dock.scores.value().slice, dock.scores.value().volume) == (None, None)
    assert "once every slice is segmented" in dock.scores_panel._explanation.text()
    show(0, dock.segmentation.layer.scale[0] * lesion)
    assert dock.scores.value().slice is not None
    assert dock.session.work.scores == []
    stroke(dock, other)
    assert dock.scores.value().slice is not None
    assert dock.scores.value().volume is None
    segment(dock, settle)
    assert dock.scores.value().volume is not None
    assert not dock.scores.value().partial


def test_edits_are_recovered_where_no_sequence_is_known_by_name(
    dock: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    case = dataset["one"]
    case.volume = type(case.volume)(data=case.volume.data[:2], channel_names=("a", "b"), spacing=case.volume.spacing)
    mask = np.ones((6, 32, 32), np.uint8)
    dataset.autosave("one", mask, [2])
    dock.loader.open_path("scans")
    settle()
    dock.loader.open_case("one")
    settle()
    dock.roles.setValue({})
    dock.questions.answer("Recover")
    assert dock.saver.unsaved() == [2]
    assert dock.correct_panel.notice() == ""


def test_edits_left_in_this_window_are_not_offered_for_recovery(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    segmented.saver.autosave()
    settle()
    segmented._ask = lambda parent, text: Answer.CANCEL
    segmented.session.close_case()
    case = segmented.session.dataset["one"]
    segmented.loader._take_case(segmented.session.reader.read_case(case, dataset=segmented.session.dataset))
    assert segmented.saver.unsaved() == [2]
    assert segmented.correct_panel.notice() == ""


def test_a_correction_reverted_elsewhere_is_shown_no_longer(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    before = segmented.session.work.mask.data[2].copy()
    stroke(segmented, 2)
    segmented.saver.save()
    settle()
    segmented.loader.open_case("two")
    settle()
    dataset["one"].corrected.clear()
    segmented.loader.open_case("one")
    settle()
    assert str(segmented.corrector.value().states[2]) == "open"
    np.testing.assert_array_equal(segmented.segmentation.layer.data[2], before)


def test_a_case_is_scored_against_its_own_truth_alone(dock: UNetDock, settle: Settle) -> None:
    dock._viewer.add_labels(np.ones((6, 32, 32), np.uint8), name="Ground truth")
    dock.loader.open_path("scans")
    settle()
    dock.loader.open_case("one")
    settle()
    assert dock.scores.truth is dock.loader.truth
    dock.loader.open_case("three")
    settle()
    assert dock.scores.truth is None


def test_the_truth_of_a_case_cannot_be_painted_on(opened: UNetDock) -> None:
    assert not opened.loader.truth.editable


def test_a_new_mask_lies_above_every_image(opened: UNetDock, settle: Settle) -> None:
    layers = opened._viewer.layers
    image = add_image(opened._viewer)
    segment(opened, settle)
    assert layers.index(opened.segmentation.layer) > layers.index(image)


def test_a_threshold_chosen_meanwhile_holds_for_what_was_put_aside(segmented: UNetDock, settle: Settle) -> None:
    segmented.loader.open_case("two")
    settle()
    segmented.segment_panel._threshold.setValue(0.3)
    settle()
    segmented.loader.open_case("one")
    settle()
    work = segmented.session.work
    np.testing.assert_array_equal(work.mask.data, work.probability.mask(segmented.session.rule))
    assert work.rule.threshold == pytest.approx(0.3)


def test_the_tick_goes_when_live_segmentation_ends(opened: UNetDock, segmenter: FakeSegmenter, qtbot: QtBot) -> None:
    segmenter.error = InputError("this model takes no such scan")
    box = opened.segment_panel._live
    box.setChecked(True)
    qtbot.waitUntil(lambda: not box.isChecked())
    assert "no such scan" in opened.status.value()


def test_cancelling_starts_nothing_anew(opened: UNetDock, segmenter: FakeSegmenter, settle: Settle) -> None:
    segmenter.delay = 0.05
    opened.runner.segment()
    opened.runner.segment_again()
    opened.runner.cancel()
    settle()
    assert len(segmenter.calls) <= 1


def test_models_can_be_chosen_where_the_first_cannot_be_loaded(dock: UNetDock, qtbot: QtBot) -> None:
    def fail(name: str) -> FakeSegmenter:
        raise InputError("the file is damaged")

    dock.session.models._load = fail
    dock.runner.load_model("default")
    qtbot.waitUntil(lambda: dock.segment_panel._model.findText("other") >= 0)
    assert "damaged" in dock.status.value()


def test_a_mask_can_be_begun_as_soon_as_an_image_is_open(dock: UNetDock, settle: Settle) -> None:
    settle()
    start = dock.correct_panel._start
    assert start.isHidden()
    image = add_image(dock._viewer, "flair")
    assert not start.isHidden()
    dock._viewer.layers.remove(image)
    assert start.isHidden()


@pytest.mark.parametrize(("shape", "expected"), [((40, 50, 3), (1, 40, 50)), ((6, 40, 50, 3), (6, 40, 50))])
def test_a_mask_of_a_colour_image_has_its_grid(
    dock: UNetDock, settle: Settle, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    settle()
    dock._viewer.add_image(np.full(shape, 100, np.uint8), rgb=True, name="flair")
    dock.roles.setValue({"flair": dock.roles._sources[0]})
    dock.corrector.start()
    assert dock.session.work.mask.data.shape == expected
    assert dock.segmentation.shown_slice() in range(expected[0])


@pytest.mark.filterwarnings("ignore:Contours are not displayed")
@pytest.mark.parametrize("view", ["sagittal", "3D"])
def test_a_slice_that_is_not_in_view_is_not_changed(segmented: UNetDock, view: str) -> None:
    if view == "3D":
        segmented._viewer.dims.ndisplay = 3
    else:
        segmented._viewer.dims.order = (2, 0, 1)
    for act in ("clear", "accept", "revert", "interpolate"):
        segmented.status.setValue("")
        getattr(segmented.corrector, act)()
        assert "go back to the 2-D view" in segmented.status.value()
    assert segmented.saver.unsaved() == []
    assert not segmented.correct_panel._clear.isEnabled()
    segmented._viewer.dims.ndisplay, segmented._viewer.dims.order = 2, (0, 1, 2)
    assert segmented.correct_panel._clear.isEnabled()


def test_a_label_beyond_a_byte_is_no_hole(segmented: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    layer = segmented.segmentation.layer
    layer.data = layer.data.astype(np.int32)
    layer.data_setitem((np.full(9, 2), np.arange(9), np.arange(9)), 256)
    shown = np.asarray(segmented.segmentation.layer.data[2]) != 0
    segmented.saver.save()
    settle()
    np.testing.assert_array_equal(dataset["one"].corrected[2] != 0, shown)


def test_a_layer_of_another_shape_is_let_go(segmented: UNetDock) -> None:
    stroke(segmented, 2)
    segmented.segmentation.layer.data = np.zeros((9, 32, 32), np.uint8)
    assert segmented.segmentation.layer is None
    segmented._viewer.dims.set_point(0, 8)
    segmented.corrector.start()
    assert segmented.saver.unsaved() == [2]


def test_work_put_aside_does_not_pile_up(segmented: UNetDock, settle: Settle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet_seg.shelf._MOST", 1)
    session = segmented.session
    for name in ("two", "three"):
        segmented.loader.open_case(name)
        settle()
        segment(segmented, settle)
    root = session.dataset.root
    assert [name for name in ("one", "two", "three") if (root, name) in session._shelf] == ["two"]


def test_the_dataset_s_mask_stays_when_the_rule_changes(opened: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    opened.corrector.start()
    opened.segment_panel._largest.setChecked(True)
    opened.segment_panel._threshold.setValue(0.3)
    settle()
    np.testing.assert_array_equal(opened.segmentation.layer.data, dataset["one"].mask)


def test_a_mask_of_saved_slices_makes_way_for_that_of_another_image(
    opened: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    dataset["one"].corrected[2] = np.eye(32, dtype=np.uint8)
    reopened(opened, settle)
    before = opened.segmentation.layer
    add_image(opened._viewer)
    choose_flair(opened, "follow-up flair")
    opened.corrector.start()
    assert before not in opened._viewer.layers
    assert opened.segmentation.layer in opened._viewer.layers
    choose_flair(opened, "FLAIR")
    opened.corrector.start()
    assert str(opened.corrector.value().states[2]) == "corrected"


def test_edits_are_recovered_after_another_image_was_segmented(
    dock: UNetDock, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.autosave("one", np.ones((6, 32, 32), np.uint8), [2])
    dock.loader.open_path("scans")
    settle()
    dock.loader.open_case("one")
    settle()
    add_image(dock._viewer)
    choose_flair(dock, "follow-up flair")
    segment(dock, settle)
    loose = dock.segmentation.layer
    dock.questions.answer("Recover")
    assert "choose an image of this case" in dock.status.value()
    choose_flair(dock, "FLAIR")
    dock.questions.answer("Recover")
    assert dock.saver.unsaved() == [2]
    # The other image's mask is the user's own layer now.
    assert loose in dock._viewer.layers
    assert dock.segmentation.layer is not loose


def test_corrections_go_on_after_another_image_was_segmented(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    own = segmented.session.work
    add_image(segmented._viewer)
    choose_flair(segmented, "follow-up flair")
    segment(segmented, settle)
    assert segmented.correct_panel._start.isHidden()
    choose_flair(segmented, "FLAIR")
    assert not segmented.correct_panel._start.isHidden()
    assert segmented.correct_panel._start.text() == "Go on with the corrections"
    segmented.corrector.start()
    assert segmented.session.work is own
    assert segmented.saver.unsaved() == [2]


def test_slices_are_segmented_as_they_are_shown_after_their_mask_was_removed(
    dock: UNetDock, settle: Settle, qtbot: QtBot
) -> None:
    settle()
    add_image(dock._viewer, "flair")
    segment(dock, settle)
    dock._viewer.layers.remove(dock.segmentation.layer)
    dock.segment_panel._live.setChecked(True)
    qtbot.waitUntil(lambda: dock.segmentation.layer is not None)
    assert dock.session.work.probability.known.any()


def test_a_save_that_runs_is_told_of_as_long_as_it_does(
    segmented: UNetDock, dataset: FakeDataset, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    save = dataset.save_correction
    monkeypatch.setattr(dataset, "save_correction", lambda *a, **told: save(*a, **told) if go_on.wait(10) else None)
    button = segmented.correct_panel._save
    stroke(segmented, 2)
    segmented.saver.save()
    assert (button.text(), button.isEnabled()) == ("Saving …", False)
    segmented.session.put_work_aside()
    segmented.segmentation.release(remove=True)
    add_image(segmented._viewer)
    choose_flair(segmented, "follow-up flair")
    segmented.corrector.start()
    go_on.set()
    settle()
    assert (button.text(), button.isEnabled()) == ("Save as a file …", True)


def test_a_slice_whose_edit_is_undone_follows_the_threshold(segmented: UNetDock, qtbot: QtBot, settle: Settle) -> None:
    layer = segmented.segmentation.layer
    segmented._viewer.dims.set_point(0, layer.scale[0] * 3)
    segmented.corrector.clear()
    segmented.segment_panel._threshold.setValue(0.3)
    settle()
    layer.undo()
    model = segmented.session.work.mask.model
    qtbot.waitUntil(lambda: bool(np.array_equal(layer.data[3], model[3])))
    assert str(segmented.corrector.value().states[3]) == "open"


def test_an_image_that_is_removed_while_it_is_segmented_is_named(
    dock: UNetDock, segmenter: FakeSegmenter, settle: Settle
) -> None:
    settle()
    image = add_image(dock._viewer, "flair")
    segmenter.delay = 0.1
    dock.runner.segment()
    dock._viewer.layers.remove(image)
    settle()
    assert dock.status.value() == "The image was removed meanwhile; its segmentation is dropped."
    assert dock.session.work is None


def test_the_last_layer_taken_away_is_put_aside(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    layers = segmented._viewer.layers
    for layer in [each for each in layers if each is not segmented.segmentation.layer]:
        layers.remove(layer)
    layers.remove(segmented.segmentation.layer)
    settle()
    assert segmented.segmentation.layer is None
    assert segmented.session.is_aside()
    assert "removed" in segmented.status.value()


def test_a_mask_of_classes_is_told_of(dock: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    dataset["one"].mask[2, 4:8, 4:8] = 4
    dock.loader.open_path(Path("scans"))
    settle()
    dock.loader.open_case("one")
    settle()
    assert "has the labels 1, 4; where you accept or paint" in dock.status.value()
    dock.corrector.start()
    assert dock.segmentation.layer.data[2].max() == 4
    dataset["two"].mask[:] = 4 * (dataset["two"].mask > 0)
    dock.loader.open_case("two")
    settle()
    assert "has the label 4; where" in dock.status.value()
    assert "that takes its place: to keep it, begin" in dock.status.value()


def test_a_second_label_is_told_of_when_it_is_saved(segmented: UNetDock, settle: Settle) -> None:
    stroke(segmented, 2)
    segmented.saver.save()
    settle()
    assert segmented.status.value() == "Saved slice 2 of one."
    segmented.segmentation.layer.data[3, :4, :4] = 2
    segmented.segmentation.layer.refresh()
    segmented.session.work.mask.touch()
    segmented.saver.save()
    settle()
    assert segmented.status.value().startswith("Saved slice 3 of one. Labels in it: ")
    assert segmented.status.value().endswith("2.")


def test_the_ground_truth_of_our_reader_is_chosen(dock: UNetDock, settle: Settle) -> None:
    image = add_image(dock._viewer)
    truth = dock._viewer.add_labels(np.zeros(image.data.shape, np.uint8), name="Ground truth")
    other = dock._viewer.add_labels(np.zeros(image.data.shape, np.uint8), name="Ground truth")
    image.metadata["source"] = truth.metadata["source"] = "scans/p1"
    other.metadata["source"] = "scans/p2"
    segment(dock, settle)
    assert dock.scores.truth is truth
    assert truth.contour == 1


def test_labels_have_colours_of_their_own(segmented: UNetDock) -> None:
    colours = [tuple(segmented.segmentation.layer.get_color(label)) for label in (1, 2, 3, 4, 9)]
    assert len(set(colours)) == 5


def test_a_case_that_is_not_opened_is_not_selected(segmented: UNetDock, settle: Settle) -> None:
    segmented._ask = lambda parent, text: Answer.CANCEL
    stroke(segmented, 2)
    segmented.data_panel._table.selectRow(1)
    segmented.loader.open_case("two")
    settle()
    assert segmented.session.case.case_id == "one"
    assert [index.row() for index in segmented.data_panel._table.selectionModel().selectedRows()] == [0]


def test_an_image_without_flair_is_told_what_to_choose(dock: UNetDock, settle: Settle) -> None:
    image = add_image(dock._viewer, "T1")
    dock.roles.setValue({"pre": sources_of(image)[0]})
    dock.runner.segment()
    assert dock.status.value() == "no image is chosen for FLAIR, which is needed; choose it in panel Data"
    assert not dock.busy()
