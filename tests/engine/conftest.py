"""Fixtures for tests of the engine."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import psutil
import pytest


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
