"""Fixtures for tests of the engine."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from napari_unet_seg.data.dataset import Dataset, open_dataset
from tests.engine.datasets import write_phantoms


def _held() -> tuple[int, set[int], int]:
    gc.collect()
    process = psutil.Process()
    children = {child.pid for child in process.children(recursive=True)}
    return threading.active_count(), children, process.num_handles() if os.name == "nt" else process.num_fds()


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """No thread, no process (nor a zombie) and no open file outlives the test."""
    before = _held()
    yield
    assert _held() == before


@pytest.fixture
def open_phantoms(tmp_path: Path) -> Callable[..., Dataset]:
    """Makes a dataset with a case for each letter, those in `masks` with their mask."""

    def build(names: str = "a", masks: str = "") -> Dataset:
        return open_dataset(write_phantoms(tmp_path / "data", names, masks=masks))

    return build
