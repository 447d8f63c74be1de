import errno
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_unet_seg.cli import main
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.sample import sample_case_path
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import SegmentationError
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


def test_a_report_predicts_no_case_again(
    tmp_path: Path, patients: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = Segmenter.predict, []

    def predict(segmenter: Segmenter, volume: Volume, **given: Any) -> NDArray[np.float32]:
        asked.append(volume)
        return plain(segmenter, volume, **given)

    monkeypatch.setattr(Segmenter, "predict", predict)
    assert main(["evaluate", str(patients), "--model", model, "--report", str(tmp_path / "report")]) == 0
    assert len(asked) == len(open_dataset(patients).cases)


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


def write_scans(folder: Path, names: str, *, huge: str = "") -> Path:
    """Small NIfTI files with a mask of nothing each; those in `huge` have pixels of a metre."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        affine = np.diag([1000.0, 1000, 3, 1] if name in huge else [1.0, 1, 3, 1])
        scan = rng.integers(0, 255, (24, 20, 3)).astype(np.int16)
        nib.save(nib.Nifti1Image(scan, affine), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(np.zeros((24, 20, 3), np.uint8), affine), folder / f"{name}_mask.nii.gz")
    return folder


def test_pixels_of_a_metre_are_the_input_s_fault(tmp_path: Path, model: str, capsys: Capture) -> None:
    scans = write_scans(tmp_path / "in", "abc", huge="b")
    assert main(["predict", str(scans), "--output", str(tmp_path / "out"), "--model", model]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert "b.nii.gz: its slices measure 20 pixels of 1000 mm, which is no head" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mask.nii.gz", "c_mask.nii.gz"]


@pytest.mark.parametrize("command", ["predict", "evaluate", "suggest"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SegmentationError("the network failed on cpu: no"), "case b: the network failed on cpu: no"),
        (MemoryError(), "case b: there is not enough memory for "),
    ],
)
def test_a_case_that_the_computation_fails_on_is_named_and_the_others_go_on(
    tmp_path: Path,
    model: str,
    command: str,
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    scans, predict = write_scans(tmp_path / "in", "abc"), Segmenter.predict

    def fail(segmenter: Segmenter, volume: Volume, **options: object) -> np.ndarray:
        if volume.source is not None and volume.source.name == "b.nii.gz":
            raise error
        return predict(segmenter, volume, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "predict", fail)
    output = ["--output", str(tmp_path / "out")] if command == "predict" else []
    assert main([command, str(scans), *output, "--model", model]) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"napari-unet-seg: {said}")
    assert all(name in captured.out for name in ("a: ", "c: ") if command != "suggest")
    assert ("[3/3] c" in captured.out) == (command != "evaluate")


@pytest.mark.parametrize("command", ["predict", "evaluate", "suggest", "convert"])
def test_a_name_that_is_no_text_ends_nothing(tmp_path: Path, model: str, command: str, capsys: Capture) -> None:
    scans, name = write_scans(tmp_path / "in", "az"), os.fsdecode(b"M\xfcller")
    try:
        for ending in ("", "_mask"):
            (scans / f"a{ending}.nii.gz").rename(scans / f"{name}{ending}.nii.gz")
    except OSError:
        pytest.skip("this system wants names to be text")
    options = [] if command == "convert" else ["--model", model]
    options += {
        "predict": ["--output", str(tmp_path / "out")],
        "convert": [str(tmp_path / "out"), "--to", "files"],
    }.get(command, [])
    if command == "evaluate":
        options += ["--json", str(tmp_path / "s.json"), "--report", str(tmp_path / "report")]
    assert main([command, str(scans), *options]) == 0
    captured = capsys.readouterr()
    assert "M\\udcfcller" in captured.out
    assert captured.err == ""


def test_a_correction_of_a_name_that_is_no_text_is_kept(tmp_path: Path) -> None:
    scans, name = write_scans(tmp_path / "in", "a"), os.fsdecode(b"M\xfcller")
    try:
        (scans / "a.nii.gz").rename(scans / f"{name}.nii.gz")
    except OSError:
        pytest.skip("this system wants names to be text")
    dataset = open_dataset(scans, tmp_path / "overlay")
    dataset.autosave(name, np.ones((3, 20, 24), np.uint8), [1])
    line = dataset.save_correction(name, np.ones((3, 20, 24), np.uint8), [0], annotator=name)
    again = open_dataset(scans, tmp_path / "overlay")
    assert again.corrections(name) == [line]
    assert again.read_autosave(name) is not None


def test_an_input_at_fault_counts_more_than_a_failure(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = write_scans(tmp_path / "in", "ab")
    (scans / "a.nii.gz").write_bytes(b"")

    def fail(segmenter: Segmenter, volume: Volume) -> np.ndarray:
        raise SegmentationError("no")

    monkeypatch.setattr(Segmenter, "predict", fail)
    assert main(["predict", str(scans), "--output", str(tmp_path / "out"), "--model", model]) == 2


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
    printed = capsys.readouterr()
    assert printed.err.endswith("file: cannot be written (file exists); choose another folder\n")
    assert len(printed.err.splitlines()) == 1
    # Before any case.
    assert printed.out == ""


@pytest.mark.parametrize("full", ["from the start", "in the middle"])
@pytest.mark.parametrize("command", ["predict", "convert"])
def test_a_full_disk_ends_it_in_one_line(
    tmp_path: Path, model: str, command: str, full: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    patients = write_kaggle(tmp_path / "in", patients=3, slices=1, size=32)
    write_through, left = atomic.write_through, 0 if full == "from the start" else 3

    def until_full(path: Path, payload: bytes, **options: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_through(path, payload, **options)

    monkeypatch.setattr(atomic, "write_through", until_full)
    out = str(tmp_path / "out")
    options = [out, "--to", "kaggle"] if command == "convert" else ["--output", out, "--model", model]
    assert main([command, str(patients), *options]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "cannot be written (no space left on device)" in line
    done = {"from the start": 0, "in the middle": 1 if command == "convert" else 2}[full]
    assert sum(line.startswith("[") for line in printed.out.splitlines()) == done


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output", [".", "pred", "new/pred", "TCGA_XX_1000_20000101"])
def test_predictions_never_become_part_of_the_dataset(patients: Path, model: str, output: str, capsys: Capture) -> None:
    before = files_in(patients)
    assert main(["predict", str(patients), "--output", str(patients / output), "--model", model]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert "would become part of the dataset; choose a folder outside it" in line
    assert captured.out == ""
    assert files_in(patients) == before


def test_an_output_whose_links_go_in_a_circle_is_refused(
    tmp_path: Path, patients: Path, model: str, capsys: Capture
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    for command in (
        ["predict", str(patients), "--output", str(tmp_path / "circle"), "--model", model],
        ["convert", str(patients), str(tmp_path / "circle"), "--to", "folders"],
    ):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "circle: cannot be " in line


def test_a_prediction_beside_a_scan_would_become_its_mask(tmp_path: Path, model: str, capsys: Capture) -> None:
    tifffile.imwrite(tmp_path / "scan.tif", STACK, photometric="minisblack", metadata={"axes": "ZYX"})
    assert main(["predict", str(tmp_path / "scan.tif"), "--output", str(tmp_path), "--model", model]) == 2
    assert "would become part of the dataset" in capsys.readouterr().err
    assert not (tmp_path / "scan_mask.tif").exists()


def test_a_prediction_beside_a_patient_would_go_into_its_folder(patients: Path, model: str, capsys: Capture) -> None:
    patient, other = sorted(patients.iterdir())
    for path in patient.glob("*_mask.tif"):
        path.unlink()
    before = files_in(patients)
    assert main(["predict", str(patient), "--output", str(patients), "--model", model]) == 2
    assert "would become part of the dataset" in capsys.readouterr().err
    assert files_in(patients) == before
    assert main(["predict", str(patient), "--output", str(other), "--model", model]) == 0


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_what_evaluate_cannot_write_shows_first(
    tmp_path: Path, patients: Path, model: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def never(*given: object, **options: object) -> dict[str, object]:
        raise AssertionError("it was evaluated all the same")

    monkeypatch.setattr("napari_unet_seg.engine.evaluate.evaluate", never)
    (tmp_path / "a file").touch()
    target = tmp_path / "a file" / "scores"
    assert main(["evaluate", str(patients), "--model", model, option, str(target)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line


def test_evaluate_says_where_voxels_are_taken_as_a_millimetre(
    tmp_path: Path, patients: Path, model: str, capsys: Capture
) -> None:
    for path in patients.rglob("*_mask.tif"):
        # As the model has it: then there is a distance.
        tifffile.imwrite(path, np.zeros((32, 32), np.uint8))
    assert main(["evaluate", str(patients), "--model", model, "--json", str(tmp_path / "s.json")]) == 0
    out = capsys.readouterr().out
    assert out.count(" mm, taking voxels as 1 mm") == out.count("TCGA") + 1
    assert "taking voxels as 1 mm in 2 cases" in out
    assert [case["spacing_known"] for case in json.loads((tmp_path / "s.json").read_text())["cases"]] == [False] * 2
    assert main(["evaluate", str(write_scans(tmp_path / "in", "a")), "--model", model]) == 0
    assert "taking voxels" not in capsys.readouterr().out


def test_models_round_trip(tmp_path: Path, model: str, capsys: Capture) -> None:
    assert main(["models", "import", model, "--name", "mine"]) == 0
    assert main(["models", "list"]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["models", "info", "mine"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "small"
    assert main(["models", "export", "mine", str(tmp_path / "out.safetensors")]) == 0
    assert main(["models", "remove", "mine"]) == 0
    assert main(["models", "info", "mine"]) == 2


def test_the_version_is_the_package_s(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"napari-unet-seg {version('napari-unet-seg')}\n"


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
