import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from napari_unet_seg.cli import main
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.sample import sample_case_path
from tests.engine.models import save_small

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_small(tmp_path / "small.safetensors"))


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=3, size=32)


def test_predict_writes_masks_in_the_layout_of_the_input(tmp_path: Path, patients: Path, model: str) -> None:
    assert main(["predict", str(patients), "--output", str(tmp_path / "out"), "--model", model]) == 0
    source = {path.relative_to(patients) for path in patients.rglob("*_mask.tif")}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*_mask.tif")} == source
    mask = tifffile.imread(tmp_path / "out" / next(iter(source)))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}


def test_predict_keeps_the_geometry_of_a_nifti(tmp_path: Path, model: str) -> None:
    affine = np.array([[0, 0, 3.0, -5], [-1.0, 0, 0, 7], [0, 1.0, 0, 2], [0, 0, 0, 1]])
    data = np.random.default_rng(0).integers(0, 255, (24, 20, 10)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "scan.nii.gz")
    assert main(["predict", str(tmp_path / "scan.nii.gz"), "--output", str(tmp_path / "out"), "--model", model]) == 0
    (written,) = (tmp_path / "out").rglob("*.nii.gz")
    mask = nib.load(written)
    assert mask.shape == (24, 20, 10)
    np.testing.assert_allclose(mask.affine, affine)


def test_a_higher_threshold_gives_less(tmp_path: Path, patients: Path, model: str) -> None:
    def foreground(threshold: str) -> int:
        out = tmp_path / threshold
        assert main(["predict", str(patients), "--output", str(out), "--model", model, "--threshold", threshold]) == 0
        return sum(int((tifffile.imread(path) > 0).sum()) for path in out.rglob("*_mask.tif"))

    assert foreground("0.01") > foreground("0.99")


def test_evaluate_writes_json_and_report(tmp_path: Path, patients: Path, model: str, capsys: Capture) -> None:
    target, report = tmp_path / "new" / "scores.json", tmp_path / "report"
    assert main(["evaluate", str(patients), "--model", model, "--json", str(target), "--report", str(report)]) == 0
    result = json.loads(target.read_text())
    summary = result["summary"]
    assert {
        "volume_dice_mean",
        "volume_dice_median",
        "volume_dice_ci95",
        "volume_iou_mean",
        "tumour_slice_dice_mean",
        "empty_slice_false_positive_rate",
        "all_slice_dice_empty1",
        "seed_dice_smooth100",
        "seed_iou_smooth100",
        "accuracy",
    } <= set(summary)
    page = (report / "report.html").read_text()
    assert all(case["case"] in page for case in result["cases"])
    assert page.count("data:image/png") == len(result["cases"])
    assert "volume Dice" in capsys.readouterr().out


