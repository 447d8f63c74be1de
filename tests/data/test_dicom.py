import os
import subprocess
import sys

import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRBigEndian, HTJ2KLossless, ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.formats.dicom_name import has_magic
from napari_unet_seg.data.layouts import dicom, dicom_scan
from napari_unet_seg.errors import InputError
from tests.data.dicom_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    SPACING,
    STEP,
    new_file,
    oblique,
    positions_of,
    save,
    take_preamble,
    uid,
    write_enhanced,
    write_series,
)

SHUFFLED = ["IM9", "a.dcm", "IM10", "b.IMA", "1.2.840.5", "zz"]


def values(count=6, *, dtype=np.int16, low=0, seed=0):
    return np.random.default_rng(seed).integers(low, 1000, (count, 7, 8)).astype(dtype)


def only(path):
    (case,) = dicom.open_cases(path)
    return case


def world(volume, z, y, x):
    return volume.affine @ (x, y, z, 1)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, oblique(), oblique(1.4, -0.4)])
def test_voxels_lie_where_simpleitk_has_them(tmp_path, orientation):
    paths = write_series(tmp_path / "s", values(), orientation=orientation, names=SHUFFLED)
    volume = only(tmp_path / "s").read_image()
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    image = reader.Execute()
    itk = SimpleITK.GetArrayFromImage(image)
    landmark = itk.max()
    for index in zip(*np.nonzero(itk == landmark), strict=True):
        place = np.array(image.TransformIndexToPhysicalPoint([int(each) for each in index[::-1]]))
        guess = np.linalg.inv(volume.affine) @ (*place * (-1, -1, 1), 1)
        x, y, z = np.rint(guess[:3]).astype(int)
        np.testing.assert_allclose(world(volume, z, y, x)[:3], place * (-1, -1, 1), atol=1e-4)
        assert volume.data[0, z, y, x] == landmark
    assert sorted(volume.data.ravel()) == sorted(itk.ravel())


def test_axes_run_as_on_the_screen(tmp_path):
    write_series(tmp_path / "s", values(), orientation=SAGITTAL)
    volume = only(tmp_path / "s").read_image()
    assert volume.data.shape == (1, 7, 8, 6)
    assert volume.spacing == pytest.approx((0.9, 1.1, STEP))
    signs = np.sign(np.diag(volume.affine)[:3])
    np.testing.assert_array_equal(signs, (-1, -1, 1))
    assert volume.data.flags.c_contiguous


def test_slices_are_ordered_by_position_and_spaced_by_it(tmp_path):
    pixels = values()
    # Neither the names nor the numbers say how the slices follow one another.
    write_series(tmp_path / "s", pixels, names=SHUFFLED, InstanceNumber=[3, 1, 6, 2, 5, 4])
    volume = only(tmp_path / "s").read_image()
    np.testing.assert_array_equal(volume.data[0], pixels)
    assert volume.spacing == pytest.approx((STEP, 0.9, 1.1))
    assert volume.spacing_known
    assert volume.notes == ()


def test_without_a_scale_the_type_is_kept(tmp_path):
    pixels = values(low=-500)
    write_series(tmp_path / "s", pixels, RescaleSlope=1, RescaleIntercept=0)
    volume = only(tmp_path / "s").read_image()
    assert volume.data.dtype == np.int16
    np.testing.assert_array_equal(volume.data[0], pixels)


@pytest.mark.parametrize(("dtype", "stored"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.uint8, 8)])
def test_where_the_lowest_value_is_white_simpleitk_agrees(tmp_path, dtype, stored):
    pixels = values(2).astype(dtype)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": stored, "HighBit": stored - 1}
    paths = write_series(tmp_path / "s", pixels, **tags)
    volume = only(tmp_path / "s").read_image()
    expected = np.stack([SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0] for path in paths])
    np.testing.assert_array_equal(volume.data[0], expected)
    assert volume.data.dtype == dtype
    assert np.corrcoef(volume.data.ravel(), pixels.ravel())[0, 1] == pytest.approx(-1)


def test_each_slice_is_scaled_by_its_own_slope(tmp_path):
    pixels = values(3, dtype=np.uint16)
    write_series(tmp_path / "s", pixels, RescaleSlope=[1, 2, 0.5], RescaleIntercept=[0, -100, 0])
    volume = only(tmp_path / "s").read_image()
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data[0], [pixels[0], pixels[1] * 2.0 - 100, pixels[2] * 0.5])


