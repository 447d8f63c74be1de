"""Fixtures for every test."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL_DATA = Path(os.environ.get("REAL_DATA", BESIDE))


@pytest.fixture(autouse=True)
def own_registry(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of the test's own, so that no test sees or touches the user's models."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NAPARI_UNET_SEG_HOME", str(home))
    return home


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on a single thread: the tests' networks are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def lgg() -> Path:
    """The packed real patients, where they are."""
    folder = REAL_DATA / "lgg"
    if not folder.is_dir():
        pytest.skip("the real scans are not here")
    return folder


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Have the system refuse to list a folder, as it does to everybody but its administrator."""
    scandir = os.scandir

    def forbid(folder: Path) -> Path:
        def listed(path: str | Path = ".") -> Iterator[os.DirEntry[str]]:
            if os.fspath(path) == os.fspath(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
            return scandir(path)

        monkeypatch.setattr("os.scandir", listed)
        return folder

    return forbid
