import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from napari_unet_seg.data.formats import dicom as series_format
from napari_unet_seg.data.formats import dicom_seg
from napari_unet_seg.data.layouts import dicom
from napari_unet_seg.errors import InputError
from tests.data.dicom_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    oblique,
    positions_of,
    uid,
    write_enhanced,
    write_series,
)

SHUFFLED = ["IM9", "a.dcm", "IM10", "b.IMA", "1.2.840.5", "zz"]
PIXELS = np.random.default_rng(0).integers(0, 1000, (6, 7, 8)).astype(np.int16)


def only(path):
    (case,) = dicom.open_cases(path)
    return case


def series_of(path):
    (series,) = series_format.find(sorted(path.iterdir())).series
    return series


def random_labels(shape, *, classes=1, unlabelled=()):
    labels = np.random.default_rng(2).integers(0, classes + 1, shape).astype(np.int16)
    labels[1] = 0
    labels[list(unlabelled)] = -1
    return labels


def save_mask(case, labels, **how):
    (file,) = case.mask_files()
    file.path.write_bytes(case.encode_mask(file, labels, **({"former": None, "original": None} | how)))
    return file.path


def decoded(case):
    (file,) = case.mask_files()
    return case.decode_mask(file, file.path)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, oblique()])
def test_mask_lies_at_the_same_world_coordinates(tmp_path, orientation):
    write_series(tmp_path / "s", PIXELS, orientation=orientation, names=SHUFFLED)
    case = only(tmp_path / "s")
    mask = np.zeros(case.read_shape(), np.int16)
    painted = (2, 4, 5)
    mask[painted] = 1
    place = case.read_image().affine @ (*painted[::-1], 1)
    seg = highdicom.seg.segread(save_mask(case, mask))
    volume = seg.get_volume(combine_segments=True)
    (index,) = np.argwhere(volume.array)
    found = (volume.affine @ (*index, 1)) * (-1, -1, 1, 1)
    np.testing.assert_allclose(found, place, atol=1e-3)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique()])
def test_frames_refer_to_the_images_they_lie_on(tmp_path, orientation):
    paths = write_series(tmp_path / "s", PIXELS, orientation=orientation, names=SHUFFLED)
    case = only(tmp_path / "s")
    labels = random_labels(case.read_shape())
    seg = highdicom.seg.segread(save_mask(case, labels))
    series = case.reference
    expected = series.stack.to_file(labels)
    by_path = {frame.path: place for place, frame in enumerate(series.frames)}
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(read, expected[[by_path[path] for path in paths]])


def test_references_are_those_an_archive_needs(tmp_path):
    (path, *_) = write_series(tmp_path / "s", PIXELS)
    source = pydicom.dcmread(path)
    case = only(tmp_path / "s")
    seg = pydicom.dcmread(save_mask(case, random_labels((6, 7, 8))))
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.Modality == "SEG"
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == 6
    (segment,) = seg.SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert segment.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(2.5)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, oblique(1.4)])
@pytest.mark.parametrize("unlabelled", [(), (0, 3, 5)])
@pytest.mark.parametrize("classes", [1, 3])
def test_round_trip_is_exact(tmp_path, orientation, unlabelled, classes):
    write_series(tmp_path / "s", PIXELS, orientation=orientation)
    case = only(tmp_path / "s")
    labels = random_labels(case.read_shape(), classes=classes, unlabelled=unlabelled)
    save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)


@pytest.mark.parametrize("fill", [0, -1])
def test_empty_and_unlabelled_masks_round_trip(tmp_path, fill):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    labels = np.full((6, 7, 8), fill, np.int16)
    save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)


def test_unlabelled_slices_have_no_frames(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    path = save_mask(case, random_labels((6, 7, 8), unlabelled=(0, 2, 5)))
    assert pydicom.dcmread(path).NumberOfFrames == 3


def test_labels_need_not_follow_one_another(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8), classes=2)
    labels[labels == 2] = 300
    path = save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)
    assert len(pydicom.dcmread(path).SegmentSequence) == 2