@pytest.mark.parametrize(
    ("dtype", "padding", "stored"),
    [
        (np.int16, {"PixelPaddingValue": -2000}, [-2000]),
        (np.uint16, {"PixelPaddingValue": 63536}, [63536]),
        (np.int16, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}, [-2000, -1995, -1990]),
        (np.uint16, {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 65530}, [65530, 65535]),
    ],
)
def test_padding_is_as_dark_as_the_darkest_pixel(tmp_path, dtype, padding, stored):
    pixels = values(3).astype(dtype) + 100
    padded = np.zeros(pixels.shape, bool)
    padded[1:, :3] = True
    padded[2, :, -2:] = True
    given = np.where(padded, np.resize(stored, pixels.shape), pixels).astype(dtype)
    write_series(tmp_path / "s", given, **padding)
    volume = only(tmp_path / "s").read_image()
    np.testing.assert_array_equal(volume.data[0], np.where(padded, pixels[~padded].min(), pixels))
    assert volume.data.dtype == dtype


def test_padding_is_found_before_pixels_are_scaled_or_turned(tmp_path):
    pixels = values(2, dtype=np.uint16) + 50
    pixels[0, :4] = 4000
    white = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    write_series(tmp_path / "s", pixels, PixelPaddingValue=4000, RescaleSlope=2, RescaleIntercept=-7, **white)
    volume = only(tmp_path / "s").read_image()
    expected = (4095.0 - pixels) * 2 - 7
    expected[0, :4] = expected[pixels != 4000].min()
    np.testing.assert_allclose(volume.data[0], expected)


def test_a_scan_of_padding_alone_is_read_as_it_is(tmp_path):
    write_series(tmp_path / "s", np.full((2, 8, 9), 5, np.uint16), PixelPaddingValue=5)
    assert (only(tmp_path / "s").read_image().data == 5).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_other_encodings(tmp_path, syntax, dtype):
    pixels = values(dtype=dtype)
    write_series(tmp_path / "s", pixels, syntax=syntax)
    volume = only(tmp_path / "s").read_image()
    np.testing.assert_array_equal(volume.data[0], pixels)
    assert volume.data.dtype == dtype
    assert volume.data.dtype.isnative


