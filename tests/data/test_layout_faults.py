"""What people's folders look like: one clear line each, and the other cases still usable."""

import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import files, kaggle, sequences
from napari_unet_seg.errors import InputError
from tests.data.test_dataset import make_patient, make_sequences, save_nifti

NAMES = ["two words", "Müller", "Mu\u0308ller", "o'brien", 'a "b" c', "脳", "a;b&c", "100%", "-x", "a.b_1"]


def read_all(scan):
    """Everything of a scan, as the dock reads it."""
    volume = scan.read_image()
    assert volume.shape == scan.read_shape()
    labels = [scan.decode_mask(file, file.path) for file in scan.mask_files() if file.path.exists()]
    return volume, labels


def the_good_one(root, name="good"):
    """The case beside the broken one can be read."""
    read_all({case.case_id: case for case in kaggle.open_cases(root)}[name])


def by_name(cases, name):
    (found,) = (case for case in cases if case.case_id == name)
    return found


@pytest.fixture
def patients(tmp_path):
    make_patient(tmp_path / "good", slices=3)
    make_patient(tmp_path / "bad", slices=4)
    return tmp_path


@pytest.mark.parametrize("payload", [b"", b"II*\0", b"no image"])
@pytest.mark.parametrize("name", ["bad_2.tif", "bad_2_mask.tif"])
def test_broken_slice(patients, payload, name):
    (patients / "bad" / name).write_bytes(payload)
    with pytest.raises(InputError, match=rf"{name}: (the file is empty|this )") as caught:
        read_all(by_name(kaggle.open_cases(patients), "bad"))
    assert "\n" not in str(caught.value)
    the_good_one(patients)


def test_truncated_slice(patients):
    path = patients / "bad" / "bad_2.tif"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"bad_2\.tif: this TIFF is damaged or cut short"):
        read_all(by_name(kaggle.open_cases(patients), "bad"))


def test_one_number_twice(patients):
    source = patients / "bad" / "bad_3.tif"
    source.with_name("bad_03.tif").write_bytes(source.read_bytes())
    scan = by_name(open_dataset(patients).cases, "bad")
    with pytest.raises(InputError, match=r"bad: bad_03\.tif and bad_3\.tif are both slice 3; rename or remove one"):
        scan.read_image()
    the_good_one(patients)


def test_name_with_a_line_break(tmp_path):
    path = tmp_path / "two  spaces\nand a line.tif"
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"two  spaces and a line\.tif: this is not a TIFF") as caught:
        files.open_cases(tmp_path)[0].read_image()
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.path == path


def test_masks_above_the_patients_hide_no_patient(tmp_path):
    name = "TCGA_CS_4941_19960909"
    make_patient(tmp_path / name)
    stray = tmp_path / f"{name}_3_mask.tif"
    stray.write_bytes((tmp_path / name / stray.name).read_bytes())
    dataset = open_dataset(tmp_path)
    assert (dataset.layout, [case.case_id for case in dataset.cases]) == ("kaggle", [name])
    volume = dataset[name].read_image()
    assert f"masks beside the patients' folders are not used: {stray.name}" in volume.notes
    assert stray not in dataset.mask_paths()


def test_patients_hidden_by_a_slice_above_them_are_named(tmp_path):
    for name in ("TCGA_CS_4941_19960909", "TCGA_CS_4942_19970222"):
        make_patient(tmp_path / name)
    slice_of_one = tmp_path / name / f"{name}_3.tif"
    (tmp_path / slice_of_one.name).write_bytes(slice_of_one.read_bytes())
    (case,) = open_dataset(tmp_path).cases
    said = "patients in folders below slices that lie here are not used: TCGA_CS_4941_19960909, TCGA_CS_4942_19970222; "
    assert any(note.startswith(said) for note in case.read_image().notes)


@pytest.mark.parametrize("image", ["tif", "tiff"])
def test_of_two_masks_the_one_with_the_extension_of_the_image(patients, image):
    (patients / "bad" / "bad_1.tif").rename(patients / "bad" / f"bad_1.{image}")
    mask = patients / "bad" / "bad_1_mask.tif"
    mask.with_suffix(".tiff").write_bytes(mask.read_bytes())
    scan = by_name(kaggle.open_cases(patients), "bad")
    assert scan.mask_paths[0] == mask.with_suffix(f".{image}")
    spare = {"tif": "tiff", "tiff": "tif"}[image]
    assert f"bad has two masks of one slice; not used: bad_1_mask.{spare}" in scan.read_image().notes


