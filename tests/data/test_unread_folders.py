"""Folders that may not be listed: they are named, and the rest of the dataset stays usable."""

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import InputError
from tests.data.test_dataset import make_patient, make_sequences
from tests.data.test_folders import plane, save
from tests.data.test_nnunet import SHAPE, make


def of_kaggle(root):
    make_patient(root / "p1", slices=2)
    make_patient(root / "p2", slices=2)
    return root / "p2"


def of_sequences(root):
    make_sequences(root / "c1")
    make_sequences(root / "c2")
    return root / "c2"


def of_folders(root):
    for name in ("val", "val_mask"):
        save(root / name / "a.png", plane())
    return root / "val_mask"


def of_nnunet(root):
    make(root, truth=np.ones(SHAPE, np.uint8))
    return root / "labelsTr"


@pytest.mark.parametrize("make_dataset", [of_kaggle, of_sequences, of_folders, of_nnunet])
def test_the_folder_is_named_and_the_rest_opens(tmp_path, forbid, make_dataset):
    folder = forbid(make_dataset(tmp_path))
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    dataset.cases[0].read_image()
    (problem,) = dataset.unread
    assert str(problem) == (
        f"{folder}: this folder cannot be opened (permission denied), and what is in it is left out; "
        "allow reading it, or move it out of the dataset"
    )


@pytest.mark.parametrize("images", ["p1", "imagesTr"])
def test_nothing_can_be_told_without_it(tmp_path, forbid, images):
    if images == "p1":
        make_patient(tmp_path / images, slices=2)
    else:
        make(tmp_path)
    forbid(tmp_path / images)
    with pytest.raises(InputError, match=rf"{images}: this folder cannot be opened \(permission denied\)"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("layout", ["files", "kaggle"])
def test_what_is_not_looked_into_is_not_missed(tmp_path, forbid, layout):
    if layout == "files":
        save(tmp_path / "a.png", plane())
        (tmp_path / "notes").mkdir()
        forbid(tmp_path / "notes")
    else:
        # At the top of a disk.
        make_patient(tmp_path / "p1", slices=2)
        (tmp_path / "lost+found").mkdir()
        forbid(tmp_path / "lost+found")
    assert open_dataset(tmp_path).unread == ()