def test_compressed_pixels(tmp_path):
    pixels = values()
    for path in write_series(tmp_path / "s", pixels):
        data = pydicom.dcmread(path)
        data.compress(RLELossless, generate_instance_uid=False)
        data.save_as(path)
    np.testing.assert_array_equal(only(tmp_path / "s").read_image().data[0], pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
def test_lossless_jpeg(tmp_path, dtype):
    pixels = values(dtype=dtype)
    for path, one in zip(write_series(tmp_path / "s", pixels), pixels, strict=True):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        data.PixelData = encapsulate([imagecodecs.ljpeg_encode(one.view(f"u{one.itemsize}"))])
        data["PixelData"].VR = "OB"
        data.save_as(path)
    volume = only(tmp_path / "s").read_image()
    np.testing.assert_array_equal(volume.data[0], pixels)
    assert volume.data.dtype == dtype


def test_missing_decoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(get_decoder(HTJ2KLossless), "_available", {})
    (path,) = write_series(tmp_path / "s", values(1, dtype=np.uint16))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    data.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    with pytest.raises(InputError, match=r"IM0000: its pixels are compressed \(High-Throughput .* no decoder"):
        only(tmp_path / "s").read_image()


@pytest.mark.parametrize("shared", [True, False])
def test_frames_of_an_enhanced_file_are_ordered_and_scaled(tmp_path, shared):
    pixels = values(5)
    write_enhanced(tmp_path / "s" / "e", pixels, order=[3, 1, 0, 4, 2], slope=[2, 2, 1, 1, 2], shared=shared)
    volume = only(tmp_path / "s").read_image()
    np.testing.assert_allclose(volume.data[0], pixels * np.array([2, 2, 1, 1, 2])[:, None, None])
    assert volume.spacing == pytest.approx((STEP, 0.9, 1.1))


def test_series_in_one_folder_are_told_apart(tmp_path):
    folder = tmp_path / "p1"
    write_series(folder, values(), series="one", description="ax dwi", number=3)
    write_series(folder, values(4), series="two", description="localizer: 2", number=1, first=10)
    for opened in (folder, tmp_path):
        cases = {case.case_id: case for case in dicom.open_cases(opened)}
        assert sorted(cases) == ["p1_1_localizer_2", "p1_3_ax_dwi"]
        assert cases["p1_3_ax_dwi"].read_shape() == (6, 7, 8)
        assert cases["p1_1_localizer_2"].read_shape() == (4, 7, 8)


def test_sequences_on_one_grid_are_channels(tmp_path):
    folder = tmp_path / "patient 1"
    for index, (name, description) in enumerate([("b", "AX T1 POST"), ("a", "ax flair"), ("c", "ax t1")]):
        write_series(folder / name, values(seed=index), series=name, description=description, number=index)
    write_series(folder / "d", values(3), series="d", description="ax t2", number=7)
    cases = {case.case_id: case for case in dicom.open_cases(folder)}
    assert sorted(cases) == ["d", "patient 1"]
    volume = cases["patient 1"].read_image()
    assert volume.channel_names == ("ax t1", "ax flair", "AX T1 POST")
    for channel, seed in zip(volume.data, (2, 1, 0), strict=True):
        np.testing.assert_array_equal(channel, values(seed=seed))


def test_same_sequence_twice_is_two_cases(tmp_path):
    write_series(tmp_path / "a", values(), series="a", description="flair")
    write_series(tmp_path / "b", values(), series="b", description="flair")
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["a", "b"]


def test_another_study_is_another_case(tmp_path):
    for patient in ("p1", "p2"):
        write_series(tmp_path / patient / "t1", values(), study=patient, description="t1")
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["p1_t1", "p2_t1"]


@pytest.mark.parametrize("what", ["PatientID", "StudyInstanceUID"])
@pytest.mark.parametrize("shift", [0, 20])
@pytest.mark.parametrize("description", ["flair", "ax dwi"])
def test_patients_whose_series_have_one_identifier_are_told_apart(tmp_path, what, shift, description):
    for place, patient in enumerate(("p1", "p2")):
        positions = [np.add(each, (0, 0, shift * place)) for each in positions_of(6)]
        write_series(
            tmp_path / patient,
            values() + 100 * place,
            positions=positions,
            description=description,
            **{what: f"1.{place + 1}"},
        )
    dataset = open_dataset(tmp_path)
    assert [case.case_id for case in dataset] == ["p1", "p2"]
    for place, case in enumerate(dataset):
        np.testing.assert_array_equal(case.read_image().data[0], values() + 100 * place)
        mask = np.zeros((6, 7, 8), np.uint8)
        mask[place, :3] = 1
        dataset.save_correction(case.case_id, mask)
    for place, case in enumerate(open_dataset(tmp_path)):
        assert np.flatnonzero(case.read_mask().any(axis=(1, 2))).tolist() == [place]
    # Whatever a mask is called.
    (tmp_path / "p1" / "p1_seg.dcm").unlink()
    drawn = (tmp_path / "p2" / "p2_seg.dcm").rename(tmp_path / "p2" / "drawn.dcm")
    assert [case.has_mask for case in open_dataset(tmp_path)] == [False, True]
    # Nor if it names no patient: it lies beside its images.
    data = pydicom.dcmread(drawn)
    data.PatientID = ""
    data.save_as(drawn)
    assert [case.has_mask for case in open_dataset(tmp_path)] == [False, True]


def test_sequences_of_two_patients_with_the_same_identifiers_are_no_channels(tmp_path):
    for patient, description in (("p1", "t1"), ("p2", "flair")):
        write_series(tmp_path / patient, values(), series=patient, description=description, PatientID=patient)
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["p1", "p2"]


def test_files_without_a_patient_are_of_the_one_patient_of_their_study(tmp_path):
    write_series(tmp_path / "flair", values(), series="1", description="flair", PatientID=["P1", "", *["P1"] * 4])
    write_series(tmp_path / "t1", values(), series="2", description="t1", PatientID="")
    dataset = open_dataset(tmp_path)
    (case,) = dataset
    assert case.read_image().data.shape == (2, *values().shape)
    mask = np.ones(values().shape, np.uint8)
    dataset.save_correction(case.case_id, mask)
    (case,) = open_dataset(tmp_path)
    np.testing.assert_array_equal(case.read_mask(), mask)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("p1", "p1"),
        ("p1/t1", "p1_t1"),
        ("p1/4.000000-AX DWI-12345", "p1_4.000000-AX DWI-12345"),
        ("p1/4", "p1_4"),
        ("p1/study1/SE000002", "p1_study1_SE000002"),
        ("007", "007"),
        ("p1/x", "x"),
        ("data/flair p1", "flair p1"),
    ],
)
def test_name_does_not_depend_on_the_folder_opened(tmp_path, folder, name):
    write_series(tmp_path / folder, values(), description="ax dwi", number=4)
    place = tmp_path / folder
    while place != tmp_path.parent:
        assert [case.case_id for case in dicom.open_cases(place)] == [name]
        place = place.parent
    assert [case.case_id for case in dicom.open_cases(tmp_path / folder / "IM0000")] == [name]


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ({"1": 1, "2": 1, "3": 1}, ["1", "2", "3"]),
        ({"1": 1, "2": 2, "30": 30}, ["data_1", "data_2", "data_30"]),
        ({"1": 1, "2": 2, "p3": 1}, ["data_1", "data_2", "p3"]),
    ],
)
def test_folders_that_are_numbers_are_called_alike(tmp_path, numbers, names):
    for folder, number in numbers.items():
        write_series(tmp_path / "data" / folder, values(), study=folder, description="ax dwi", number=number)
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path / "data")) == names
    assert [only(tmp_path / "data" / folder).case_id for folder in sorted(numbers)] == names