def test_copy_of_a_patient_is_noted(patients):
    (patients / "bad").rename(patients / "good (copy)")
    (scan,) = open_dataset(patients).cases
    note = "folders whose slices are not named after them are not used: good (copy)"
    assert note in scan.read_image().notes


def test_gap_in_the_numbers(patients):
    for number in (2, 3):
        (patients / "bad" / f"bad_{number}.tif").unlink()
    scan = by_name(kaggle.open_cases(patients), "bad")
    volume, _ = read_all(scan)
    assert volume.notes[0] == "bad lacks slice 2, 3; the scan is shown without the gap"
    assert volume.notes[1] == "bad has masks without an image, which are not used: bad_2_mask.tif, bad_3_mask.tif"


def test_patient_with_masks_alone(patients):
    for number in range(1, 5):
        (patients / "bad" / f"bad_{number}.tif").unlink()
    scan = by_name(open_dataset(patients).cases, "bad")
    with pytest.raises(InputError, match=r"bad: there are masks but no images; put bad_<n>\.tif beside them"):
        scan.read_image()
    the_good_one(patients)


def test_mask_of_another_shape(patients):
    tifffile.imwrite(patients / "bad" / "bad_1_mask.tif", np.zeros((16, 20), np.uint8))
    with pytest.raises(InputError, match=r"bad_1_mask\.tif: the mask has shape \(1, 16, 20\) but its image"):
        read_all(by_name(kaggle.open_cases(patients), "bad"))


@pytest.mark.parametrize("high", [1, 255, 3])
@pytest.mark.parametrize("colours", [False, True])
def test_mask_values_are_as_stored_and_stay_so(patients, high, colours):
    values = np.random.default_rng(0).integers(0, high + 1 if high == 3 else 2, (16, 18), dtype=np.uint8)
    values *= 1 if high == 3 else high
    path = patients / "bad" / "bad_1_mask.tif"
    tifffile.imwrite(path, np.stack([values] * 3, -1) if colours else values, photometric="rgb" if colours else None)
    scan = by_name(kaggle.open_cases(patients), "bad")
    file = scan.mask_files()[0]
    np.testing.assert_array_equal(scan.decode_mask(file, path)[0], values)
    labels = np.roll(values, 3)[np.newaxis]
    path.write_bytes(scan.encode_mask(file, labels, former=path, original=None))
    assert tifffile.imread(path).shape == ((16, 18, 3) if colours else (16, 18))
    np.testing.assert_array_equal(scan.decode_mask(file, path), labels)


def test_mask_of_differing_colours(patients):
    colours = np.zeros((16, 18, 3), np.uint8)
    colours[4, 4, 0] = 255
    tifffile.imwrite(patients / "bad" / "bad_1_mask.tif", colours, photometric="rgb")
    with pytest.raises(InputError, match=r"bad_1_mask\.tif: the mask is a colour image"):
        read_all(by_name(kaggle.open_cases(patients), "bad"))


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("train", "train_mask")])
def test_public_patients_sorted_into_folders(tmp_path, images, masks):
    for folder in (images, masks):
        (tmp_path / folder).mkdir()
        for number in (1, 2):
            name = f"TCGA_CS_4941_19960909_{number}.tif"
            tifffile.imwrite(tmp_path / folder / name, np.zeros((16, 18), np.uint8))
    assert not kaggle.detect(tmp_path)


def test_new_mask_is_found_again(patients):
    (patients / "bad" / "bad_2_mask.tif").unlink()
    scan = by_name(kaggle.open_cases(patients), "bad")
    file = scan.mask_files()[1]
    labels = np.zeros((1, 16, 18), np.uint8)
    labels[0, 4, 5] = scan.foreground
    file.path.write_bytes(scan.encode_mask(file, labels, former=None, original=None))
    again = by_name(kaggle.open_cases(patients), "bad")
    assert again.slices[1].mask_name == "bad_2_mask.tif"
    np.testing.assert_array_equal(again.decode_mask(again.mask_files()[1], file.path), labels)
    assert labels.max() == 255


@pytest.mark.parametrize("name", NAMES)
def test_names(tmp_path, name):
    make_patient(tmp_path / "k" / name, slices=2)
    (scan,) = kaggle.open_cases(tmp_path / "k")
    assert (scan.case_id, len(read_all(scan)[1])) == (name, 2)
    make_sequences(tmp_path / "s" / name)
    (scan,) = sequences.open_cases(tmp_path / "s")
    assert (scan.case_id, len(read_all(scan)[1])) == (name, 1)
    save_nifti(tmp_path / "f" / f"{name}.nii.gz", np.ones((9, 10, 5), np.int16))
    save_nifti(tmp_path / "f" / f"{name}_mask.nii.gz", np.ones((9, 10, 5), np.uint8))
    (scan,) = files.open_cases(tmp_path / "f")
    assert (scan.case_id, len(read_all(scan)[1])) == (name, 1)


