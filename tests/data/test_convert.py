import json

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_seg.cli import main
from napari_unet_seg.data.convert import TARGETS, convert
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.data.layouts import kaggle
from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.errors import InputError

AFFINE = np.array([[-1.0, 0.1, 0, -5], [-0.1, -1.0, 0, 7], [0, 0, 3.0, 2], [0, 0, 0, 1]])
KEEP_UNLABELLED = ("kaggle", "nnunet", "folders", "coco")


@pytest.fixture
def patients(tmp_path):
    """Three patients: one whole, one with a mask for some slices, one without."""
    root = write_kaggle(tmp_path / "in", patients=3, slices=5, size=24)
    _, some, none = sorted(root.iterdir())
    for path in [*some.glob("*_[24]_mask.tif"), *none.glob("*_mask.tif")]:
        path.unlink()
    return root


@pytest.fixture
def sequences(tmp_path):
    """A case of two sequences, 16 bits, with classes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "in" / "sub-01"
    root.mkdir(parents=True)
    for name, values in {
        "t1": rng.integers(-9, 3000, (20, 22, 5)).astype(np.int16),
        "flair": rng.normal(size=(20, 22, 5)).astype(np.float32),
        "seg": rng.integers(0, 4, (20, 22, 5), dtype=np.uint8),
    }.items():
        nib.save(nib.Nifti1Image(values, AFFINE), root / f"sub-01_{name}.nii.gz")
    return root.parent


def test_a_case_that_does_not_fit_in_memory_is_told_and_the_others_go_on(tmp_path, patients, monkeypatch, capsys):
    read = kaggle.KaggleScan.read_image

    def fail(scan):
        if scan.case_id.endswith("1001_20000101"):
            raise MemoryError
        return read(scan)

    monkeypatch.setattr(kaggle.KaggleScan, "read_image", fail)
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", "kaggle"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "case TCGA_XX_1001_20000101: there is not enough memory for convert" in line
    assert len(open_dataset(tmp_path / "out")) == 2


def assert_same_masks(one, other):
    assert [case.case_id for case in one] == [case.case_id for case in other]
    for case in one:
        mask, again = case.read_mask(), other[case.case_id].read_mask()
        assert (mask is None) == (again is None)
        if mask is not None:
            np.testing.assert_array_equal(again, mask)


@pytest.mark.parametrize("layout", sorted(TARGETS))
def test_masks_and_unlabelled_slices_are_the_same(tmp_path, patients, layout, capsys):
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", layout]) == 0
    said = capsys.readouterr().out
    assert "[3/3] TCGA_XX_1002_20000101: 3 channels, 5 slices of 24x24" in said
    source, result = open_dataset(patients), open_dataset(tmp_path / "out")
    assert result.layout == layout
    if layout in ("folders", "coco"):
        return  # a picture is a case there; see their own tests
    assert_same_masks(source, result)
    for case in source:
        np.testing.assert_array_equal(result[case.case_id].read_image().data, case.read_image().data)
        if layout in KEEP_UNLABELLED:
            np.testing.assert_array_equal(result[case.case_id].labelled_slices(), case.labelled_slices())
    assert (layout not in KEEP_UNLABELLED) == ("which slices are unlabelled" in said)


@pytest.mark.parametrize("layout", ["nnunet", "sequences", "files"])
def test_nifti_keeps_pixels_and_geometry(tmp_path, sequences, layout):
    source = open_dataset(sequences)
    convert(source, tmp_path / "out", layout=layout)
    result = open_dataset(tmp_path / "out")
    assert_same_masks(source, result)
    before, after = source["sub-01"].read_image(), result["sub-01"].read_image()
    np.testing.assert_array_equal(after.data, before.data)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
    assert after.spacing == pytest.approx(before.spacing)
    if layout != "files":
        assert after.channel_names == before.channel_names


def test_there_and_back(tmp_path, patients):
    source = open_dataset(patients)
    convert(source, tmp_path / "a", layout="nnunet")
    convert(open_dataset(tmp_path / "a"), tmp_path / "b", layout="sequences")
    convert(open_dataset(tmp_path / "b"), tmp_path / "c", layout="kaggle")
    result = open_dataset(tmp_path / "c")
    assert_same_masks(source, result)
    for case in source:
        np.testing.assert_array_equal(result[case.case_id].read_image().data, case.read_image().data)


def test_kaggle_keeps_the_size_of_a_pixel(tmp_path):
    values = np.random.default_rng(0).integers(0, 999, (20, 22, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-0.5, -0.75, 3, 1])), tmp_path / "a.nii")
    notes = convert(open_dataset(tmp_path / "a.nii"), tmp_path / "out", layout="kaggle")
    (case,) = open_dataset(tmp_path / "out")
    volume = case.read_image()
    assert volume.spacing == pytest.approx((1, 0.75, 0.5))
    np.testing.assert_array_equal(volume.data, open_dataset(tmp_path / "a.nii")["a"].read_image().data)
    assert len(notes) == 1
    assert "no place for the distance between slices" in notes[0]


def test_nnunet_describes_its_classes(tmp_path, sequences):
    convert(open_dataset(sequences), tmp_path / "out", layout="nnunet")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == {
        "channel_names": {"0": "t1", "1": "flair"},
        "labels": {"background": 0, "tumour": 1, "class_2": 2, "class_3": 3},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


@pytest.mark.parametrize(
    ("layout", "problem"),
    [("dicom", "DICOM is read but not made"), ("pdf", "no layout 'pdf' to convert to; choose .*kaggle")],
)
def test_layout_that_cannot_be_written(tmp_path, patients, layout, problem, capsys):
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", layout]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(InputError, match=problem):
        convert(open_dataset(patients), tmp_path / "out", layout=layout)
    assert not (tmp_path / "out").exists()


def test_folder_with_something_in_it(tmp_path, patients):
    dataset = open_dataset(patients)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").touch()
    for folder, problem in {
        tmp_path / "out": "this folder is not empty",
        tmp_path / "out" / ".hidden": "this is a file",
        patients / "out": "would become part of the dataset",
    }.items():
        with pytest.raises(InputError, match=problem):
            convert(dataset, folder, layout="kaggle")


def test_empty_folder_is_used(tmp_path, patients):
    (tmp_path / "out").mkdir()
    convert(open_dataset(patients), tmp_path / "out", layout="kaggle")
    assert len(open_dataset(tmp_path / "out")) == 3


@pytest.mark.parametrize("layout", ["kaggle", "nnunet", "sequences", "files"])
def test_bad_case_is_reported_and_the_others_go_on(tmp_path, patients, layout, capsys):
    (patients / "TCGA_XX_1001_20000101" / "TCGA_XX_1001_20000101_2.tif").write_bytes(b"")
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", layout]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "TCGA_XX_1001_20000101_2.tif: the file is empty" in captured.err
    assert "[3/3] TCGA_XX_1002" in captured.out
    assert len(open_dataset(tmp_path / "out")) == 2


def test_case_that_a_layout_cannot_hold(tmp_path, sequences):
    with pytest.raises(InputError, match=r"sub-01 has 2 channels; this layout holds one, or three"):
        convert(open_dataset(sequences), tmp_path / "out", layout="kaggle")
    tifffile.imwrite(tmp_path / "a.tif", np.ones((5, 16, 18), np.int16))
    with pytest.raises(InputError, match=r"a has channels \(no name\) that are not known to be different sequences"):
        convert(open_dataset(tmp_path / "a.tif"), tmp_path / "out", layout="sequences")
    assert not (tmp_path / "out").exists()


def test_stopping_leaves_whole_cases(tmp_path, patients, monkeypatch):
    written = []

    def encode(volume, z):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(z)
        return original(volume, z)

    original = kaggle.tiff.encode_slice
    monkeypatch.setattr(kaggle.tiff, "encode_slice", encode)
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", "kaggle"]) == 130
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["TCGA_XX_1000_20000101"]
    (case,) = open_dataset(tmp_path / "out")
    np.testing.assert_array_equal(case.read_mask(), open_dataset(patients)[case.case_id].read_mask())


def test_no_good_case_leaves_no_dataset(tmp_path, patients):
    for path in patients.rglob("*_1.tif"):
        path.write_bytes(b"")
    failed = []
    convert(open_dataset(patients), tmp_path / "out", layout="nnunet", failed=lambda case, error: failed.append(case))
    assert len(failed) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["kaggle", "nnunet", "sequences", "files"])
def test_name_with_its_split(tmp_path, layout):
    volume, mask = make_phantom(slices=4, size=16)
    writer = TARGETS[layout](tmp_path / "out")
    writer.add("train/a", volume, mask, np.ones(4, bool))
    with pytest.raises(InputError, match="two cases would have this file"):
        writer.add("train_a", volume, mask, np.ones(4, bool))
    writer.close()
    (case,) = open_dataset(tmp_path / "out")
    assert case.case_id == "train_a"
    np.testing.assert_array_equal(case.read_mask(), mask)


def correct(root, case_id):
    """Correct slices of a case, one of them twice, and take another correction back."""
    dataset = open_dataset(root)
    mask = dataset[case_id].read_mask()
    mask[1] = 1 - mask[1]
    mask[3, 2:5] = 1
    dataset.save_correction(case_id, mask, [1, 3], annotator="one", model="default", seconds=9)
    mask[3, 0, 0] = 1
    dataset.save_correction(case_id, mask, [3], annotator="two", kind="interpolated")
    dataset.revert(dataset.save_correction(case_id, mask, [0], kind="accepted").id)
    return open_dataset(root)


def who(dataset, case_id):
    shown = dataset[case_id].shown_corrections()
    return {z: (line.time, line.annotator, line.model, line.kind, line.seconds) for z, line in shown.items()}


@pytest.mark.parametrize("layout", sorted(TARGETS))
def test_the_copy_knows_what_was_corrected(tmp_path, patients, layout, capsys):
    case_id = "TCGA_XX_1001_20000101"
    source, out = correct(patients, case_id), tmp_path / "out"
    assert main(["convert", str(patients), str(out), "--to", layout]) == 0
    assert f"what the masks were before that stays with {patients}" in capsys.readouterr().out
    copy = open_dataset(out)
    assert copy.repair_notes == []
    assert copy.corrected_slices() == source.corrected_slices() == {case_id: [1, 3]}
    assert who(copy, case_id) == who(source, case_id)
    mask = source[case_id].read_mask()
    np.testing.assert_array_equal(copy[case_id].read_mask(), mask)
    for line in copy.corrections():
        assert line.hash_before == line.hash_after
        for change in line.files:
            assert change.before == change.after == sha256_of(out / change.file)
    mask[2, 5] = 1
    copy.save_correction(case_id, mask, [2])
    copy.revert(copy.corrections()[0].id)
    assert open_dataset(out).corrected_slices() == {case_id: [2, 3]}
    np.testing.assert_array_equal(open_dataset(out)[case_id].read_mask(), mask)


def test_corrections_of_a_case_with_its_split_go_along(tmp_path):
    for split in ("train", "val"):
        for folder, values in (("images", np.arange(80)), ("masks", np.zeros(80))):
            path = tmp_path / "in" / split / folder / "a.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(values.reshape(8, 10).astype(np.uint8)).save(path)
    source = open_dataset(tmp_path / "in")
    source.save_correction("val/a", np.ones((1, 8, 10)), [0])
    convert(source, tmp_path / "out", layout="files")
    assert open_dataset(tmp_path / "out").corrected_slices() == {"val_a": [0]}


def test_corrections_that_the_copy_cannot_tell_stay_and_that_is_said(tmp_path, patients, monkeypatch, capsys):
    case_id = "TCGA_XX_1001_20000101"
    correct(patients, case_id)
    monkeypatch.setattr("napari_unet_seg.data.convert._is_same", lambda *_: False)
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", "kaggle"]) == 0
    assert f"the corrections of {case_id} stay with {patients}" in capsys.readouterr().out
    assert open_dataset(tmp_path / "out").corrections() == []


def test_a_copy_without_corrections_has_no_log(tmp_path, patients, capsys):
    assert main(["convert", str(patients), str(tmp_path / "out"), "--to", "kaggle"]) == 0
    assert "corrected" not in capsys.readouterr().out
    assert not (tmp_path / "out" / ".unetseg").exists()


@pytest.mark.parametrize("names", [["t1", "t2"], ["t0", "t1", "t2", "t3", "t4"]])
def test_cases_that_would_be_taken_for_sequences_of_one_are_told(tmp_path, names, capsys):
    (tmp_path / "in").mkdir()
    for name in names:
        for ending in ("", "_mask"):
            tifffile.imwrite(tmp_path / "in" / f"{name}{ending}.tif", np.arange(5 * 16 * 18).reshape(5, 16, 18) % 2)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--to", "files"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"out: {len(names)} cases, {len(names)} with a mask, were written here, but open as 1, " in line
    assert line.endswith("because of what they are called; rename them, or convert to another layout")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "other"), "--to", "nnunet"]) == 0