def test_names_that_two_folders_have_depend_on_the_folder_opened(tmp_path):
    for hospital in ("h1", "h2"):
        write_series(tmp_path / hospital / "p1" / "t1", values(), study=hospital, description="t1")
        assert only(tmp_path / hospital).case_id == "p1_t1"
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["h1_p1_t1", "h2_p1_t1"]


def test_predictions_of_two_patients_lie_side_by_side(tmp_path):
    for patient in ("p1", "p2"):
        write_series(tmp_path / patient / "t1", values(), study=patient, description="t1")
        (case,) = dicom.open_cases(tmp_path / patient)
        case.write_prediction(np.ones(case.read_shape(), np.uint8), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p1_t1_seg.dcm", "p2_t1_seg.dcm"]


def test_patients_whose_folders_are_called_alike(tmp_path):
    for patient in ("p1", "p2"):
        write_series(tmp_path / patient / "brain" / "t1", values(), study=patient, description="t1")
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["p1_brain_t1", "p2_brain_t1"]


@pytest.mark.parametrize("overlay", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_what_was_kept_under_a_former_name_is_found(tmp_path, monkeypatch, overlay, both):
    for patient in ("p1", "p2")[: 1 + both]:
        write_series(tmp_path / "scans" / patient / "brain" / "t1", values(), study=patient, description="t1")
    options = {"overlay": tmp_path / "overlay"} if overlay else {}
    with monkeypatch.context() as former:
        former.setattr(dicom_scan, "_names", dicom_scan._mask_names)
        dataset = open_dataset(tmp_path / "scans", **options)
        case = dataset.cases[0]
        assert case.case_id == ("p1_brain_t1" if both else "t1")
        mask = np.ones(case.scan.read_shape(), np.uint8)
        line = dataset.save_correction(case.case_id, mask, [1])
        dataset.autosave(case.case_id, mask, [2])
    again = open_dataset(tmp_path / "scans", **options)
    case = again.cases[0]
    assert case.case_id == ("p1_brain_t1" if both else "brain_t1")
    assert case.corrected_slices() == [1]
    assert case.read_mask()[1].all()
    assert again.read_autosave(case.case_id).slices == (2,)
    again.revert(line.id)
    assert case.corrected_slices() == []


def test_echoes_of_one_series_are_told_apart(tmp_path):
    pixels = values(8)
    write_series(tmp_path / "p1", pixels, positions=positions_of(4) * 2, EchoTime=[20.0] * 4 + [80.0] * 4)
    cases = {case.case_id: case for case in dicom.open_cases(tmp_path)}
    assert sorted(cases) == ["p1_4_ax_flair_echo1", "p1_4_ax_flair_echo2"]
    np.testing.assert_array_equal(cases["p1_4_ax_flair_echo2"].read_image().data[0], pixels[4:])


def test_orientations_of_one_series_are_told_apart(tmp_path):
    write_series(tmp_path, values(3), description="loc")
    write_series(tmp_path, values(4), description="loc", orientation=SAGITTAL, first=5)
    assert sorted(case.read_shape() for case in dicom.open_cases(tmp_path)) == [(3, 7, 8), (7, 8, 4)]


def test_images_at_one_place_that_nothing_tells_apart(tmp_path):
    write_series(tmp_path / "s", values(4), positions=[*positions_of(3), positions_of(3)[1]])
    with pytest.raises(InputError, match="IM0001 and IM0003 lie at the same place"):
        only(tmp_path / "s").read_image()


def test_copied_file_counts_once(tmp_path):
    paths = write_series(tmp_path / "s", values())
    (tmp_path / "s" / "copy").write_bytes(paths[2].read_bytes())
    volume = only(tmp_path / "s").read_image()
    assert volume.shape == (6, 7, 8)
    assert "copy of" in volume.notes[0]


def test_gap_is_noted(tmp_path):
    places = positions_of(7)
    del places[3]
    write_series(tmp_path / "s", values(), positions=places)
    volume = only(tmp_path / "s").read_image()
    assert volume.notes == (
        "ax flair lacks 1 slice, the first between IM0002 and IM0003; the scan is shown without the gap",
    )
    assert volume.spacing[0] == pytest.approx(STEP)
    assert volume.uneven == "lacks 1 slice, the first between IM0002 and IM0003"


def test_uneven_slices_are_noted(tmp_path):
    places = positions_of(6)
    places[3] = places[3] + (0, 0, 1.2)
    write_series(tmp_path / "s", values(), positions=places)
    volume = only(tmp_path / "s").read_image()
    (note,) = volume.notes
    assert "mm apart" in note
    assert "mm apart" in volume.uneven


def test_a_series_that_lies_evenly_says_so(tmp_path):
    write_series(tmp_path / "s", values())
    assert only(tmp_path / "s").read_image().uneven == ""


def test_lone_slice_takes_the_spacing_of_its_header(tmp_path):
    write_series(tmp_path / "a", values(1), SpacingBetweenSlices=3.5, series="a", study="a")
    write_series(tmp_path / "b", values(1), SliceThickness=None, series="b", study="b")
    known, unknown = (case.read_image() for case in dicom.open_cases(tmp_path))
    assert known.spacing[0] == pytest.approx(3.5)
    assert known.spacing_known
    assert not unknown.spacing_known
    assert "1 mm is assumed" in unknown.notes[0]


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_is_one_line(tmp_path, tag):
    write_series(tmp_path / "s", values(), **{tag: [None] * 6})
    with pytest.raises(InputError, match=r"IM0000: does not say where it lies"):
        only(tmp_path / "s").read_image()


def test_slice_of_another_size_is_named(tmp_path):
    write_series(tmp_path / "s", values(3))
    write_series(tmp_path / "s", np.zeros((1, 5, 5), np.int16), positions=[positions_of(4)[3]], first=3)
    with pytest.raises(InputError, match=r"IM0003: has 5x5 pixels but IM0000 of the same series 7x8"):
        only(tmp_path / "s").read_image()


def test_palette_is_refused(tmp_path):
    write_series(tmp_path / "s", values(2, dtype=np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match=r"IM0000: holds colours"):
        only(tmp_path / "s").read_image()


def test_stray_file_among_other_images_claims_nothing(tmp_path):
    write_series(tmp_path, values(1))
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_bytes(b"0" * 200)
    assert not dicom.detect(tmp_path)


def test_many_broken_files_are_one_note(tmp_path):
    write_series(tmp_path / "s", values())
    for name in ("x.dcm", "y.dcm", "z.dcm"):
        (tmp_path / "s" / name).touch()
    (note,) = only(tmp_path / "s").read_image().notes
    assert note == "x.dcm is left out: the file is empty, and 2 more files"


def test_colours_are_refused(tmp_path):
    write_series(
        tmp_path / "s", np.zeros((2, 7, 8, 3), np.uint8), SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"IM0000: holds colours"):
        only(tmp_path / "s").read_image()


def test_broken_files_leave_the_others_usable(tmp_path):
    paths = write_series(tmp_path / "a", values(), series="a", study="a")
    (tmp_path / "a" / "empty.dcm").touch()
    (tmp_path / "a" / "readme.txt").write_text("not an image")
    payload = paths[0].read_bytes()
    write_series(tmp_path / "b", values(), series="b", study="b")[2].write_bytes(payload[:150])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "cut.dcm").write_bytes(payload[:40])
    cases = {case.case_id: case for case in dicom.open_cases(tmp_path)}
    assert cases["a"].read_image().notes == ("empty.dcm is left out: the file is empty",)
    notes = cases["b"].read_image().notes
    assert notes[0].startswith("IM0002 is left out")
    assert "lacks 1 slice" in notes[1]
    with pytest.raises(InputError, match=r"cut\.dcm: this is not a DICOM file"):
        cases["d"].read_image()


def test_pixels_cut_short_are_named(tmp_path):
    paths = write_series(tmp_path / "s", values())
    paths[4].write_bytes(paths[4].read_bytes()[:-20])
    case = only(tmp_path / "s")
    assert case.read_shape() == (6, 7, 8)
    with pytest.raises(InputError, match=r"IM0004: this DICOM file is damaged or cut short"):
        case.read_image()


def test_report_is_no_image(tmp_path):
    data = new_file(tmp_path / "sr", "1.2.840.10008.5.1.4.1.1.88.11", series="sr", instance=0)
    save(data, tmp_path / "sr")
    with pytest.raises(InputError, match="DICOM files but none with an image"):
        dicom.open_cases(tmp_path)


def test_one_file_opens_its_series(tmp_path):
    write_series(tmp_path, values(), series="one", description="dwi")
    paths = write_series(tmp_path, values(4), series="two", description="adc", first=10)
    assert dicom.detect(paths[1])
    assert only(paths[1]).read_shape() == (4, 7, 8)


def test_links_in_a_circle_end(tmp_path):
    write_series(tmp_path / "s", values())
    (tmp_path / "s" / "up").symlink_to(tmp_path)
    assert only(tmp_path).read_shape() == (6, 7, 8)


OLD_EXPORTS = [{"implicit": True}, {"implicit": False}, {"meta": True}]


@pytest.mark.parametrize("how", OLD_EXPORTS)
@pytest.mark.parametrize("ending", ["", ".dcm"])
def test_files_without_preamble_are_read_and_corrected(tmp_path, how, ending):
    paths = write_series(tmp_path / "s", values(), names=[f"{z}{ending}" for z in range(6)])
    former = only(tmp_path / "s").read_image()
    for path in paths:
        take_preamble(path, **how)
        assert path.read_bytes()[128:132] != b"DICM"
    dataset = open_dataset(tmp_path)
    volume = dataset["s"].read_image()
    np.testing.assert_array_equal(volume.data, former.data)
    np.testing.assert_array_equal(volume.affine, former.affine)
    mask = np.zeros(volume.shape, np.uint8)
    mask[2, 1:3, 1:4] = 1
    dataset.save_correction("s", mask, [2])
    np.testing.assert_array_equal(open_dataset(tmp_path)["s"].read_mask(), mask)


def test_a_single_file_without_preamble_opens_its_series(tmp_path):
    paths = write_series(tmp_path, values())
    for path in paths:
        take_preamble(path)
    assert open_dataset(paths[2]).cases[0].read_shape() == (6, 7, 8)


def test_a_file_without_preamble_that_is_cut_short_is_named(tmp_path):
    paths = write_series(tmp_path / "s", values())
    for path in paths:
        take_preamble(path)
    paths[4].write_bytes(paths[4].read_bytes()[:-20])
    with pytest.raises(InputError, match=r"IM0004: this DICOM file is damaged or cut short"):
        only(tmp_path / "s").read_image()


@pytest.mark.parametrize("how", OLD_EXPORTS)
def test_what_begins_as_dicom_is_read_as_that_only_if_it_names_its_class(tmp_path, how):
    (path,) = write_series(tmp_path / "s", values(1))
    take_preamble(path, **how)
    whole = path.read_bytes()
    assert has_magic(path)
    for spoilt in (
        whole[2:],
        whole[:12],
        whole.replace(b"1.2.840.10008.", b"somewhere.else"),
        b"\x08\x00" * 600,
        np.arange(8, 900, dtype="<u4").tobytes(),
        bytes(2000),
        b"",
    ):
        path.write_bytes(spoilt)
        assert not has_magic(path)
        assert not dicom.detect(tmp_path)


def test_other_files_beside_a_series_are_read_once_for_what_they_are(tmp_path, monkeypatch):
    write_series(tmp_path / "s", values())
    for number in range(5):
        (tmp_path / "s" / f"{number}.dat").write_bytes(np.arange(8, 900, dtype="<u4").tobytes())
    read, forced = pydicom.dcmread, []
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **how: forced.append(how.get("force")) or read(path, **how))
    assert only(tmp_path).read_shape() == (6, 7, 8)
    assert not any(forced)


def test_other_layouts_are_not_claimed(tmp_path):
    for folder, name in (("images", "a.png"), ("masks", "a.png"), ("zz", "b.nii.gz")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b"0" * 200)
    (tmp_path / "readme").write_text("x" * 200)
    assert not dicom.detect(tmp_path)
    assert not dicom.detect(tmp_path / "images" / "a.png")


def test_series_folders_are_claimed(tmp_path):
    write_series(tmp_path / "p" / "s", values())
    (tmp_path / "notes.csv").write_text("patient,age")
    assert dicom.detect(tmp_path)


def test_listing_reads_no_pixels(tmp_path, monkeypatch):
    write_series(tmp_path / "s", values())
    read = pydicom.dcmread
    asked = []
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **how: asked.append(how) or read(path, **how))
    only(tmp_path / "s").read_shape()
    assert len(asked) == 6
    assert all(how["stop_before_pixels"] and how["specific_tags"] for how in asked)


