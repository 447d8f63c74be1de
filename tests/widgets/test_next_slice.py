"""Going to the slice that is most worth correcting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.next_slice import NO_PREDICTION, NOTHING_LEFT
from tests.fakes import FakeSuggestion

Settle = Callable[[], None]


@pytest.fixture
def asked(dock: UNetDock, suggestions: list[FakeSuggestion]) -> list[dict[str, object]]:
    """What the ranking was asked with."""
    asked: list[dict[str, object]] = []

    def suggest(volume: object, probability: object, **options: object) -> list[FakeSuggestion]:
        asked.append({"volume": volume, "probability": probability, **options})
        return suggestions

    dock.next._suggest = suggest
    return asked


@pytest.fixture
def three(suggestions: list[FakeSuggestion]) -> None:
    """Slices 4, 1 and 2 are suggested; before anything is segmented, as the ranking does not wait long."""
    suggestions += [FakeSuggestion(4, "the mask jumps"), FakeSuggestion(1, "unsure"), FakeSuggestion(2, "bright FLAIR")]


@pytest.fixture
def ranked(
    asked: list[dict[str, object]],
    three: None,
    segmented: UNetDock,
    viewer: ViewerModel,
    qtbot: QtBot,
) -> UNetDock:
    """With slices 4, 1 and 2 suggested, and slice 0 in view."""
    viewer.dims.set_current_step(0, 0)
    qtbot.waitUntil(lambda: not segmented.next.busy() and bool(asked), timeout=10_000)
    return segmented


def shown(viewer: ViewerModel) -> int:
    return int(viewer.dims.current_step[0])


def test_the_ranking_gets_what_is_known(
    ranked: UNetDock, asked: list[dict[str, object]], viewer: ViewerModel, qtbot: QtBot
) -> None:
    viewer.layers["Segmentation"].paint((3, 5, 5), 1)
    ranked.saver.save()
    qtbot.waitUntil(lambda: len(asked) >= 2 and not ranked.next.busy(), timeout=10_000)
    last = asked[-1]
    assert last["case"] == "one"
    assert last["corrected"] == [3]
    assert last["threshold"] == 0.5
    assert last["volume"].channel_names[last["flair"]] == "flair"
    np.testing.assert_array_equal(last["mask"], viewer.layers["Segmentation"].data)
    assert last["probability"].shape == (6, 32, 32)


def test_the_worst_slice_and_its_reason_are_shown(ranked: UNetDock, viewer: ViewerModel) -> None:
    assert ranked.correct_panel.suggestion() == "Slice 4: the mask jumps"
    ranked.correct_panel._next.click()
    assert shown(viewer) == 4
    assert ranked.correct_panel.suggestion() == "Slice 4: the mask jumps"


def test_a_corrected_slice_is_not_suggested_again(ranked: UNetDock, viewer: ViewerModel) -> None:
    ranked.correct_panel._next.click()
    ranked.corrector.accept()
    assert ranked.correct_panel.suggestion() == "Slice 1: unsure"
    ranked.corrector.accept()
    assert ranked.correct_panel.suggestion() == "Slice 4: the mask jumps"
    ranked.corrector.accept()
    visited = []
    for _ in range(2):
        ranked.correct_panel._next.click()
        visited.append(shown(viewer))
        ranked.corrector.accept()
    assert visited == [1, 2]
    assert ranked.correct_panel.suggestion() == NOTHING_LEFT
    ranked.correct_panel._next.click()
    assert ranked.status.value() == NOTHING_LEFT


def test_a_slice_left_as_it_is_comes_up_after_the_others(ranked: UNetDock, viewer: ViewerModel) -> None:
    visited = []
    for _ in range(5):
        ranked.correct_panel._next.click()
        visited.append(shown(viewer))
    assert visited == [4, 1, 2, 4, 1]


@pytest.mark.filterwarnings("ignore:Contours are not displayed")
@pytest.mark.parametrize("across", [{"ndisplay": 3}, {"order": (1, 0, 2)}])
def test_where_slices_are_not_in_view_none_is_gone_to(
    ranked: UNetDock, viewer: ViewerModel, across: dict[str, object]
) -> None:
    viewer.dims.update(across)
    ranked.correct_panel._next.click()
    assert shown(viewer) == 0
    assert ranked.status.value().startswith("Slices are not in view")


def test_one_slice_alone_stays_in_view(ranked: UNetDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    for z in (1, 2):
        viewer.dims.set_current_step(0, z)
        ranked.corrector.accept()
    for _ in range(2):
        ranked.correct_panel._next.click()
        assert shown(viewer) == 4


def test_without_a_prediction_there_is_nothing_to_rank_by(opened: UNetDock, qtbot: QtBot) -> None:
    opened.corrector.start()
    qtbot.waitUntil(lambda: not opened.next.busy(), timeout=5000)
    opened.correct_panel._next.click()
    assert opened.status.value() == NO_PREDICTION


def test_another_case_forgets_the_suggestions(ranked: UNetDock, settle: Settle) -> None:
    ranked.loader.open_case("three")
    settle()
    assert ranked.correct_panel.suggestion() == ""


def test_the_real_ranking_takes_what_it_is_given(segmented: UNetDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    from napari_unet_seg.engine.suggest import suggest_slices

    segmented.next._suggest = suggest_slices
    viewer.layers["Segmentation"].paint((3, 5, 5), 1)
    segmented.saver.save()
    qtbot.waitUntil(lambda: not segmented.next.busy() and not segmented.busy(), timeout=10_000)
    assert not segmented.status.is_error
    assert 3 not in {suggestion.slice for suggestion in segmented.next._suggestions}
