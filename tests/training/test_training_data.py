"""Which slices a run learns from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import InputError
from tests.training.tiny_run import tiny
from training import pack
from training.recipe import Recipe, SplitConfig
from training.recipes import RECIPES
from training.split import make_split
from training.training_data import read_training_data

IGNORED = 3


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten single pictures as nnU-Net has them, each with a tumour of its own size; one mask is "ignore" throughout."""
    root = tmp_path / "pictures"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(10):
        pixels = np.random.default_rng(number).integers(1, 255, (32, 32), np.uint8)
        Image.fromarray(pixels).save(root / "imagesTr" / f"p{number}_0000.png")
        mask = np.zeros((32, 32), np.uint8)
        mask[4, 4 : 5 + number] = 1
        mask[:] = 2 if number == IGNORED else mask
        Image.fromarray(mask).save(root / "labelsTr" / f"p{number}.png")
    described = {
        "channel_names": {"0": "flair"},
        "labels": {"background": 0, "tumour": 1, "ignore": 2},
        "numTraining": 10,
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(described))
    return root


def recipe() -> Recipe:
    split = SplitConfig(kind="patients", train=0.5, validation=0.5, test=0.0)
    return dataclasses.replace(tiny(), channel_names=("flair",), split=split)


@pytest.mark.parametrize("packed", [False, True])
def test_a_case_whose_mask_says_nothing_shifts_nobodys_slices(
    tmp_path: Path, pictures: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pictures
    if packed:
        monkeypatch.setitem(RECIPES, "tiny", recipe)
        assert pack.main(["tiny", "--data", str(pictures), "--output", str(tmp_path / "packed")]) == 0
        data = tmp_path / "packed"
    found = read_training_data(recipe(), data, left_out=(), device=torch.device("cpu"))
    assert found.validation is not None
    assert found.cases == [f"p{number}" for number in range(10) if number != IGNORED]
    assert found.held_out == []
    assert found.patients_assumed == 9
    split = make_split(recipe().split, open_dataset(pictures))
    for part, source in (("train", found.train), ("validation", found.validation)):
        _, masks, _ = source.batch(source.labelled, context=0)
        assert [f"p{int(size) - 1}" for size in masks.sum((1, 2, 3))] == list(split.by_case(part))


def test_a_mask_that_goes_while_the_cases_are_read_is_named(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Case.read_mask
    monkeypatch.setattr(Case, "read_mask", lambda self: None if self.case_id == "p5" else read(self))
    with pytest.raises(InputError, match="case p5 has no mask any more"):
        read_training_data(recipe(), pictures, left_out=(), device=torch.device("cpu"))


def test_pictures_of_named_patients_are_not_assumed_to_be_of_one_each(pictures: Path) -> None:
    for folder, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
        for number in range(10):
            old = pictures / folder / f"p{number}{ending}.png"
            old.rename(pictures / folder / f"patient{number // 2}_slice{number % 2}{ending}.png")
    found = read_training_data(recipe(), pictures, left_out=(), device=torch.device("cpu"))
    assert found.patients_assumed == 0
    assert found.validation is not None
    trained, validated = (
        {number // 2 for number in part.labelled.tolist()} for part in (found.train, found.validation)
    )
    # The ignored one was the second of its patient, so those behind it have moved up by one.
    assert len(trained) + len(validated) >= 5
