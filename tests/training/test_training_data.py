"""Which slices a run learns from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.prepared_scan import prepare_scan
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.errors import InputError
from tests.training.tiny_run import tiny
from training import pack
from training.recipe import Recipe, SplitConfig
from training.recipes import RECIPES
from training.split import make_split
from training.training_data import read_training_data
from training.validation import Validation

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
    network = dataclasses.replace(tiny().network, in_channels=1)
    return dataclasses.replace(tiny(), network=network, channel_names=("flair",), split=split)


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


def scans(root: Path, *, spacing: float, size: int, nan_in: int | None = None) -> Path:
    """Four scans as NIfTI, each with a square of 10 mm in the middle of its mask."""
    root.mkdir()
    affine = np.diag([spacing, spacing, 4, 1])
    for number in range(4):
        pixels = np.random.default_rng(number).uniform(1, 2, (size, size, 3)).astype(np.float32)
        if number == nan_in:
            pixels[3, 3, 1] = np.nan
        side, mask = round(10 / spacing), np.zeros(pixels.shape, np.uint8)
        mask[(size - side) // 2 :, (size - side) // 2 :][:side, :side] = 1
        nibabel.save(nibabel.Nifti1Image(pixels, affine), root / f"scan{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), root / f"scan{number}_mask.nii.gz")
    return root


def test_scans_of_finer_pixels_are_learned_at_the_size_they_are_predicted_at(tmp_path: Path) -> None:
    data = scans(tmp_path / "data", spacing=0.5, size=80)
    found = read_training_data(recipe(), data, left_out=(), device=torch.device("cpu"))
    image, masks, _ = found.train.batch(found.train.labelled, context=0)
    description = Description(name="any", network=UNetConfig(in_channels=1), channel_names=("flair",))
    seen = prepare_scan(open_dataset(data).cases[0].read_image(), description)
    assert tuple(image.shape[-2:]) == (40, 40)
    assert (seen.size[0] / seen.seen[0], seen.size[1] / seen.seen[1]) == (0.5, 0.5)
    # 10 mm, at 1 mm a pixel.
    assert masks.sum((1, 2, 3)).tolist() == [100] * len(masks)
    # Whole slices are resized by the recipe alone.
    whole = dataclasses.replace(recipe(), resize=(32, 32), fit=dataclasses.replace(recipe().fit, augment=None))
    found = read_training_data(whole, data, left_out=(), device=torch.device("cpu"))
    assert found.train.batch(found.train.labelled, context=0)[0].shape[-2:] == (32, 32)


def test_a_scan_that_cannot_be_learned_from_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    data = scans(tmp_path / "data", spacing=1.0, size=32, nan_in=2)
    with pytest.raises(InputError, match=r"scan2\.nii\.gz: 1 voxel is NaN or infinite"):
        read_training_data(recipe(), data, left_out=(), device=torch.device("cpu"))


def test_intensities_are_cut_off_in_the_validation_as_in_training_and_prediction() -> None:
    pixels = np.random.default_rng(0).normal(10, 1, (1, 2, 16, 16)).astype(np.float32)
    pixels[0, 1, 3, 3] = 1000
    case = LabelledVolume(
        volume=Volume(data=pixels, channel_names=("flair",)),
        mask=np.ones((2, 16, 16), np.uint8),
        labelled=np.ones(2, bool),
    )
    seen = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(float(image.abs().max()))
        return torch.zeros_like(image)

    store = SliceStore([case], device=torch.device("cpu"))
    Validation(store=store, fit=tiny().fit, context=0, smooth=1.0)(network)  # type: ignore[arg-type]
    assert seen == [5.0]
