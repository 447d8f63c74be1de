"""Retraining through the dock, with rounds that only pretend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.engine.checkpoint import load_checkpoint
from napari_unet_seg.engine.events import StepDone, ValidationDone
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_process import RoundError
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError, ReadOnlyError
from napari_unet_seg.loading import find_own_model
from napari_unet_seg.model_cache import ModelCache
from napari_unet_seg.widgets.adaptations import adaptation_name, is_adaptation_name
from napari_unet_seg.widgets.correct_panel import CorrectionBoard
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.model_names import models_to_choose_from
from napari_unet_seg.widgets.retrain_board import RetrainBoard, RetrainSettings
from napari_unet_seg.working_mask import SliceState
from tests.engine.models import save_small
from tests.fakes import (
    FakeCase,
    FakeDataset,
    FakeRound,
    FakeSegmenter,
    FakeVersion,
    FakeVersions,
    fake_dataset,
    round_report,
    round_started,
)

Settle = Callable[[], None]


@pytest.fixture
def corrected(segmented: UNetDock, viewer: ViewerModel, settle: Settle) -> UNetDock:
    """With slice 2 of case "one" corrected and saved."""
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.saver.save()
    settle()
    return segmented


def own_model(dataset: FakeDataset, case: str = "one") -> str:
    return adaptation_name(case, image_hash(dataset[case].volume))


def press(dock: UNetDock, name: str) -> None:
    button = getattr(dock.retrain_panel, f"_{name}")
    assert button.isEnabled()
    button.click()


def choose_model_scope(dock: UNetDock) -> None:
    dock.retrain_panel._model.setChecked(True)


def test_the_panel_counts_what_is_saved(corrected: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    assert corrected.retrain_panel.board() == RetrainBoard(open=True, case="one", scan_slices=1, slices=1, cases=1)
    corrected.loader.open_case("two")
    settle()
    board = corrected.retrain_panel.board()
    assert (board.case, board.scan_slices, board.slices, board.cases) == ("two", 0, 1, 1)
    assert not corrected.retrain_panel._start.isEnabled()
    choose_model_scope(corrected)
    assert corrected.retrain_panel._start.isEnabled()


@pytest.mark.parametrize("labelled", [True, False])
def test_it_knows_whether_another_scan_can_check_a_round(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle, labelled: bool
) -> None:
    for case in dataset.cases:
        if case.case_id != "one":
            case.mask = np.zeros(case.volume.shape, np.uint8) if labelled else None
    segmented.loader.open_path(Path("scans"))
    settle()
    segmented.loader.open_case("one")
    settle()
    segmented.runner.segment()
    settle()
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.saver.save()
    settle()
    assert segmented.retrain_panel.board().alone != labelled


def test_a_round_for_the_scan_asks_for_what_is_shown(
    corrected: UNetDock, dataset: FakeDataset, rounds: FakeRound, qtbot: QtBot
) -> None:
    corrected.retrain_panel._seconds.setValue(30)
    press(corrected, "start")
    qtbot.waitUntil(lambda: bool(rounds.requests))
    request = rounds.requests[0]
    assert (request.dataset, request.overlay, request.model) == (Path("scans"), None, "default")
    assert (request.name, request.scope, request.case, request.seconds) == (own_model(dataset), "scan", "one", 30)
    rounds.finish(promoted=False)


def test_events_draw_the_curves(corrected: UNetDock, rounds: FakeRound, qtbot: QtBot) -> None:
    press(corrected, "start")
    panel = corrected.retrain_panel
    rounds.tell(
        round_started(),
        ValidationDone(step=0, dice=0.7, before=0.7, elapsed=0.1),
        *(StepDone(step=step, steps=100, loss=1 / step, elapsed=step / 10) for step in range(1, 11)),
        ValidationDone(step=10, dice=0.75, before=0.7, elapsed=1.1),
    )
    qtbot.waitUntil(lambda: panel.plot is not None and len(panel.plot.value()[0]) == 2, timeout=5000)
    dice, loss = panel.plot.value()
    assert dice == [(0.1, 0.7), (1.1, 0.75)]
    assert (loss[0], len(loss)) == ((0.1, 1.0), 10)
    assert panel._round.scores() == ("Dice 0.750, before 0.700", "10 steps")
    assert "s left" in panel._round.stage()
    assert not panel._start.isEnabled()
    rounds.finish(promoted=False)
    qtbot.waitUntil(lambda: panel._start.isEnabled())


def test_what_a_round_tells_at_its_very_end_is_drawn(
    corrected: UNetDock, rounds: FakeRound, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrected.retrain.runner._timer, "start", lambda: None)
    press(corrected, "start")
    rounds.tell(round_started(), ValidationDone(step=1, dice=0.7, before=0.6, elapsed=0.1))
    rounds.finish(promoted=False, reason="no gain")
    settle()
    panel = corrected.retrain_panel
    assert panel.plot is not None
    assert panel.plot.value()[0] == [(0.1, 0.7)]
    assert panel.verdict() == "Not promoted: no gain."
    assert panel._start.isEnabled()


@pytest.mark.parametrize("scope", ["scan", "model"])
def test_what_came_of_a_round_for_a_scan_is_not_told_of_another(
    corrected: UNetDock, rounds: FakeRound, settle: Settle, scope: str
) -> None:
    panel = corrected.retrain_panel
    panel.setValue(RetrainSettings(scope=scope, name="mine"))
    press(corrected, "start")
    rounds.tell(round_started(), ValidationDone(step=1, dice=0.7, before=0.6, elapsed=0.1))
    rounds.finish(promoted=False, reason="no gain")
    settle()
    corrected.loader.open_case("two")
    settle()
    assert corrected.session.case.case_id == "two"
    told = scope == "model"
    assert bool(panel.verdict()) is told
    assert bool(panel.outcome()) is told
    assert panel._round.isHidden() is not told


def test_a_promoted_round_for_the_scan_segments_it_again(
    corrected: UNetDock,
    dataset: FakeDataset,
    rounds: FakeRound,
    segmenter: FakeSegmenter,
    viewer: ViewerModel,
    settle: Settle,
    adaptations: dict[str, str],
) -> None:
    painted = viewer.layers["Segmentation"].data[2].copy()
    calls = len(segmenter.calls)
    press(corrected, "start")
    rounds.finish(reason="it got better")
    settle()
    assert corrected.retrain_panel.verdict() == "Promoted: it got better."
    assert corrected.retrain_panel.outcome()[0] == ("Corrected", "0.700", "0.800", "+0.100")
    assert len(segmenter.calls) == calls + 1
    assert corrected.session.work.model == own_model(dataset)
    assert (viewer.layers["Segmentation"].data[2] == painted).all()
    assert "by the model adapted to this scan" in corrected.status.value()
    assert not corrected.segment_panel._adapted.isHidden()
    # The chosen model is what it was, and what other cases are segmented with.
    assert corrected.runner.chosen_model == "default"
    adaptations[image_hash(dataset["one"].volume)] = own_model(dataset)
    corrected.loader.open_case("two")
    settle()
    assert (corrected.runner.model(), corrected.segment_panel._adapted.isHidden()) == ("default", True)
    corrected.loader.open_case("one")
    settle()
    assert corrected.runner.model() == own_model(dataset)


def test_the_plain_model_is_a_click_away(
    opened: UNetDock, dataset: FakeDataset, adaptations: dict[str, str], settle: Settle
) -> None:
    adaptations[image_hash(dataset["one"].volume)] = "one-adapted"
    opened.loader.open_case("one")
    settle()
    opened.segment_panel._segment.click()
    settle()
    assert opened.session.work.model == "one-adapted"
    opened.segment_panel._adapted.click()
    settle()
    assert opened.session.work.model == "default"
    opened.segment_panel._adapted.click()
    settle()
    assert opened.session.work.model == "one-adapted"


@pytest.mark.parametrize("at_once", [True, False])
def test_an_adapted_model_leaves_out_the_pieces_that_it_was_made_to(
    opened: UNetDock,
    dataset: FakeDataset,
    adaptations: dict[str, str],
    settle: Settle,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
    at_once: bool,
) -> None:
    if not at_once:
        # As on a large volume, of which another thread works out the mask.
        monkeypatch.setattr("napari_unet_seg.widgets.rule_follower._AT_ONCE", {False: 0, True: 0})
    flair = dataset["one"].volume.data[1]
    flair[:] = 0
    flair[2, 4:14, 4:14] = flair[4, 20:24, 20:30] = 255
    plain, adapted = FakeSegmenter(), FakeSegmenter()
    plain.description = replace(plain.description, min_fraction=0.25)
    adapted.description = replace(plain.description, min_fraction=0.5)
    opened.session.models = ModelCache({"default": plain, "one-adapted": adapted}.__getitem__)
    adaptations[image_hash(dataset["one"].volume)] = "one-adapted"
    opened.runner.load_model("default")
    opened.loader.open_case("one")
    settle()
    opened.segment_panel._segment.click()
    settle()
    mask = opened.session.work.mask.data
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2]
    opened.segment_panel._threshold.setValue(0.4)
    qtbot.waitUntil(lambda: not opened.rule._timer.isActive())
    settle()
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2]
    opened.segment_panel._adapted.click()
    settle()
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [2, 4]


def test_an_adaptation_is_for_its_own_images_alone(
    opened: UNetDock, viewer: ViewerModel, dataset: FakeDataset, adaptations: dict[str, str], settle: Settle
) -> None:
    adaptations[image_hash(dataset["one"].volume)] = "one-adapted"
    opened.loader.open_case("one")
    settle()
    other = viewer.add_image(dataset["two"].volume.data[1], name="another flair")
    opened.roles.prefer([other])
    assert opened.runner.model() == "default"


def test_a_round_that_is_not_promoted_changes_nothing(
    corrected: UNetDock, rounds: FakeRound, segmenter: FakeSegmenter, settle: Settle
) -> None:
    calls = len(segmenter.calls)
    press(corrected, "start")
    rounds.finish(promoted=False, reason="other cases fell")
    settle()
    assert corrected.retrain_panel.verdict() == "Not promoted: other cases fell."
    assert (len(segmenter.calls), corrected.runner.model()) == (calls, "default")


def test_a_promoted_model_is_chosen_and_segments_again(
    corrected: UNetDock, rounds: FakeRound, segmenter: FakeSegmenter, settle: Settle, qtbot: QtBot
) -> None:
    choose_model_scope(corrected)
    assert corrected.retrain_panel.value().name == "default-tuned"
    corrected.retrain_panel._name.setText("mine")
    calls = len(segmenter.calls)
    press(corrected, "start")
    rounds.finish(scope="model")
    settle()
    request = rounds.requests[0]
    assert (request.name, request.scope, request.case) == ("mine", "model", None)
    assert len(segmenter.calls) == calls + 1
    assert corrected.session.work.model == "mine"
    assert (corrected.segment_panel.value().model, corrected.runner.chosen_model) == ("mine", "mine")


def test_a_promoted_model_does_not_take_the_place_of_an_adaptation_untold(
    corrected: UNetDock, rounds: FakeRound, settle: Settle
) -> None:
    press(corrected, "start")
    rounds.finish()
    settle()
    own = corrected.runner.model()
    choose_model_scope(corrected)
    press(corrected, "start")
    rounds.finish(scope="model", reason="it got better")
    settle()
    assert corrected.runner.model() == own
    told = "Promoted: it got better. This scan is still segmented by the model adapted to it."
    assert corrected.retrain_panel.verdict() == told


def test_a_promoted_model_segments_what_the_one_before_has_segmented_when_it_is_opened(
    corrected: UNetDock, rounds: FakeRound, segmenter: FakeSegmenter, dataset: FakeDataset, settle: Settle
) -> None:
    corrected.loader.open_case("two")
    settle()
    choose_model_scope(corrected)
    press(corrected, "start")
    rounds.finish(scope="model")
    settle()
    calls = len(segmenter.calls)
    corrected.loader.open_case("one")
    settle()
    assert corrected.session.work.model == corrected.runner.chosen_model == "default-tuned"
    np.testing.assert_array_equal(corrected.session.work.mask.data[2], dataset["one"].corrected[2])
    # Once; and "two" was not segmented before.
    for case in ("two", "one"):
        corrected.loader.open_case(case)
        settle()
    assert len(segmenter.calls) == calls + 1


def test_it_says_what_segments_after_a_version_was_brought_back(
    corrected: UNetDock, rounds: FakeRound, versions: FakeVersions, settle: Settle
) -> None:
    said: list[str] = []
    corrected.retrain.said.connect(said.append)
    versions.found = [FakeVersion(0, scope="model"), FakeVersion(1, current=True)]
    press(corrected, "start")
    rounds.finish()
    settle()
    choose_model_scope(corrected)
    settle()
    corrected.retrain.restore(0)
    settle()
    still = "This scan is still segmented by the model adapted to it."
    assert said[-1] == f"Version 0 of default-tuned is in use. {still}"
    corrected.retrain_panel._scan.setChecked(True)
    settle()
    corrected.retrain.restore(0)
    settle()
    # That is none of the scan's own versions, whatever they began with.
    assert said[-1] == "This scan is segmented by default-tuned again, the model for all scans."


def test_a_model_round_goes_on_from_the_line_that_is_there(
    corrected: UNetDock, rounds: FakeRound, own_registry: Path, settle: Settle
) -> None:
    line = own_registry / "models" / "default-tuned.safetensors"
    line.parent.mkdir()
    line.touch()
    choose_model_scope(corrected)
    settle()
    assert corrected.runner.chosen_model == "default"
    assert corrected.retrain_panel._origin.text().startswith("Goes on from default-tuned;")
    press(corrected, "start")
    rounds.finish(scope="model", promoted=False)
    settle()
    corrected.retrain_panel._name.setText("mine")
    settle()
    assert corrected.retrain_panel._origin.text().startswith("Begins with default,")
    press(corrected, "start")
    rounds.finish(scope="model", promoted=False)
    settle()
    assert [(request.name, request.model) for request in rounds.requests] == [
        ("default-tuned", "default-tuned"),
        ("mine", "default"),
    ]


def test_the_threshold_may_be_moved_while_a_promoted_model_loads(corrected: UNetDock, settle: Settle) -> None:
    corrected.runner.load_model("mine")
    assert corrected.segment_panel.value().model == "mine"
    corrected.segment_panel._threshold.setValue(0.3)
    settle()
    assert (corrected.segment_panel.value().model, corrected.runner.chosen_model) == ("mine", "mine")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RoundError("the training process was ended from outside (signal 9)"), "ended from outside (signal 9)"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (InputError("there is no dataset any more"), "there is no dataset any more"),
    ],
)
def test_a_failed_round_is_one_line_and_the_next_can_start(
    corrected: UNetDock, rounds: FakeRound, settle: Settle, error: Exception, text: str, caplog: object
) -> None:
    press(corrected, "start")
    rounds.tell(round_started(), error)
    settle()
    verdict = corrected.retrain_panel.verdict()
    assert text in verdict
    assert "\n" not in verdict
    assert corrected.status.is_error
    assert corrected.retrain_panel._round.isHidden() is False
    press(corrected, "start")
    rounds.finish()
    settle()
    assert corrected.retrain_panel.verdict().startswith("Promoted")
    assert rounds.running == 0


def test_stopping_keeps_the_best_so_far(corrected: UNetDock, rounds: FakeRound, settle: Settle, qtbot: QtBot) -> None:
    rounds.on_stop = round_report(stopped=True, reason="better already")
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    press(corrected, "stop")
    assert not corrected.retrain_panel._stop.isEnabled()
    settle()
    assert corrected.retrain_panel.verdict() == "Promoted: better already."


def test_stopping_before_there_is_anything_is_no_failure(
    corrected: UNetDock, rounds: FakeRound, settle: Settle, qtbot: QtBot
) -> None:
    rounds.nothing_on_stop = True
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    press(corrected, "stop")
    settle()
    assert corrected.retrain_panel.verdict() == "Stopped; the model is as it was."
    assert corrected.status.value() == "Retraining stopped; the model is as it was."
    assert not corrected.status.is_error
    assert corrected.retrain_panel._start.isEnabled()


def test_the_seconds_of_a_round_count_from_the_click(corrected: UNetDock, rounds: FakeRound, qtbot: QtBot) -> None:
    before = time.time()
    press(corrected, "start")
    qtbot.waitUntil(lambda: bool(rounds.requests))
    assert before <= rounds.requests[0].asked <= time.time()
    rounds.finish(promoted=False)


def test_corrections_are_counted_in_the_background_and_only_when_they_change(
    segmented: UNetDock, viewer: ViewerModel, dataset: FakeDataset, settle: Settle
) -> None:
    assert dataset.counted == ["unet-seg-files_0"]
    for name in ("two", "one"):
        segmented.loader.open_case(name)
        settle()
    for z in (2, 3):
        viewer.layers["Segmentation"].paint((z, 5, 5), 1)
        segmented.corrector.value()
    assert segmented.retrain_panel.board().unsaved == 2
    assert len(dataset.counted) == 1
    segmented.saver.save()
    settle()
    assert dataset.counted == ["unet-seg-files_0"] * 2
    assert segmented.retrain_panel.board().slices == 2


def test_another_dataset_is_counted_anew(corrected: UNetDock, dataset: FakeDataset, settle: Settle) -> None:
    other = fake_dataset()
    corrected.session.use_overlay(other)  # type: ignore[arg-type]
    corrected.corrector.valueChanged.emit(CorrectionBoard(states=(SliceState.EDITED,)))
    settle()
    assert other.counted == ["unet-seg-files_0"]
    assert corrected.retrain_panel.board().slices == 0


def test_a_log_that_cannot_be_read_is_told_and_breaks_nothing(
    dock: UNetDock, dataset: FakeDataset, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(case: FakeCase) -> list[int]:
        raise InputError("cannot be opened (permission denied)", path="corrections.jsonl")

    dataset.log_error = InputError("cannot be opened (permission denied)", path="corrections.jsonl")
    monkeypatch.setattr(FakeCase, "corrected_slices", unreadable)
    dock.loader.open_path(Path("scans"))
    settle()
    assert dock.status.value() == "corrections.jsonl: cannot be opened (permission denied)"
    assert dock.status.is_error
    assert dock.data_panel.rows()[0].state == ("corrections unreadable",)
    assert dock.retrain_panel.board() == RetrainBoard(open=True)


def test_unsaved_slices_are_told_of_and_saved_first(
    segmented: UNetDock, viewer: ViewerModel, rounds: FakeRound, dataset: FakeDataset, qtbot: QtBot, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.corrector.value()
    panel = segmented.retrain_panel
    assert panel._hint.text() == "1 unsaved slice is not learned from; save it first."
    assert not panel._start.isEnabled()
    press(segmented, "save_and_start")
    qtbot.waitUntil(lambda: rounds.running == 1, timeout=5000)
    assert dataset["one"].corrected_slices() == [2]
    assert panel._save_and_start.isHidden()
    rounds.finish(promoted=False)
    settle()
    assert panel._hint.isHidden()


def test_what_cannot_be_saved_is_not_learned_from(
    segmented: UNetDock, viewer: ViewerModel, rounds: FakeRound, dataset: FakeDataset, settle: Settle
) -> None:
    dataset.error = ReadOnlyError("this dataset is read-only")
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.corrector.value()
    press(segmented, "save_and_start")
    settle()
    assert "read-only" in segmented.status.value()
    assert rounds.requests == []
    # The next save is one like any other.
    dataset.error = None
    segmented.saver.save()
    settle()
    assert rounds.requests == []


def test_a_round_waits_for_its_own_save_alone(
    segmented: UNetDock, viewer: ViewerModel, rounds: FakeRound, dataset: FakeDataset, settle: Settle
) -> None:
    layer = viewer.layers["Segmentation"]
    layer.paint((2, 5, 5), 1)
    segmented.saver.save()
    # What is painted now is not in that save.
    layer.paint((3, 5, 5), 1)
    segmented.retrain.save_and_start()
    assert "press again" in segmented.status.value()
    settle()
    assert (dataset["one"].corrected_slices(), rounds.requests) == ([2], [])
    segmented.retrain.save_and_start()
    rounds.finish(promoted=False)
    settle()
    assert (dataset["one"].corrected_slices(), len(rounds.requests)) == ([2, 3], 1)


def test_a_round_that_waits_for_a_save_is_forgotten_with_its_case(
    segmented: UNetDock, viewer: ViewerModel, rounds: FakeRound, dataset: FakeDataset, settle: Settle
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    segmented.retrain.save_and_start()
    segmented.session.close_case()
    settle()
    assert dataset["one"].corrected_slices() == [2]
    segmented.loader.open_case("one")
    settle()
    viewer.layers["Segmentation"].paint((3, 5, 5), 1)
    segmented.saver.save()
    settle()
    assert rounds.requests == []


def test_a_save_that_writes_nothing_leaves_no_round_waiting(
    segmented: UNetDock,
    viewer: ViewerModel,
    rounds: FakeRound,
    settle: Settle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer.layers["Segmentation"].paint((2, 5, 5), 1)
    with monkeypatch.context() as patched:
        patched.setattr(segmented.saver, "save", lambda: None)
        segmented.retrain.save_and_start()
    segmented.saver.save()
    settle()
    assert rounds.requests == []


def test_a_case_corrected_meanwhile_counts_afterwards(
    corrected: UNetDock, viewer: ViewerModel, rounds: FakeRound, qtbot: QtBot, settle: Settle
) -> None:
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    viewer.layers["Segmentation"].paint((3, 5, 5), 1)
    corrected.saver.save()
    qtbot.waitUntil(lambda: corrected.retrain_panel.board().scan_slices == 2, timeout=5000)
    rounds.finish(promoted=False)
    settle()
    assert corrected.retrain_panel._start.isEnabled()


def test_a_scan_that_was_left_is_segmented_again_when_it_comes_back(
    corrected: UNetDock, rounds: FakeRound, dataset: FakeDataset, qtbot: QtBot, settle: Settle
) -> None:
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    corrected.loader.open_case("two")
    qtbot.waitUntil(lambda: corrected.session.case is not None and corrected.session.case.case_id == "two")
    rounds.finish(reason="it got better")
    settle()
    assert corrected.retrain_panel.verdict() == "Promoted for one: it got better."
    assert corrected.status.value() == "Retraining: Promoted for one: it got better."
    assert corrected.runner.model() == "default"
    corrected.loader.open_case("one")
    settle()
    assert corrected.session.work.model == own_model(dataset)


def test_versions_are_listed_and_brought_back(
    corrected: UNetDock,
    versions: FakeVersions,
    rounds: FakeRound,
    segmenter: FakeSegmenter,
    dataset: FakeDataset,
    settle: Settle,
) -> None:
    original = FakeVersion(0, scope="model", before=None, after=None)
    versions.found = [original, FakeVersion(1), FakeVersion(2, current=True)]
    press(corrected, "start")
    rounds.finish()
    settle()
    table = corrected.retrain_panel.versions
    assert [row[0] for row in table.texts()] == ["2", "1", "0"]
    assert [row[-1] for row in table.texts()] == ["in use", "promoted", "original"]
    assert versions.names[-1] == own_model(dataset)
    assert not table._use.isEnabled()
    table._table.selectRow(1)
    table._use.click()
    settle()
    assert [version.current for version in versions.found] == [False, True, False]
    assert [row[-1] for row in table.texts()] == ["promoted", "in use", "original"]
    assert corrected.session.work.model == own_model(dataset)
    table._table.selectRow(2)
    table._use.click()
    settle()
    # As it was before the scan had a model of its own.
    assert (corrected.runner.model(), corrected.session.work.model) == ("default", "default")
    assert len(table.texts()) == 3


def test_a_model_of_the_scan_s_own_can_be_brought_back_whatever_its_name(
    opened: UNetDock, dataset: FakeDataset, tmp_path: Path, settle: Settle
) -> None:
    image, line = image_hash(dataset["one"].volume), VersionLine("mine", registry=Registry())
    line.begin(save_small(tmp_path / "parent.safetensors"))
    network, description = load_checkpoint(line.path)
    training = {"scope": "scan", "image_hash": image, "round": {"promoted": True}}
    line.add(network, replace(description, name="mine", training=training), promoted=True)
    opened.session.reader._find_own_model = find_own_model
    opened.retrain._versions = lambda name: VersionLine(name, registry=Registry())
    table = opened.retrain_panel.versions

    def open_again() -> list[str]:
        for case in ("two", "one"):
            opened.loader.open_case(case)
            settle()
        return [row[-1] for row in table.texts()]

    assert open_again() == ["in use", "original"]
    table._table.selectRow(1)
    table._use.click()
    settle()
    assert open_again() == ["promoted", "in use"]
    assert (opened.runner.model(), "mine" in models_to_choose_from()) == ("default", False)
    table._table.selectRow(0)
    table._use.click()
    settle()
    assert opened.runner.model() == "mine"


def test_versions_follow_the_name(corrected: UNetDock, versions: FakeVersions, settle: Settle) -> None:
    choose_model_scope(corrected)
    settle()
    assert versions.names[-1] == "default-tuned"
    corrected.retrain_panel._name.setText("mine")
    settle()
    assert versions.names[-1] == "mine"


@pytest.mark.parametrize(
    ("name", "why"), [("default", "comes with the package"), ("a/b", "cannot be"), ("..", "cannot be")]
)
def test_a_name_that_a_round_would_refuse_starts_none(corrected: UNetDock, settle: Settle, name: str, why: str) -> None:
    corrected.retrain._versions = lambda line: VersionLine(line, registry=Registry())
    choose_model_scope(corrected)
    panel = corrected.retrain_panel
    panel._name.setText(name)
    settle()
    assert why in panel._origin.text()
    assert not panel._start.isEnabled()
    panel._name.setText("mine")
    settle()
    assert panel._origin.text().startswith("Begins with default,")
    assert panel._start.isEnabled()


def test_nothing_is_brought_back_while_a_round_runs(
    corrected: UNetDock, versions: FakeVersions, rounds: FakeRound, qtbot: QtBot, settle: Settle
) -> None:
    versions.found = [FakeVersion(0), FakeVersion(1, current=True)]
    corrected.retrain.restore(0)
    settle()
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    corrected.retrain.restore(1)
    assert not corrected.retrain_panel.versions._use.isEnabled()
    rounds.finish(promoted=False)
    settle()
    assert [version.current for version in versions.found] == [True, False]


def test_closing_ends_a_round_at_once(corrected: UNetDock, rounds: FakeRound, qtbot: QtBot) -> None:
    press(corrected, "start")
    rounds.tell(round_started())
    qtbot.waitUntil(lambda: rounds.running == 1)
    corrected.shutdown()
    assert rounds.running == 0
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("unet-seg")] == []


def test_closing_ends_a_round_that_is_stopping(corrected: UNetDock, rounds: FakeRound, qtbot: QtBot) -> None:
    press(corrected, "start")
    qtbot.waitUntil(lambda: rounds.running == 1)
    press(corrected, "stop")
    corrected.shutdown()
    assert rounds.running == 0


@pytest.mark.parametrize("case", ["one", "a case/of 2 words", "…", "x" * 300])
def test_an_adaptation_s_name_is_a_file_s_name(case: str) -> None:
    name = adaptation_name(case, "0123456789abcdef" * 4)
    assert is_adaptation_name(name)
    assert len(name) < 100
    assert name[0].isalnum()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert not is_adaptation_name("my-scan-model")
