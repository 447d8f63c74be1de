"""A dock on a viewer without a window: fast, and enough for all but drawing; and one in a window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_unet_seg.loading import OwnModel
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
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
def session(segmenter: FakeSegmenter, dataset: FakeDataset, adaptations: dict[str, str]) -> Session:
    return Session(
        open_dataset=lambda path: dataset,
        load_model=lambda name: segmenter,
        find_own_model=lambda image_hash: OwnModel(adaptations[image_hash]) if image_hash in adaptations else None,
    )


@pytest.fixture
def pretended(rounds: FakeRound, versions: FakeVersions, suggestions: list[FakeSuggestion]) -> dict[str, Any]:
    """Options of the dock, in place of what would take long."""
    return {"run_round": rounds, "versions": versions, "suggest": lambda *arguments, **options: suggestions}


@pytest.fixture
def dock(qtbot: QtBot, viewer: ViewerModel, session: Session, pretended: dict[str, Any]) -> Iterator[UNetDock]:
    dock = UNetDock(viewer, session=session, list_models=lambda: ["default", "other"], **pretended)
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


@pytest.fixture
def window(make_napari_viewer: Callable[..., Viewer]) -> Viewer:
    return make_napari_viewer(show=True)


@pytest.fixture
def docked(window: Viewer, session: Session, pretended: dict[str, Any], qtbot: QtBot) -> UNetDock:
    """In a real window."""
    dock = add_dock(window, session=session, **pretended)
    qtbot.waitUntil(lambda: session.segmenter is not None and not dock.busy(), timeout=20_000)
    return dock
