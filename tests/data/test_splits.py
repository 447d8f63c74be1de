from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_unet_seg.data import splits
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.errors import InputError

SITES = ("CS", "DU", "HT")
CASES = {f"TCGA_{SITES[n % 3]}_{1000 + n}_2000010{visit}": range(5) for n in range(20) for visit in (1, 2)}
"""Twenty patients of three sites with two scans each, five slices a scan."""


@pytest.mark.parametrize("draw", [splits.by_patient, splits.by_slice])
def test_every_slice_is_in_one_part_in_the_shares_asked_for(draw: Callable[..., splits.Split]) -> None:
    split = draw(CASES, train=0.8, validation=0.1, test=0.1)
    assert Counter((*split.train, *split.validation, *split.test)) == Counter((c, z) for c in CASES for z in range(5))
    assert [len(split.part(part)) for part in splits.PARTS] == [160, 20, 20]


@pytest.mark.parametrize("draw", [splits.by_patient, splits.by_slice])
def test_the_seed_alone_decides_whatever_the_order_of_the_cases(draw: Callable[..., splits.Split]) -> None:
    backwards = {case_id: list(CASES[case_id])[::-1] for case_id in reversed(CASES)}
    first = draw(CASES, train=0.5, validation=0.5, seed=3)
    assert draw(backwards, train=0.5, validation=0.5, seed=3) == first
    assert draw(CASES, train=0.5, validation=0.5, seed=4) != first
    assert first.test == ()


def test_the_scans_of_a_patient_stay_together_and_nothing_leaks() -> None:
    split = splits.by_patient(CASES, train=0.6, validation=0.2, test=0.2)
    where = {part: {splits.patient_of(case_id) for case_id, _ in split.part(part)} for part in splits.PARTS}
    assert not where["train"] & (where["test"] | where["validation"])
    assert not split.leaky
    assert split.unseen_cases("test") == list(split.by_case("test"))
    assert len(split.unseen_cases("test")) == 8


def test_a_split_of_slices_is_known_to_leak() -> None:
    split = splits.by_slice(CASES, train=0.8, validation=0.1, test=0.1)
    assert split.leaky
    assert split.unseen_cases("test") == []
    assert "leaky" in splits.LEAKY


