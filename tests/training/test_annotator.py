from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError
from tests.training.simulated import suggest_last
from training.simulation.annotator import Annotator, miss_component, parse_hand, shift_border
from training.simulation.patients import Patient, choose_cases, read_patient, unlabelled_copy
from training.simulation.picks import pick_slices

LABELLED = np.array([True, True, True, True, False])


@pytest.fixture
def dataset(tmp_path: Path):
    return open_dataset(write_kaggle(tmp_path / "original", patients=3, slices=6, size=32))


@pytest.fixture
def patient() -> Patient:
    """Tumour of 2, 6 and 4 pixels in slices 0 to 2, none in slice 3; slice 4 is not labelled."""
    truth = np.zeros((5, 8, 8), np.uint8)
    for z, pixels in enumerate((2, 6, 4, 0, 8)):
        truth[z, 0, :pixels] = 1
    volume = Volume(data=np.zeros((1, 5, 8, 8), np.uint8), channel_names=("flair",), spacing=(1.0, 1.0, 1.0))
    return Patient(case="p", volume=volume, truth=truth, labelled=LABELLED)


def pick(how: str, patient: Patient, mask: np.ndarray, *, count: int = 5, corrected: tuple[int, ...] = (), seed=0):
    return pick_slices(
        how,
        patient,
        count=count,
        probability=mask.astype(np.float32),
        mask=mask,
        corrected=corrected,
        threshold=0.5,
        rng=np.random.default_rng(seed),
        suggest_slices=suggest_last,
    )


def test_the_worst_slices_have_the_most_wrong_pixels(patient: Patient) -> None:
    mask = patient.truth.copy()
    mask[3, 2, :5] = 1
    mask[0] = 0
    assert pick("worst", patient, mask, count=2) == [3, 0]
    assert pick("worst", patient, mask, count=2, corrected=(3,)) == [0, 1]


def test_the_largest_area_is_that_of_the_mask_and_of_the_tumour_where_there_is_no_mask(patient: Patient) -> None:
    mask = np.zeros_like(patient.truth)
    mask[3, :2] = 1
    assert pick("largest", patient, mask) == [3, 1, 2, 0]


def test_chance_picks_where_there_is_something_to_see(patient: Patient) -> None:
    empty = np.zeros_like(patient.truth)
    assert sorted(pick("random", patient, empty)) == [0, 1, 2]
    assert sorted(pick("random-all", patient, empty)) == [0, 1, 2, 3]
    assert {tuple(pick("random", patient, empty, seed=seed)) for seed in range(20)} > {(0, 1, 2)}


def test_suggestions_of_unlabelled_or_corrected_slices_are_passed_over(patient: Patient) -> None:
    assert pick("suggested", patient, patient.truth, count=2, corrected=(3,)) == [2, 1]


def test_an_unknown_pick_is_refused(patient: Patient) -> None:
    with pytest.raises(ValueError, match="unknown pick 'best'"):
        pick("best", patient, patient.truth)


def test_a_shifted_border_keeps_the_labels() -> None:
    plane = np.zeros((9, 9), np.uint8)
    plane[3:6, 3:6] = 2
    grown, shrunk = shift_border(plane, 1), shift_border(plane, -1)
    assert np.count_nonzero(grown) == 9 + 12
    assert np.argwhere(shrunk).tolist() == [[4, 4]]
    assert set(np.unique(grown)) == set(np.unique(shrunk)) == {0, 2}
    assert not shift_border(np.zeros_like(plane), 2).any()


def test_the_smallest_of_several_pieces_is_missed() -> None:
    plane = np.zeros((9, 9), np.uint8)
    plane[1:4, 1:4], plane[7, 7] = 1, 1
    missed = miss_component(plane)
    assert missed.sum() == 9
    np.testing.assert_array_equal(miss_component(missed), missed)


def test_a_hand_that_is_not_known_is_refused() -> None:
    np.testing.assert_array_equal(parse_hand("")(np.eye(3, dtype=np.uint8)), np.eye(3))
    with pytest.raises(InputError, match="unknown degradation 'shift'"):
        parse_hand("shift")


def test_cases_are_chosen_by_pattern(dataset) -> None:
    names = [case.case_id for case in dataset]
    assert choose_cases(dataset, [names[2], "*_1000_*"]) == [names[0], names[2]]
    with pytest.raises(InputError, match="there is no case 'nobody'"):
        choose_cases(dataset, ["nobody"])


def test_the_copy_has_the_images_and_no_masks(dataset, tmp_path: Path) -> None:
    first, second, _ = (case.case_id for case in dataset)
    copy = unlabelled_copy(dataset, tmp_path / "copy", cases=[first], labelled=[second])
    assert [case.case_id for case in copy] == [first, second]
    assert [case.has_mask for case in copy] == [False, True]
    np.testing.assert_array_equal(copy[first].read_image().data, dataset[first].read_image().data)


def test_correcting_the_copy_leaves_the_original_alone(dataset, tmp_path: Path) -> None:
    first, second, _ = (case.case_id for case in dataset)
    kept = {path: path.read_bytes() for path in dataset.root.rglob("*.tif")}
    copy = unlabelled_copy(dataset, tmp_path / "copy", cases=[first], labelled=[second])
    for case_id in (first, second):
        Annotator(read_patient(dataset[case_id]), hand=np.zeros_like).correct(copy, [2, 3], model="m")
    assert {path: path.read_bytes() for path in dataset.root.rglob("*.tif")} == kept
    assert not (dataset.root / ".unetseg").exists()
    assert copy[first].labelled_slices().tolist() == [False, False, True, True, False, False]


def test_another_layout_cannot_be_copied(tmp_path: Path) -> None:
    folder = write_kaggle(tmp_path, patients=1, slices=1, size=32)
    image = next(path for path in folder.rglob("*.tif") if "mask" not in path.name)
    (tmp_path / "pictures").mkdir()
    image.rename(tmp_path / "pictures" / "brain.tif")
    single = open_dataset(tmp_path / "pictures")
    with pytest.raises(InputError, match="layout kaggle alone"):
        unlabelled_copy(single, tmp_path / "copy", cases=["brain"])


def test_what_is_drawn_is_saved_and_put_into_a_mask(dataset, tmp_path: Path) -> None:
    case = dataset.cases[0]
    copy = unlabelled_copy(dataset, tmp_path / "copy", cases=[case.case_id])
    annotator = Annotator(read_patient(case), hand=parse_hand("shift:1"))
    annotator.correct(copy, [3], model="m")
    annotator.correct(copy, [2], model="m")
    assert annotator.corrected == (2, 3)
    put_in = annotator.put_into(np.zeros_like(annotator.patient.truth))
    np.testing.assert_array_equal(put_in, copy[case.case_id].read_mask())
    np.testing.assert_array_equal(put_in[3], shift_border(annotator.patient.truth[3], 1))
