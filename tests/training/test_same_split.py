"""A checkpoint is scored by its own split alone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.checkpoint import load_checkpoint, read_description, save_checkpoint
from napari_unet_seg.errors import InputError
from tests.training.tiny_run import tiny
from tests.training.untrained import untrained
from training import reproduce
from training.recipe import Recipe, SplitConfig
from training.report.reproduction import evaluate_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=6, slices=4, size=32)


def recipe(kind: str) -> Recipe:
    return dataclasses.replace(tiny(), split=SplitConfig(kind=kind, train=0.5, validation=0.25, test=0.25), epochs=1)


def add_patient(data: Path, name: str) -> None:
    source = sorted(data.iterdir())[0]
    (data / name).mkdir()
    for file in source.iterdir():
        shutil.copyfile(file, data / name / file.name.replace(source.name, name))


@pytest.mark.parametrize("kind", ["patients", "slices"])
def test_a_dataset_that_has_grown_is_refused(
    tmp_path: Path, data: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A patient more, and patients that trained would be drawn for the test."""
    monkeypatch.setattr(reproduce, "RECIPES", {"tiny": lambda: recipe(kind)})
    monkeypatch.setattr(reproduce, "SEEDS", ("tiny",))
    arguments = ["--data", str(data), "--output", str(tmp_path / "out"), "--recipes", "tiny", "--device", "cpu"]
    assert reproduce.main([*arguments, "--threads", "1"]) == 0
    assert reproduce.main([*arguments, "--threads", "1", "--evaluate"]) == 0
    add_patient(data, "TCGA_AA_0000_20000101")
    capsys.readouterr()
    assert reproduce.main([*arguments, "--threads", "1", "--evaluate"]) == 2
    told = capsys.readouterr().err
    assert "by the split of these data; give the dataset as it was, or train again" in told
    assert told.count("\n") == 1


def test_a_slice_more_with_a_mask_is_refused_where_slices_are_split(tmp_path: Path, data: Path) -> None:
    """The cases and their pixels are the same: an empty mask and none at all are alike there."""
    empty = next(file for file in sorted(data.rglob("*_mask.tif")) if not tifffile.imread(file).any())
    kept = empty.read_bytes()
    empty.unlink()
    one = recipe("slices")
    checkpoint = untrained(tmp_path / "m.safetensors", one, data=data)
    evaluate_recipe(one, checkpoint, data=data, device="cpu")
    empty.write_bytes(kept)
    with pytest.raises(InputError, match=r"m\.safetensors: other slices have a mask now"):
        evaluate_recipe(one, checkpoint, data=data, device="cpu")


def test_other_pixels_under_the_same_names_are_refused(tmp_path: Path, data: Path) -> None:
    one = recipe("patients")
    checkpoint = untrained(tmp_path / "m.safetensors", one, data=data)
    case = open_dataset(data)[read_description(checkpoint).training["cases"][0]]
    mask = next(file for file in sorted((data / case.case_id).glob("*_mask.tif")) if tifffile.imread(file).any())
    tifffile.imwrite(mask, np.zeros((32, 32), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="images or masks are others"):
        evaluate_recipe(one, checkpoint, data=data, device="cpu")


def test_a_header_that_names_no_cases_is_refused(tmp_path: Path, data: Path) -> None:
    one = recipe("patients")
    checkpoint = untrained(tmp_path / "m.safetensors", one, data=data)
    network, description = load_checkpoint(checkpoint)
    save_checkpoint(checkpoint, network, dataclasses.replace(description, training={}))
    with pytest.raises(InputError, match="does not say what it was trained on"):
        evaluate_recipe(one, checkpoint, data=data, device="cpu")
