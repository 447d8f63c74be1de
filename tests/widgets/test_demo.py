"""The demo, with the model and the sample case that are shipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.errors import InputError
from napari_unet_seg.widgets import demo, virtual_screen
from napari_unet_seg.widgets.demo import run_demo


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lacks a screen")
def test_the_sample_is_segmented_without_a_screen(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    picture = tmp_path / "demo.png"
    command = [sys.executable, "-m", "napari_unet_seg", "demo", "--screenshot", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Dice 0." in done.stdout
    assert picture.stat().st_size > 50_000


def test_no_screen_and_no_picture_wanted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "has_screen", lambda: False)
    with pytest.raises(InputError, match="--screenshot FILE"):
        run_demo()


def test_a_missing_xvfb_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "has_screen", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="apt-get install xvfb"):
        run_demo(screenshot=tmp_path / "a.png")


def test_an_xvfb_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    with pytest.raises(InputError, match="did not start"), virtual_screen.virtual_screen():
        pass


def test_a_wrong_path_is_told_before_a_window_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari.Viewer", None)
    with pytest.raises(InputError, match="no such file"):
        run_demo(tmp_path / "missing")
    with pytest.raises(InputError, match="folder of the screenshot"):
        run_demo(screenshot=tmp_path / "missing" / "a.png")
    for name in ("a.xyz", "a.nii.gz", "a"):
        with pytest.raises(InputError, match=rf"{name}: the screenshot is saved as \.png or \.tif"):
            run_demo(screenshot=tmp_path / name)


def test_a_scan_that_cannot_be_read_closes_the_window(tmp_path: Path, qapp: object) -> None:
    root = write_kaggle(tmp_path, patients=1, slices=2, size=16)
    for slice_file in root.glob("*/*_1.tif"):
        slice_file.write_bytes(slice_file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"_1\.tif"):
        run_demo(root, screenshot=tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
