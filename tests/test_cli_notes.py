"""What the commands say of their input, besides what they do with it."""

import errno
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_unet_seg.cli import main
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from tests.data.dicom_files import positions_of, write_series
from tests.engine.models import save_small

Capture = pytest.CaptureFixture[str]
CASE = "TCGA_XX_1000_20000101"
STANDS_IN = (
    "the only channel is taken for FLAIR; pre-contrast T1 is missing; a copy of FLAIR stands in for it; "
    "post-contrast T1 is missing; a copy of FLAIR stands in for it"
)


@pytest.fixture
def model(tmp_path: Path) -> list[str]:
    return ["--model", str(save_small(tmp_path / "small.safetensors"))]


def notes(capsys: Capture) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]


def write_gap(folder: Path, *, uneven: bool = False) -> Path:
    """A DICOM series of six slices, from the middle of which one is missing, or which lie unevenly."""
    places = positions_of(7)
    del places[3]
    if uneven:
        places[3] = places[3] + (0, 0, 1.0)
    pixels = np.random.default_rng(0).integers(0, 900, (6, 24, 32)).astype(np.uint16)
    write_series(folder / "in" / "gap", pixels, positions=places)
    return folder / "in"


@pytest.mark.parametrize("command", ["predict", "evaluate", "suggest"])
def test_a_sequence_that_stands_in_for_others_is_told_of(
    tmp_path: Path, model: list[str], command: str, capsys: Capture
) -> None:
    root, affine = tmp_path / "in", np.diag([-1.0, -1, 3, 1])
    root.mkdir()
    scan = np.random.default_rng(0).integers(0, 900, (24, 20, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(scan, affine), root / "a.nii.gz")
    nib.save(nib.Nifti1Image((scan > 800).astype(np.uint8), affine), root / "a_mask.nii.gz")
    output = ["--output", str(tmp_path / "out")] if command == "predict" else []
    assert main([command, str(root), *output, *model]) == 0
    assert notes(capsys) == [f"note: a: {STANDS_IN}"]


def test_a_gap_is_told_of(tmp_path: Path, model: list[str], capsys: Capture) -> None:
    assert main(["predict", str(write_gap(tmp_path)), "--output", str(tmp_path / "out"), *model]) == 0
    (note,) = notes(capsys)
    assert "ax flair lacks 1 slice, the first between IM0002 and IM0003; the scan is shown without the gap" in note


def test_a_page_that_is_missing_is_told_of(tmp_path: Path, capsys: Capture) -> None:
    root = write_kaggle(tmp_path / "in", patients=2, slices=5, size=16)
    for ending in ("", "_mask"):
        (root / CASE / f"{CASE}_3{ending}.tif").unlink()
    assert main(["convert", str(root), str(tmp_path / "out"), "--to", "kaggle"]) == 0
    assert notes(capsys)[0] == f"note: {CASE}: {CASE} lacks slice 3; the scan is shown without the gap"


@pytest.mark.parametrize("layout", ["files", "nnunet", "sequences"])
@pytest.mark.parametrize(("uneven", "what"), [(False, "lacks 1 slice, the first"), (True, "its slices lie ")])
def test_nifti_does_not_say_that_uneven_slices_lie_evenly(
    tmp_path: Path, layout: str, uneven: bool, what: str, capsys: Capture
) -> None:
    root = write_gap(tmp_path, uneven=uneven)
    whole = np.random.default_rng(0).integers(0, 900, (6, 24, 32)).astype(np.uint16)
    write_series(root / "whole", whole, study="whole", series="whole")
    assert main(["convert", str(root), str(tmp_path / "out"), "--to", layout]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"gap: {what}" in line
    assert "and NIfTI would put slices where they are not; complete the series, or convert it" in line
    assert len(open_dataset(tmp_path / "out")) == 1


@pytest.mark.parametrize("command", ["evaluate", "convert"])
def test_a_case_with_a_damaged_mask_is_left_out_of_what_speaks_of_whole_cases(
    tmp_path: Path, model: list[str], command: str, capsys: Capture
) -> None:
    root = write_kaggle(tmp_path / "in", patients=2, slices=5, size=16)
    (root / CASE / f"{CASE}_3_mask.tif").write_bytes(b"no image")
    given = model if command == "evaluate" else [str(tmp_path / "out"), "--to", "kaggle"]
    assert main([command, str(root), *given]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert f"{CASE}_3_mask.tif: this is not a TIFF file" in line
    assert f"{CASE.replace('1000', '1001')}: " in told.out


def test_a_damaged_mask_beside_corrections_is_told_of(tmp_path: Path, model: list[str], capsys: Capture) -> None:
    root = write_kaggle(tmp_path / "in", patients=1, slices=5, size=16)
    dataset = open_dataset(root)
    dataset.save_correction(CASE, np.ones((5, 16, 16), np.uint8), [1, 2])
    (root / CASE / f"{CASE}_3_mask.tif").write_bytes(b"no image")
    assert main(["suggest", str(root), *model]) == 0
    (note,) = notes(capsys)
    assert f"{CASE}_3_mask.tif cannot be used" in note
    assert "slice 2 counts as not labelled" in note


def test_layouts_that_say_nothing_of_places_take_uneven_slices(tmp_path: Path, capsys: Capture) -> None:
    assert main(["convert", str(write_gap(tmp_path)), str(tmp_path / "out"), "--to", "kaggle"]) == 0
    assert "lacks 1 slice" in notes(capsys)[0]


@pytest.mark.parametrize("command", ["predict", "evaluate", "suggest", "convert"])
def test_a_damaged_log_is_told_of(tmp_path: Path, model: list[str], command: str, capsys: Capture) -> None:
    root = write_kaggle(tmp_path / "in", patients=1, slices=2, size=32)
    (root / ".unetseg").mkdir()
    (root / ".unetseg" / "corrections.jsonl").write_bytes(b"{}\n")
    options = [str(tmp_path / "out"), "--to", "files"] if command == "convert" else model
    options = [*options, "--output", str(tmp_path / "out")] if command == "predict" else options
    assert main([command, str(root), *options]) == 0
    assert "line 1 of corrections.jsonl is damaged" in notes(capsys)[0]


@pytest.mark.parametrize("command", ["predict", "evaluate", "suggest", "convert", "finetune"])
def test_a_folder_that_cannot_be_opened_is_told_of(
    tmp_path: Path, model: list[str], command: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    root = write_kaggle(tmp_path / "in", patients=2, slices=2, size=32)
    scandir, hidden = os.scandir, sorted(root.iterdir())[1]

    def listed(path: Path) -> Any:
        if Path(path) == hidden:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    monkeypatch.setattr("os.scandir", listed)
    options = {
        "predict": ["--output", str(tmp_path / "out"), *model],
        "convert": [str(tmp_path / "out"), "--to", "files"],
        "finetune": ["--name", "mine", *model],
    }
    assert main([command, str(root), *options.get(command, model)]) == 2
    output = capsys.readouterr()
    first, *others = output.err.splitlines()
    assert f"{hidden.name}: this folder cannot be opened (permission denied)" in first
    if command == "finetune":
        # There is nothing to learn from.
        assert len(others) == 1
    else:
        assert not others
        assert CASE in output.out


@pytest.fixture
def overlaid(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset and the folder with its corrections: a mask that was empty is full."""
    root = write_kaggle(tmp_path / "in", patients=1, slices=2, size=32)
    dataset = open_dataset(root, tmp_path / "overlay")
    dataset.save_correction(CASE, np.ones((2, 32, 32), np.uint8))
    return root, tmp_path / "overlay"


def test_convert_takes_the_corrections_of_a_read_only_dataset(tmp_path: Path, overlaid: tuple[Path, Path]) -> None:
    root, overlay = overlaid
    assert main(["convert", str(root), str(tmp_path / "out"), "--to", "files", "--overlay", str(overlay)]) == 0
    mask = open_dataset(tmp_path / "out").cases[0].read_mask()
    assert mask is not None
    assert mask.all()


def test_evaluate_scores_against_the_corrections_of_a_read_only_dataset(
    model: list[str], overlaid: tuple[Path, Path], capsys: Capture
) -> None:
    root, overlay = overlaid
    assert main(["evaluate", str(root), *model, "--overlay", str(overlay)]) == 0
    assert "scored against masks that you have corrected yourself: 1 case\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "suggest", "convert", "finetune"])
def test_a_folder_of_corrections_that_is_not_there_is_a_mistake(
    tmp_path: Path, model: list[str], command: str, capsys: Capture
) -> None:
    root = write_kaggle(tmp_path / "in", patients=1, slices=2, size=32)
    options = {"convert": [str(tmp_path / "out"), "--to", "files"], "finetune": ["--name", "mine", *model]}
    assert main([command, str(root), *options.get(command, model), "--overlay", str(tmp_path / "overlai")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "overlai: there is no such folder; give --overlay the folder with the corrections, or leave it out"
    )
    assert open_dataset(root, tmp_path / "overlai").writable
