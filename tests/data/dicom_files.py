"""Small valid MR series, fabricated for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
SPACING = (0.9, 1.1)
STEP = 2.5


def oblique(angle=0.3, about=0.2):
    """Direction cosines of slices turned about two axes, to the digits that DICOM can hold."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = np.cos(about), np.sin(about)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turn
    return tuple(float(f"{value:.12f}") for value in (*turn[:, 0], *turn[:, 1]))


def uid(*words):
    return generate_uid(entropy_srcs=["napari-unet-seg tests", *map(str, words)])


def new_file(path, sop_class, *, study="study", series="series", instance, syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid(study, series, instance)
    meta.TransferSyntaxUID = syntax
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    data = FileDataset(
        str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=implicit, is_little_endian=little
    )
    data.SOPClassUID = sop_class
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = uid(study)
    data.SeriesInstanceUID = uid(study, series)
    data.FrameOfReferenceUID = uid(study, "frame")
    data.PatientID, data.PatientName = "P1", "Nobody^Known"
    data.PatientBirthDate = data.PatientSex = data.StudyID = data.AccessionNumber = ""
    data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20200102", "101112", ""
    data.Modality, data.Manufacturer = "MR", "nobody"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    return data


def set_pixels(data, pixels):
    """Store ``([frames,] rows, columns[, 3])`` of one or two bytes."""
    signed = pixels.dtype.kind == "i"
    bits = pixels.dtype.itemsize * 8
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(signed)
    big = data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    data["PixelData"].VR = "OW" if bits == 16 else "OB"


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def take_preamble(path, *, implicit=False, meta=False):
    """Write a file again as old exports are: without preamble and mark, and the file's meta group only where asked."""
    data = dcmread(path)
    data.preamble = None
    if not meta:
        data.file_meta = FileMetaDataset()
    data.save_as(path, implicit_vr=implicit and not meta, little_endian=True)


def positions_of(count, *, orientation=AXIAL, origin=(-30.0, -20.0, 10.0), step=STEP):
    normal = np.cross(orientation[:3], orientation[3:])
    return [np.add(origin, normal * step * index) for index in range(count)]


def write_series(
    folder,
    pixels,
    *,
    orientation=AXIAL,
    positions=None,
    names=None,
    description="ax flair",
    number=4,
    study="study",
    series="series",
    syntax=ExplicitVRLittleEndian,
    first=0,
    **tags,
):
    """Write ``(slices, rows, columns)``, a file a slice; `tags` are set on all, a list gives each its own."""
    folder = Path(folder)
    positions = positions_of(len(pixels), orientation=orientation) if positions is None else positions
    paths = []
    for index, values in enumerate(pixels):
        path = folder / (names[index] if names else f"IM{index + first:04d}")
        data = new_file(path, MRImageStorage, study=study, series=series, instance=index + first, syntax=syntax)
        data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = description, number, index + first + 1
        data.ImagePositionPatient = [f"{value:.8g}" for value in positions[index]]
        data.ImageOrientationPatient = [f"{value:.12f}" for value in orientation]
        data.PixelSpacing = list(SPACING)
        data.SliceThickness = 1.0  # not the distance, on purpose
        data.Rows, data.Columns = values.shape[:2]
        set_pixels(data, values)
        for key, value in tags.items():
            one = value[index] if isinstance(value, list) and key not in ("ImageType",) else value
            if one is None:
                if key in data:
                    delattr(data, key)
            else:
                setattr(data, key, one)
        paths.append(save(data, path))
    return paths


def write_enhanced(path, pixels, *, orientation=AXIAL, order=None, slope=None, shared=True):
    """Write ``(slices, rows, columns)`` as one Enhanced MR file, its frames in any order."""
    path = Path(path)
    data = new_file(path, EnhancedMRImageStorage, instance=0)
    data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = "t1", 2, 1
    order = range(len(pixels)) if order is None else order
    positions = positions_of(len(pixels), orientation=orientation)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), 1.0
    plane.ImageOrientationPatient = list(orientation)
    common = Dataset()
    frames = []
    for index in order:
        frame, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [float(f"{value:.8g}") for value in positions[index]]
        frame.PlanePositionSequence = Sequence([position])
        content.DimensionIndexValues = [index + 1]
        frame.FrameContentSequence = Sequence([content])
        target = common if shared else frame
        target.PixelMeasuresSequence, target.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
        if slope is not None:
            scale = Dataset()
            scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = slope[index], 0, "US"
            frame.PixelValueTransformationSequence = Sequence([scale])
        frames.append(frame)
    data.SharedFunctionalGroupsSequence = Sequence([common])
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    data.NumberOfFrames = len(pixels)
    data.Rows, data.Columns = pixels.shape[1:]
    set_pixels(data, pixels[list(order)])
    return save(data, path)