def test_a_case_whose_patient_has_another_scan_in_training_is_not_unseen() -> None:
    split = splits.given(
        {"TCGA_CS_1000_1": [0], "TCGA_CS_1000_2": [0, 1], "TCGA_CS_1001_1": [4]},
        {"TCGA_CS_1000_1": "train", "TCGA_CS_1000_2": "test", "TCGA_CS_1001_1": "test"},
    )
    assert split.leaky
    assert split.unseen_cases("test") == ["TCGA_CS_1001_1"]
    assert split.by_case("test") == {"TCGA_CS_1000_2": [0, 1], "TCGA_CS_1001_1": [4]}


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0)])
def test_shares_must_add_up(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        splits.by_slice(CASES, train=shares[0], validation=shares[1], test=shares[2])


def test_too_few_patients_for_a_part_is_refused() -> None:
    with pytest.raises(InputError, match="2 patients are too few"):
        splits.by_patient({"a": [0], "b": [0]}, train=0.9, validation=0.05, test=0.05)


def test_a_case_in_no_folder_of_a_given_split_is_named() -> None:
    with pytest.raises(InputError, match="case b lies in no folder"):
        splits.given({"a": [0], "b": [0]}, {"a": "train"})
    with pytest.raises(InputError, match="called train"):
        splits.given({"a": [0]}, {"a": "test"})


@pytest.mark.parametrize(
    ("case_id", "patient", "site"),
    [
        ("TCGA_CS_4941_19960909", "TCGA_CS_4941", "CS"),
        ("TCGA_DU_A5TP_19970614", "TCGA_DU_A5TP", "DU"),
        ("TCGA-FG-6690", "TCGA-FG-6690", "FG"),
        ("96_jpg.rf.fadbd6b5eb42d2b6b0b51774acb7d435", "96_jpg", ""),
        ("train/case_7", "train/case_7", ""),
        ("TCGA_CS_49411", "TCGA_CS_49411", ""),
        ("valid/TCGA_CS_4941_19960909", "TCGA_CS_4941", ""),
        ("TCGA_CS_4941_19960909_12", "TCGA_CS_4941", "CS"),
        ("valid/96_jpg.rf.fadbd6b5eb42d2b6b0b51774acb7d435", "96_jpg", ""),
        ("patient3_slice4_jpg.rf.fadbd6b5eb42d2b6b0b51774acb7d435", "patient3", ""),
        ("BraTS-GLI-00001-000", "BraTS-GLI-00001", ""),
        ("BraTS-MEN-RT-0002-1", "BraTS-MEN-RT-0002", ""),
        ("BraTS-GLI-00001-100_slice_7", "BraTS-GLI-00001", ""),
        ("BraTS-GoAT-00001", "BraTS-GoAT-00001", ""),
        ("BraTS2021_00012", "BraTS2021_00012", ""),
        ("BRATS_001", "BRATS_001", ""),
        ("brats_tcia_pat101_0105", "brats_tcia_pat101", ""),
        ("volume_12_slice_55", "volume_12", ""),
        ("UPENN-GBM-00001_21", "UPENN-GBM-00001", ""),
        ("UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429", ""),
        ("OAS1_0061_MR2", "OAS1_0061", ""),
        ("OAS30001_MR_d0129", "OAS30001", ""),
        ("ADNI_002_S_0295_MR", "002_S_0295", ""),
        ("sub-01", "sub-01", ""),
        ("sub-01_ses-02_run-1", "sub-01", ""),
        ("sub-01/ses-02", "sub-01", ""),
        ("site2/sub-01", "site2/sub-01", ""),
        ("patient07_slice12", "patient07", ""),
        ("train/patient07_slice12", "patient07", ""),
        ("Patient-001_week-000-1", "Patient-001", ""),
        ("subject12_3", "subject12", ""),
        ("patient-2019-001", "patient-2019-001", ""),
        ("CASE003_tp1_slice4", "CASE003", ""),
        ("case01_z3", "case01", ""),
        ("brain_slice_001", "brain_slice_001", ""),
        ("subset1_scan3", "subset1_scan3", ""),
    ],
)
def test_patient_and_site_of_a_case(case_id: str, patient: str, site: str) -> None:
    assert splits.patient_of(case_id) == patient
    assert splits.site_of(case_id) == site


@pytest.mark.parametrize(
    "names",
    [
        {f"BraTS-GLI-{patient:05}-{scan:03}": patient for patient in range(20) for scan in (100, 101)},
        {f"sub-{patient:02}_ses-{scan:02}": patient for patient in range(20) for scan in (1, 2)},
        {f"patient{patient:02}_slice{z:02}": patient for patient in range(20) for z in range(5)},
    ],
    ids=["BraTS", "BIDS", "a picture a slice"],
)
def test_scans_of_a_patient_stay_together_whatever_the_dataset_calls_them(names: dict[str, int]) -> None:
    slices = {name: [0] for name in names}
    split = splits.by_patient(slices, train=0.8, validation=0.2)
    trained, validated = ({names[case_id] for case_id, _ in part} for part in (split.train, split.validation))
    assert (len(trained), len(validated)) == (16, 4)
    assert not trained & validated
    assert not split.leaky
    torn = splits.given(slices, {name: ("test", "train")[n % 2] for n, name in enumerate(names)})
    assert torn.leaky
    assert torn.unseen_cases() == []


def test_patients_of_the_lgg_dataset_are_not_taken_for_one() -> None:
    names = ["TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222", "TCGA_DU_4941_19960909", "TCGA_DU_A5TP_19970614",
             "TCGA_DU_A5TR_19970614"]  # fmt: skip
    assert len({splits.patient_of(name) for name in names}) == len(names)


def test_pictures_whose_names_tell_no_patient_are_named() -> None:
    exported = "96_jpg.rf.fadbd6b5eb42d2b6b0b51774acb7d435"
    depths = {"a": 1, "b": 30, exported: 1, "patient07_slice12": 1, "TCGA_CS_4941_19960909_3": 1}
    assert splits.pictures_of_unknown(depths) == ["a", exported]


def test_folds_share_out_every_site_and_no_patient_is_in_two() -> None:
    folds = splits.patient_folds(CASES, count=5)
    assert sorted(chain(*folds)) == sorted(CASES)
    patients = Counter(patient for fold in folds for patient in {splits.patient_of(case_id) for case_id in fold})
    assert set(patients.values()) == {1}
    for fold in folds:
        assert len(fold) == 8
        assert {splits.site_of(case_id) for case_id in fold} == set(SITES)
    assert splits.patient_folds(reversed(list(CASES)), count=5) == folds
    with pytest.raises(InputError, match="20 patients cannot"):
        splits.patient_folds(CASES, count=21)


def test_labelled_slices_are_those_with_a_mask_file(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path, patients=2, slices=3, size=32)
    first, second = sorted(folder.name for folder in root.iterdir())
    (root / first / f"{first}_2_mask.tif").unlink()
    for mask in (root / second).glob("*_mask.tif"):
        mask.unlink()
    assert splits.labelled_slices(open_dataset(root)) == {first: [0, 2]}


@pytest.mark.parametrize(
    ("folders", "masks"),
    [
        (("train", "valid", "test"), ("train_mask", "val_mask", "test_mask")),
        (("images/training", "images/val", "images/testing"), ("masks/training", "masks/val", "masks/testing")),
    ],
)
def test_the_part_of_a_case_is_the_folder_it_lies_in(
    tmp_path: Path, folders: tuple[str, ...], masks: tuple[str, ...]
) -> None:
    # A folder above the dataset that is called after a part says nothing.
    root = tmp_path / "test" / "tumours"
    for folder, mask, name in zip(folders, masks, "abc", strict=True):
        for place in (folder, mask):
            (root / place).mkdir(parents=True)
            Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / place / f"{name}.png")
    parts = splits.parts_of_folders(open_dataset(root))
    assert parts == {"a": "train", "b": "validation", "c": "test"}
    single = splits.parts_of_folders(open_dataset(root / folders[0] / "a.png"))
    assert single == {}