def test_mask_of_an_enhanced_file(tmp_path):
    write_enhanced(tmp_path / "s" / "e", PIXELS, order=[3, 1, 0, 4, 2, 5])
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8), unlabelled=(2,))
    path = save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)
    image = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert image.ReferencedSOPInstanceUID == uid("study", "series", 0)
    assert image.ReferencedFrameNumber in range(1, 7)


def test_masks_of_two_echoes_in_one_file(tmp_path):
    path = write_enhanced(tmp_path / "e", PIXELS)
    data = pydicom.dcmread(path)
    for index, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        echo = Dataset()
        echo.EffectiveEchoTime = 20.0 if index < 3 else 80.0
        frame.MREchoSequence = [echo]
        frame.PlanePositionSequence[0].ImagePositionPatient = list(positions_of(3)[index % 3])
    data.save_as(path)
    for value, case in enumerate(dicom.open_cases(tmp_path), start=1):
        frames = pydicom.dcmread(save_mask(case, np.full((3, 7, 8), value))).PerFrameFunctionalGroupsSequence
        images = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
        first = 3 * value - 2
        assert sorted(image.ReferencedFrameNumber for image in images) == [first, first + 1, first + 2]
        assert {image.ReferencedSOPInstanceUID for image in images} == {data.SOPInstanceUID}
    for value, case in enumerate(dicom.open_cases(tmp_path), start=1):
        assert (decoded(case) == value).all()


def test_mask_of_a_big_endian_series_with_bare_headers(tmp_path):
    missing = dict.fromkeys(("PatientBirthDate", "StudyID", "AccessionNumber", "FrameOfReferenceUID", "SliceThickness"))
    write_series(tmp_path / "s", PIXELS, syntax=ExplicitVRBigEndian, PatientSex="U", **missing)
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8))
    save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)


