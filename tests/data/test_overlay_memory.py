from pathlib import Path

import pytest

from napari_unet_seg.data import overlay_memory
from napari_unet_seg.data.model_files import user_folder
from napari_unet_seg.data.overlay_memory import remember_overlay, remembered_overlay


def test_the_folder_chosen_last_is_remembered_as_long_as_it_is_there(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        remember_overlay(tmp_path / "scans", tmp_path / name)
    remember_overlay(tmp_path / "others", tmp_path / "first")
    assert remembered_overlay(tmp_path / "scans") == tmp_path / "second"
    assert remembered_overlay(tmp_path / "others") == tmp_path / "first"
    assert remembered_overlay(tmp_path) is None
    (tmp_path / "second").rmdir()
    assert remembered_overlay(tmp_path / "scans") is None


def test_what_was_chosen_for_longest_ago_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_memory, "_MOST", 2)
    for name in "abac":
        remember_overlay(tmp_path / name, tmp_path)
    assert [remembered_overlay(tmp_path / name) for name in "abc"] == [tmp_path, None, tmp_path]


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    user_folder().mkdir(parents=True, exist_ok=True)
    (user_folder() / "overlays.json").write_bytes(content)
    assert remembered_overlay(tmp_path) is None
    remember_overlay(tmp_path, tmp_path)
    assert remembered_overlay(tmp_path) == tmp_path
