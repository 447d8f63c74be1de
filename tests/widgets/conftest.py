"""A dock on a viewer without a window: fast, and enough for all but drawing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet_seg.session import Session
from napari_unet_seg.widgets.dock import UNetDock
from napari_unet_seg.widgets.leaving import Answer
from tests.fakes import FakeDataset, FakeRound, FakeSegmenter, FakeSuggestion, FakeVersions, fake_dataset


@pytest.fixture(autouse=True)
def no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question would wait for an answer for ever; tests of the question answer it themselves."""
    monkeypatch.setattr("napari_unet_seg.widgets.dock.ask_about_edits", lambda parent, text: Answer.DISCARD)


@pytest.fixture
def segmenter() -> FakeSegmenter:
    return FakeSegmenter()


@pytest.fixture
def dataset() -> FakeDataset:
    return fake_dataset()


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def rounds() -> FakeRound:
    return FakeRound()


@pytest.fixture
def versions() -> FakeVersions:
    return FakeVersions()


@pytest.fixture
def suggestions() -> list[FakeSuggestion]:
    """What `suggest_slices` says, whatever it is asked."""
    return []


@pytest.fixture
def adaptations() -> dict[str, str]:
    """Hash of an image to the model adapted to it."""
    return {}


@pytest.fixture
def dock(
    qtbot: QtBot,
    viewer: ViewerModel,
    segmenter: FakeSegmenter,
    dataset: FakeDataset,
    rounds: FakeRound,
    versions: FakeVersions,
    suggestions: list[FakeSuggestion],
    adaptations: dict[str, str],
) -> Iterator[UNetDock]:
    session = Session(
        open_dataset=lambda path: dataset, load_model=lambda name: segmenter, find_adaptation=adaptations.get
    )
    dock = UNetDock(
        viewer,
        session=session,
        list_models=lambda: ["default", "other"],
        run_round=rounds,
        versions=versions,
        suggest=lambda *arguments, **options: suggestions,
    )
    qtbot.addWidget(dock)
    yield dock
    dock.shutdown()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("unet-seg")] == []


@pytest.fixture
def settle(qtbot: QtBot, dock: UNetDock) -> Callable[[], None]:
    """Waits until nothing runs in the background any more."""

    def wait() -> None:
        qtbot.waitUntil(lambda: dock.session.segmenter is not None and not dock.busy(), timeout=10_000)

    return wait


@pytest.fixture
def opened(dock: UNetDock, settle: Callable[[], None]) -> UNetDock:
    """With case "one" open."""
    dock.loader.open_path(Path("scans"))
    settle()
    dock.loader.open_case("one")
    settle()
    return dock


@pytest.fixture
def segmented(opened: UNetDock, settle: Callable[[], None]) -> UNetDock:
    """With case "one" segmented."""
    opened.runner.segment()
    settle()
    return opened