def test_names_hold_no_patient(tmp_path):
    write_series(tmp_path / "f", values(), series="one", description="a/b: c?")
    write_series(tmp_path / "f", values(), series="two", description="", first=10)
    assert sorted(case.case_id for case in dicom.open_cases(tmp_path)) == ["f_4", "f_4_a_b_c"]
    assert uid("study") != uid("series")


def test_pydicom_waits_until_it_is_needed():
    code = "import sys, napari_unet_seg.data.layouts.dicom; sys.exit(bool({'pydicom', 'highdicom'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("left_out", [(), (3,), (2, 3)])
def test_a_tilted_gantry_stays_tilted_where_slices_are_missing(tmp_path, left_out):
    positions = [np.add(place, (0, 0.9 * index, 0)) for index, place in enumerate(positions_of(7))]
    kept = [index for index in range(7) if index not in left_out]
    pixels = np.stack([np.full((9, 11), 10 * index, np.uint16) for index in kept])
    write_series(tmp_path, pixels, positions=[positions[index] for index in kept])
    volume = open_dataset(tmp_path).cases[0].read_image()
    assert volume.spacing[0] == pytest.approx(np.hypot(STEP, 0.9))
    assert volume.voxel_ml == pytest.approx(SPACING[0] * SPACING[1] * STEP / 1000)
    # From one slice to the next in left-posterior-superior mm.
    np.testing.assert_allclose(volume.affine[:3, 2] * [-1, -1, 1], (0, 0.9, STEP), atol=1e-6)


