"""Nobody is corrected, or trained on, and scored."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.errors import InputError
from tests.training.simulated import save_fold
from training.simulation.model import Cohort, reference_dice
from training.simulation.studies import make_cohort, scan_runs


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Two scans of a first patient, one of a second and a third."""
    root = write_kaggle(tmp_path / "several", patients=3, slices=6, size=32)
    first = min(folder.name for folder in root.iterdir())
    second = first.replace("_20000101", "_20010101")
    (root / second).mkdir()
    for file in (root / first).iterdir():
        (root / second / file.name.replace(first, second)).write_bytes(file.read_bytes())
    return root


def test_a_patient_is_not_corrected_and_scored_by_another_scan(tmp_path: Path, several: Path) -> None:
    dataset = open_dataset(several)
    first, again, second, third = (case.case_id for case in dataset)
    blind = save_fold(tmp_path / "blind.safetensors", cases=["TCGA_ZZ_0001_20000101"], held_out=[])
    assert make_cohort(dataset, blind, correct=[first]).evaluate == (second, third)
    cohort = make_cohort(dataset, blind, correct=[second], other=[first])
    assert (cohort.evaluate, cohort.beside) == ((third,), (second, third))
    with pytest.raises(InputError, match="TCGA_XX_1000 cannot be both corrected and among the evaluated"):
        make_cohort(dataset, blind, correct=[first], evaluate=[again])
    with pytest.raises(InputError, match="cannot be scored"):
        Cohort(correct=(second,), evaluate=(first,), labelled=(again,))


def test_a_patient_of_whom_one_scan_was_trained_on_is_not_unseen(tmp_path: Path, several: Path) -> None:
    dataset = open_dataset(several)
    first, again, second, third = (case.case_id for case in dataset)
    for held_out in ([], [again, second, third]):
        seen = save_fold(tmp_path / "seen.safetensors", cases=[first], held_out=held_out)
        assert [run.case for run in scan_runs(dataset, [seen], ways=[("worst", 0)])] == [second, third]
        with pytest.raises(InputError, match=f"trained on {again} or its patient"):
            make_cohort(dataset, seen, correct=[again], evaluate=[second])
        with pytest.raises(InputError, match=f"the reference was trained on {again}"):
            reference_dice([seen], [again], dataset=dataset, device="cpu")


@pytest.mark.parametrize(
    ("evaluate", "other", "labelled", "problem"),
    [
        (("a",), (), (), "both corrected and among the evaluated"),
        (("b",), ("a",), (), "both corrected and among the other"),
        (("b",), ("c",), ("c",), "cannot be scored"),
    ],
)
def test_a_case_has_one_part(
    evaluate: tuple[str, ...], other: tuple[str, ...], labelled: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        Cohort(correct=("a",), evaluate=evaluate, other=other, labelled=labelled)