def test_one_bad_case_is_reported_and_the_others_go_on(
    tmp_path: Path, patients: Path, model: str, capsys: Capture
) -> None:
    broken = next(path for path in sorted(patients.rglob("*_1.tif")))
    broken.write_bytes(b"II*\0 truncated")
    assert main(["predict", str(patients), "--output", str(tmp_path / "out"), "--model", model]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert broken.name in captured.err
    assert len({path.parent.name for path in (tmp_path / "out").rglob("*_mask.tif")}) == 1


def tiff(array: np.ndarray, **options: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "scan.tif", array, **{"photometric": "minisblack", **options})
        return folder / "scan.tif"

    return write


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 255, (3, 24, 24), dtype=np.uint8)
BAD_IMAGES = {
    "missing": lambda folder: folder / "nothing.tif",
    "empty file": file("scan.tif", b""),
    "truncated": file("scan.tif", b"II*\0\x08\0\0\0"),
    "noise as nifti": file("scan.nii", RNG.bytes(5000)),
    "noise as gzipped nifti": file("scan.nii.gz", RNG.bytes(5000)),
    "no images": lambda folder: (file("notes.txt", b"hello")(folder)).parent,
    "five channels": tiff(RNG.random((4, 5, 24, 24), np.float32), metadata={"axes": "ZCYX"}),
    "rgba": tiff(RNG.integers(0, 255, (24, 24, 4), dtype=np.uint8), photometric="rgb", extrasamples=["unassalpha"]),
    "nan": tiff(np.full((3, 24, 24), np.nan, np.float32)),
    "infinite": tiff(np.where(STACK > 250, np.inf, STACK).astype(np.float32)),
    "constant": tiff(np.full((3, 24, 24), 9, np.uint8)),
    "one pixel": tiff(np.ones((1, 1), np.uint8)),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_give_one_line_and_status_2(tmp_path: Path, model: str, kind: str, capsys: Capture) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    path = BAD_IMAGES[kind](folder)
    assert main(["predict", str(path), "--output", str(tmp_path / "out"), "--model", model]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert path.name in error


BAD_MASKS = {
    "another shape": np.ones((3, 20, 24), np.uint8),
    "fractions": RNG.random((3, 24, 24), np.float32),
    "nan": np.full((3, 24, 24), np.nan, np.float32),
    "negative": np.full((3, 24, 24), -1, np.int16),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_bad_masks_give_one_line_and_status_2(tmp_path: Path, model: str, kind: str, capsys: Capture) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", STACK, photometric="minisblack", metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "scan_mask.tif", BAD_MASKS[kind], photometric="minisblack", metadata={"axes": "ZYX"})
    assert main(["evaluate", str(tmp_path / "scan.tif"), "--model", model]) == 2
    error = capsys.readouterr().err
    assert "scan_mask.tif" in error.splitlines()[0]


@pytest.mark.parametrize("content", [b"no model", b"\x80\x04}q\0.", b""])
def test_bad_models_give_one_line_and_status_2(tmp_path: Path, patients: Path, content: bytes, capsys: Capture) -> None:
    wrong = file("wrong.safetensors", content)(tmp_path)
    for command in (["predict", "--output", str(tmp_path / "out")], ["evaluate"]):
        assert main([command[0], str(patients), *command[1:], "--model", str(wrong)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "wrong.safetensors" in error


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint16", "float32", "float64", ">u2", ">f8"])
def test_number_types_just_work(tmp_path: Path, model: str, dtype: str) -> None:
    array = STACK > 100 if dtype == "bool" else STACK.astype(dtype)
    tifffile.imwrite(tmp_path / "scan.tif", array, photometric="minisblack", metadata={"axes": "ZYX"})
    assert main(["predict", str(tmp_path / "scan.tif"), "--output", str(tmp_path / "out"), "--model", model]) == 0


def test_an_output_that_cannot_be_made(tmp_path: Path, patients: Path, model: str, capsys: Capture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["predict", str(patients), "--output", str(tmp_path / "file"), "--model", model]) == 2
    assert "file" in capsys.readouterr().err


def test_the_masks_of_the_dataset_are_never_replaced(patients: Path, model: str, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in patients.rglob("*.tif")}
    assert main(["predict", str(patients), "--output", str(patients), "--model", model]) == 2
    assert "would replace" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in patients.rglob("*.tif")} == before


def test_models_round_trip(tmp_path: Path, model: str, capsys: Capture) -> None:
    assert main(["models", "import", model, "--name", "mine"]) == 0
    assert main(["models", "list"]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["models", "info", "mine"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "small"
    assert main(["models", "export", "mine", str(tmp_path / "out.safetensors")]) == 0
    assert main(["models", "remove", "mine"]) == 0
    assert main(["models", "info", "mine"]) == 2


def test_doctor_names_device_and_models(capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "device: " in out
    assert "default" in out
    assert "Qt: " in out


def test_the_shipped_model_finds_the_sample_s_tumour(tmp_path: Path) -> None:
    assert main(["evaluate", str(sample_case_path()), "--json", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["summary"]["volume_dice_mean"] >= 0.8


@pytest.mark.realdata
def test_real_patients_are_read_and_segmented(lgg: Path, tmp_path: Path) -> None:
    case = open_dataset(lgg).cases[0].case_id
    target = tmp_path / "s.json"
    assert main(["evaluate", str(lgg / f"{case}.tif"), "--json", str(target)]) == 0
    assert json.loads(target.read_text())["summary"]["volume_dice_mean"] > 0.5


def test_evaluating_a_broken_scan_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "empty.nii.gz"
    broken.write_bytes(b"")
    assert main(["evaluate", str(broken)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "empty.nii.gz: the file is empty" in line