def test_a_spacing_of_nothing_is_named(tmp_path):
    write_series(tmp_path, np.zeros((3, 9, 11), np.uint16), PixelSpacing=[[0, 0]] * 3)
    with pytest.raises(InputError, match=r"gives the pixel spacing \(0\.0, 0\.0\) mm; correct it, or export"):
        open_dataset(tmp_path).cases[0].read_image()


@pytest.mark.parametrize("name", ["SOPInstanceUID", "SeriesInstanceUID"])
def test_an_image_without_a_name_of_its_own_is_told_of(tmp_path, name):
    write_series(tmp_path, np.zeros((1, 9, 11), np.uint16), **{name: [None]})
    with pytest.raises(InputError, match=f"has no {name}, which every DICOM image has; export it again"):
        open_dataset(tmp_path).cases[0].read_image()


def test_a_mask_is_saved_for_a_series_of_no_study(tmp_path):
    write_series(tmp_path, np.zeros((3, 9, 11), np.uint16), StudyInstanceUID=[None] * 3)
    dataset = open_dataset(tmp_path)
    mask = np.zeros((3, 9, 11), np.uint8)
    mask[1, 2:5, 3:6] = 1
    dataset.save_correction(dataset.cases[0].case_id, mask, [1])
    (case,) = open_dataset(tmp_path).cases
    np.testing.assert_array_equal(case.read_mask(), mask)
    assert case.corrected_slices() == [1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="found no images"):
        open_dataset(tmp_path)
    write_series(tmp_path, values())
    assert len(open_dataset(tmp_path).cases) == 1
