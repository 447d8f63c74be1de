"""Edits of images of no dataset are kept by the image's pixels."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data import loose_edits
from napari_unet_seg.data.loose_edits import LooseEdits
from napari_unet_seg.errors import InputError

SHAPE = (5, 4, 6)


def plane(value: int) -> np.ndarray:
    return np.full(SHAPE[1:], value, np.uint8)


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    edits = LooseEdits(tmp_path / "edits")
    assert edits.read("a", shape=SHAPE) is None
    edits.write("a", {3: plane(1), 1: plane(2)}, shape=SHAPE, name="own")
    edits.write("b", {0: plane(3)}, shape=SHAPE, name="other")
    kept = LooseEdits(tmp_path / "edits").read("a", shape=SHAPE)
    assert kept is not None
    assert kept.slices == (1, 3)
    assert [values.max() for values in kept.planes().values()] == [2, 1]
    assert edits.read("a", shape=(5, 6, 4)) is None
    edits.drop("a")
    edits.drop("a")
    assert edits.read("a", shape=SHAPE) is None
    assert edits.read("b", shape=SHAPE) is not None


def test_it_lies_with_the_users_data(own_registry: Path) -> None:
    LooseEdits().write("a", {0: plane(1)}, shape=SHAPE, name="own")
    assert [path.name for path in (own_registry / "edits").iterdir()] == ["a.npz"]


def test_a_damaged_file_is_told_once_and_not_destroyed(tmp_path: Path) -> None:
    edits = LooseEdits(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"no edits")
    with pytest.raises(InputError, match=r"a\.npz.*damaged"):
        edits.read("a", shape=SHAPE)
    assert edits.read("a", shape=SHAPE) is None
    assert (tmp_path / "a.damaged").read_bytes() == b"no edits"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "edits").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be kept aside.*save the layer"):
        LooseEdits(tmp_path / "edits").write("a", {0: plane(1)}, shape=SHAPE, name="own")


def test_only_the_latest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loose_edits, "_MOST", 2)
    edits = LooseEdits(tmp_path)
    for index, name in enumerate("abc"):
        edits.write(name, {0: plane(1)}, shape=SHAPE, name=name)
        os.utime(tmp_path / f"{name}.npz", (index, index))
    edits.write("d", {0: plane(1)}, shape=SHAPE, name="d")
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["c", "d"]


def test_a_file_that_cannot_be_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = LooseEdits(tmp_path)
    edits.write("a", {0: plane(1)}, shape=SHAPE, name="own")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        patched.setattr("napari_unet_seg.data.packed.read_bytes", lambda path: refuse(path))
        with pytest.raises(InputError):
            edits.read("a", shape=SHAPE)
    assert edits.has("a")
    assert edits.read("a", shape=SHAPE) is not None
