"""DICOM cases keep their masks and their log when images, and other patients, join them."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import InputError
from tests.data.dicom_files import positions_of, write_enhanced, write_series
from tests.data.test_dicom_seg import PIXELS, foreign, nested

SHAPE = (6, 8, 10)


def pixels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, SHAPE, dtype=np.uint16)


def patient(folder: Path, name: str, seed: int) -> None:
    """A series of one patient, beside those of others, of which no frame of reference is told."""
    write_series(folder / "first", pixels_of(seed), study=name, series=name, FrameOfReferenceUID=None)
    for number, path in enumerate(sorted((folder / "first").iterdir())):
        path.rename(folder / f"{name}_{number}.dcm")
    (folder / "first").rmdir()


def painted(z: int, value: int = 1) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[z, 2:5, 3:7] = value
    return mask


def of(dataset, name: str):
    """The case of a patient, whatever it is called."""
    return next(case for case in dataset.cases if name in case.scan.series[0].paths[0].name)


def test_a_patient_who_joins_takes_over_nobody_s_mask(tmp_path: Path) -> None:
    patient(tmp_path, "B", 1)
    patient(tmp_path, "C", 2)
    dataset = open_dataset(tmp_path)
    for z, name in enumerate("BC"):
        dataset.save_correction(of(dataset, name).case_id, painted(z), [z])
    # Of a name that comes first.
    patient(tmp_path, "A", 3)
    dataset = open_dataset(tmp_path)
    assert of(dataset, "A").read_mask() is None
    assert dataset.corrections(of(dataset, "A").case_id) == []
    dataset.save_correction(of(dataset, "A").case_id, painted(5), [5])
    dataset = open_dataset(tmp_path)
    for name, z in (("A", 5), ("B", 0), ("C", 1)):
        case = of(dataset, name)
        assert np.array_equal(case.read_mask(), painted(z)), name
        assert case.corrected_slices() == [z], name
        assert [line.slices for line in dataset.corrections(case.case_id)] == [(z,)], name


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_log_follows_a_slice_when_an_image_joins(tmp_path: Path, upside_down: bool) -> None:
    step = -3.0 if upside_down else 3.0
    write_series(tmp_path, pixels_of(0), positions=positions_of(6, step=step))
    paths = sorted(tmp_path.iterdir())
    late = paths[-1] if upside_down else paths[0]
    late.rename(tmp_path.with_name("late.dcm"))
    (case,) = open_dataset(tmp_path).cases
    dataset = open_dataset(tmp_path)
    mask = painted(3)[:5]
    dataset.save_correction(case.case_id, mask, [3])
    assert dataset[case.case_id].corrected_slices() == [3]
    tmp_path.with_name("late.dcm").rename(late)
    dataset = open_dataset(tmp_path)
    found = dataset[case.case_id]
    (z,) = np.flatnonzero(found.read_mask().any((1, 2)))
    assert found.corrected_slices() == [z]
    assert z == 4
    assert np.flatnonzero(found.labelled_slices()).tolist() == [4]


def test_slices_are_called_after_their_images(tmp_path: Path) -> None:
    write_series(tmp_path / "a", pixels_of(0))
    write_enhanced(tmp_path / "b" / "many.dcm", pixels_of(1))
    for folder in "ab":
        (case,) = open_dataset(tmp_path / folder).cases
        (file,) = case.scan.mask_files()
        assert len(set(file.names)) == SHAPE[0]


def test_images_that_share_an_identifier_but_no_place_are_no_copies(tmp_path: Path) -> None:
    pixels = pixels_of(0)
    paths = write_series(tmp_path, pixels)
    for path in paths[1:]:
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = pydicom.dcmread(paths[0]).SOPInstanceUID
        data.save_as(path)
    dataset = open_dataset(tmp_path)
    (case,) = dataset.cases
    assert case.read_image().shape == SHAPE
    # A segmentation refers to images by that identifier alone.
    with pytest.raises(InputError, match="cannot be made from these headers"):
        dataset.save_correction(case.case_id, painted(3), [3])


def test_segments_of_other_software_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "s", PIXELS)
    foreign(tmp_path / "s", nested()).save_as(tmp_path / "s" / "mask")
    dataset = open_dataset(tmp_path)
    (case,) = dataset.cases
    (note,) = case.mask_notes()
    assert note.startswith("every segment of mask counts as foreground (part 1, part 2)")
    # What is written here has no names of its own to tell.
    write_series(tmp_path / "t", PIXELS, study="other", series="other")
    case = next(each for each in open_dataset(tmp_path).cases if each.case_id == "t")
    open_dataset(tmp_path).save_correction("t", np.ones(PIXELS.shape, np.uint8), [0])
    assert open_dataset(tmp_path)["t"].mask_notes() == ()