def test_saved_mask_is_found_again_and_is_no_slice(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    assert not case.has_mask
    path = save_mask(case, random_labels((6, 7, 8)))
    assert path == tmp_path / "s" / "s_seg.dcm"
    again = only(tmp_path / "s")
    assert again.has_mask
    assert again.mask_files()[0].path == path
    np.testing.assert_array_equal(again.read_image().data[0], PIXELS)


def test_mask_of_two_channels_refers_to_flair(tmp_path):
    write_series(tmp_path / "a", PIXELS, series="a", description="t1")
    write_series(tmp_path / "b", PIXELS, series="b", description="flair")
    case = only(tmp_path)
    path = save_mask(case, random_labels((6, 7, 8)))
    assert path.parent == tmp_path / "b"
    assert pydicom.dcmread(path).ReferencedSeriesSequence[0].SeriesInstanceUID == uid("study", "b")
    assert only(tmp_path).has_mask


def foreign(folder, frames, *, segmentation="BINARY", **how):
    """A segmentation as other software writes it: nothing of ours in it."""
    sources = sorted(
        (pydicom.dcmread(path) for path in folder.iterdir()), key=lambda data: float(data.ImagePositionPatient[2])
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            number,
            f"part {number}",
            codes.SCT.Tissue,
            codes.SCT.Neoplasm,
            highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(1, frames.shape[-1] + 1)
    ]
    return highdicom.seg.Segmentation(
        sources, frames, segmentation, descriptions, series_instance_uid=uid("foreign"), series_number=9,
        sop_instance_uid=uid("foreign", "instance"), instance_number=1, manufacturer="other",
        manufacturer_model_name="other", software_versions="1", device_serial_number="1", **how,
    )  # fmt: skip


def nested():
    """Two segments, the second within the first, ``(slices, rows, columns, segments)``."""
    bits = np.zeros((6, 7, 8, 2), np.uint8)
    bits[1:4, 1:6, 1:6, 0] = 1
    bits[2, 2:4, 2:4, 1] = 1
    return bits


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segmentation_of_other_software(tmp_path, kind):
    write_series(tmp_path / "s", PIXELS, names=SHUFFLED)
    bits = nested()
    if kind == "LABELMAP":
        bits[..., 0] -= bits[..., 1]
    foreign(tmp_path / "s", bits, segmentation=kind).save_as(tmp_path / "s" / "mask")
    case = only(tmp_path / "s")
    assert case.mask_files()[0].path == tmp_path / "s" / "mask"
    expected = bits[..., 0] | bits[..., 1] * 2
    expected[bits[..., 1] > 0] = 2
    # Frames that are left out are empty, not unlabelled.
    np.testing.assert_array_equal(decoded(case), expected)


def test_frames_without_a_position_go_by_reference(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    seg = foreign(tmp_path / "s", nested()[..., :1])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    seg.save_as(tmp_path / "s" / "mask")
    np.testing.assert_array_equal(decoded(only(tmp_path / "s")), nested()[..., 0])


def test_frames_without_references_go_by_position(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    seg = foreign(tmp_path / "s", nested()[..., :1])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    del seg.ReferencedSeriesSequence
    del seg.SourceImageSequence
    seg.save_as(tmp_path / "s" / "mask")
    np.testing.assert_array_equal(decoded(only(tmp_path / "s")), nested()[..., 0])


def test_flipped_and_cropped_frames_find_their_pixels(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    truth = nested()[..., 0]
    seg = foreign(tmp_path / "s", nested()[..., :1], omit_empty_frames=False)
    frames = seg.pixel_array
    # Rows 1 to 6 and columns 0 to 5, with columns running to the right instead.
    cut = frames[:, 1:7, 0:6][:, :, ::-1]
    seg.Rows, seg.Columns = cut.shape[1:]
    seg.PixelData = np.packbits(cut.ravel(), bitorder="little").tobytes()
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [x + 5 * 1.1, y + 0.9, z]
    seg.save_as(tmp_path / "s" / "mask")
    np.testing.assert_array_equal(decoded(only(tmp_path / "s")), truth)


def test_segmentation_elsewhere_is_refused(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    seg = foreign(tmp_path / "s", nested()[..., :1])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence[0].ImagePositionPatient[0] += 3.3 * 0.5
    seg.save_as(tmp_path / "s" / "mask")
    with pytest.raises(InputError, match=r"mask: lies elsewhere in space"):
        decoded(only(tmp_path / "s"))


def test_fractions_are_refused(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    seg = foreign(tmp_path / "s", nested()[..., :1].astype(np.float32) / 2, segmentation="FRACTIONAL")
    seg.save_as(tmp_path / "s" / "mask")
    with pytest.raises(InputError, match=r"mask: the segmentation holds fractions"):
        decoded(only(tmp_path / "s"))


def test_damaged_segmentation_is_named(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    path = save_mask(case, random_labels((6, 7, 8)))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"s_seg\.dcm: this DICOM file is damaged"):
        decoded(case)


def test_correcting_keeps_names_and_overlaps_of_other_segments(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    seg = foreign(tmp_path / "s", nested())
    seg.save_as(tmp_path / "s" / "mask")
    case = only(tmp_path / "s")
    labels = decoded(case)
    labels[4, 0, 0] = 1
    path = save_mask(case, labels, former=tmp_path / "s" / "mask")
    np.testing.assert_array_equal(decoded(case), labels)
    read = highdicom.seg.segread(path)
    assert [segment.SegmentLabel for segment in read.SegmentSequence] == ["part 1", "part 2"]
    segments = dicom_seg.read_segments(path, case.reference)
    # The slice that was not touched: the inner segment lies within the outer one still.
    np.testing.assert_array_equal(np.moveaxis(segments.bits[:, 2], 0, -1), nested()[2])


def test_note_survives_an_archive_that_forgets_its_type(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8), unlabelled=(0, 3))
    path = save_mask(case, labels)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(path, implicit_vr=True)
    assert pydicom.dcmread(path)[0x0071, 0x1001].VR == "UN"
    np.testing.assert_array_equal(decoded(case), labels)


def test_prediction_is_written_beside_nothing_of_the_dataset(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    mask = np.maximum(random_labels((6, 7, 8)), 0).astype(np.uint8)
    path = case.write_prediction(mask, tmp_path / "out")
    assert path == tmp_path / "out" / "s_seg.dcm"
    np.testing.assert_array_equal(dicom_seg.read_labels(path, case.reference), mask)
    save_mask(case, mask.astype(np.int16))
    with pytest.raises(InputError, match="would replace what is read"):
        only(tmp_path / "s").write_prediction(mask, tmp_path / "s")
    with pytest.raises(InputError, match="the mask has shape"):
        case.write_prediction(mask[:3], tmp_path / "out")


@pytest.mark.parametrize("as_folder", [True, False])
def test_mask_saved_for_a_folder_or_its_files(tmp_path, as_folder):
    paths = write_series(tmp_path / "s", PIXELS)
    mask = np.maximum(random_labels((6, 7, 8)), 0).astype(np.uint8)
    dicom_seg.write_seg(tmp_path / "m.dcm", mask, source=tmp_path / "s" if as_folder else paths)
    np.testing.assert_array_equal(dicom_seg.read_labels(tmp_path / "m.dcm", series_of(tmp_path / "s")), mask)


def test_mask_of_no_series_is_refused(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match="holds no DICOM series"):
        dicom_seg.write_seg(tmp_path / "m.dcm", np.zeros((1, 2, 3), np.uint8), source=tmp_path / "s")


def test_mask_of_several_series_is_refused(tmp_path):
    write_series(tmp_path / "s", PIXELS, series="one")
    write_series(tmp_path / "s", PIXELS, series="two", orientation=SAGITTAL, positions=positions_of(6), first=8)
    write_series(tmp_path / "s", PIXELS, series="three", positions=positions_of(6, origin=(5, 5, 5)), first=20)
    with pytest.raises(InputError, match="holds several series"):
        dicom_seg.write_seg(tmp_path / "m.dcm", np.zeros((6, 7, 8), np.uint8), source=tmp_path / "s")


def test_same_mask_has_the_same_identifiers(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8))
    one = pydicom.dcmread(save_mask(case, labels))
    labels[0, 0, 0] = 1 - labels[0, 0, 0]
    other = pydicom.dcmread(save_mask(case, labels))
    assert one.SeriesInstanceUID == other.SeriesInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    labels[0, 0, 0] = 1 - labels[0, 0, 0]
    assert pydicom.dcmread(save_mask(case, labels)).SOPInstanceUID == one.SOPInstanceUID


def test_unlabelled_slices_in_a_gap_keep_their_place(tmp_path):
    places = positions_of(7)
    del places[3]
    write_series(tmp_path / "s", PIXELS, positions=places)
    case = only(tmp_path / "s")
    labels = random_labels((6, 7, 8), unlabelled=(4,))
    save_mask(case, labels)
    np.testing.assert_array_equal(decoded(case), labels)


def test_segmentation_alone_is_explained(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    path = save_mask(only(tmp_path / "s"), random_labels((6, 7, 8)))
    (tmp_path / "alone").mkdir()
    path.rename(tmp_path / "alone" / path.name)
    with pytest.raises(InputError, match=r"masks \(DICOM SEG\) but not their series"):
        dicom.open_cases(tmp_path / "alone")
    with pytest.raises(InputError, match=r"this is a mask \(DICOM SEG\)"):
        dicom.open_cases(tmp_path / "alone" / path.name)


def test_the_list_of_a_medium_is_explained(tmp_path):
    write_series(tmp_path / "s", PIXELS)
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = uid("medium")
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.FileSetID, index.DirectoryRecordSequence = "MEDIUM", []
    index.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    with pytest.raises(InputError, match="only a list of images; open its folder"):
        dicom.open_cases(tmp_path / "DICOMDIR")
    assert only(tmp_path).read_shape() == (6, 7, 8)


def test_other_dicom_is_no_segmentation(tmp_path):
    paths = write_series(tmp_path / "s", PIXELS)
    with pytest.raises(InputError, match="this is no DICOM segmentation"):
        dicom_seg.read_labels(paths[0], series_of(tmp_path / "s"))
    assert isinstance(pydicom.dcmread(paths[0]), Dataset)
