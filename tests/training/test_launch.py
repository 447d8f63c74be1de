"""The processes that a run is shared out among."""

from __future__ import annotations

import os

import pytest

from training.launch import default_threads


def test_threads_are_those_of_the_cores_that_a_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SLURM gives each task eight cores of a machine of 128, it is not to start 128 threads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert default_threads() == 8
    # Those of torchrun share them.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_threads() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert default_threads() == 1