def test_umlaut_written_in_two_ways(tmp_path):
    make_patient(tmp_path / "Müller", slices=2, name="Müller")
    for path in (tmp_path / "Müller").glob("*_mask.tif"):
        path.rename(path.with_name(path.name.replace("ü", "u\u0308")))
    (scan,) = kaggle.open_cases(tmp_path)
    assert len(read_all(scan)[1]) == 2


@pytest.mark.parametrize("target", ["..", ".", "../good"])
def test_links_in_a_circle(patients, target):
    (patients / "bad" / "again").symlink_to(target)
    (patients / "more").mkdir()
    (patients / "more" / "again").symlink_to(target)
    (patients / "self").symlink_to("self")
    assert [case.case_id for case in open_dataset(patients)] == ["bad", "good"]


def test_link_to_itself_alone(tmp_path):
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(InputError, match="found no images"):
        open_dataset(tmp_path)


def test_patients_that_are_links(tmp_path):
    make_patient(tmp_path / "store" / "p1", slices=2)
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "p1").symlink_to("../store/p1")
    (scan,) = open_dataset(tmp_path / "chosen").cases
    assert scan.read_image().shape == (2, 16, 18)


def test_slice_that_is_a_link_to_nowhere(patients):
    path = patients / "bad" / "bad_2.tif"
    path.unlink()
    path.symlink_to("nowhere.tif")
    with pytest.raises(InputError, match=r"bad_2\.tif: there is no such file"):
        by_name(kaggle.open_cases(patients), "bad").read_image()
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(InputError, match=r"bad_2\.tif: cannot be opened \(too many levels"):
        by_name(kaggle.open_cases(patients), "bad").read_image()


def test_lone_masks_are_noted(tmp_path):
    save_nifti(tmp_path / "a.nii", np.ones((9, 10, 5), np.int16))
    save_nifti(tmp_path / "b_mask.nii", np.ones((9, 10, 5), np.uint8))
    (scan,) = files.open_cases(tmp_path)
    assert scan.read_image().notes == ("masks that belong to no image are not used: b_mask.nii",)


def test_folders_beside_a_stray_image_are_noted(tmp_path):
    save_nifti(tmp_path / "template.nii", np.ones((9, 10, 5), np.int16))
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        save_nifti(tmp_path / patient / "scan.nii", np.ones((9, 10, 5), np.int16))
    (tmp_path / "masks only").mkdir()
    save_nifti(tmp_path / "masks only" / "template_mask.nii", np.ones((9, 10, 5), np.uint8))
    (case,) = open_dataset(tmp_path)
    assert case.read_image().notes == ("folders with images are not looked into: p1, p2; open them by themselves",)
    for number in range(3):
        save_nifti(tmp_path / f"p{number}.nii", np.ones((9, 10, 5), np.int16))
    # A copy or two of what lies here are no patients.
    assert open_dataset(tmp_path).cases[0].read_image().notes == ()


def test_folders_are_not_looked_into_where_no_image_lies_beside(tmp_path, monkeypatch):
    (tmp_path / "p1").mkdir()
    monkeypatch.setattr(files, "_folders_with_images", lambda folder: pytest.fail("it was looked into"))
    assert files.open_cases(tmp_path) == []


@pytest.mark.parametrize("name", ["c1_flair.nii.gz", "c1_seg.nii.gz"])
@pytest.mark.parametrize("kept", [0.5, 0])
def test_broken_sequence(tmp_path, name, kept):
    make_sequences(tmp_path / "c1")
    make_sequences(tmp_path / "c2")
    path = tmp_path / "c1" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    scans = sequences.open_cases(tmp_path)
    with pytest.raises(InputError, match=rf"{name}: (this NIfTI file is damaged|the file is empty)"):
        read_all(by_name(scans, "c1"))
    read_all(by_name(scans, "c2"))


def test_opening_many_slices_reads_none(tmp_path, monkeypatch):
    for index in range(20):
        folder = tmp_path / f"p{index}"
        folder.mkdir()
        for number in range(100):
            (folder / f"p{index}_{number}.tif").touch()
            (folder / f"p{index}_{number}_mask.tif").touch()
    monkeypatch.setattr("pathlib.Path.open", None)
    monkeypatch.setattr("tifffile.TiffFile", None)
    cases = kaggle.open_cases(tmp_path)
    assert len(cases) == 20
    assert all(len(case.mask_files()) == 100 for case in cases)
