"""What the headers of DICOM files say, frame by frame, without their pixels."""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_unet_seg.data.formats.dicom_geometry import Plane
from napari_unet_seg.data.formats.dicom_name import has_magic
from napari_unet_seg.errors import InputError, reading

# What pydicom minds in a header goes where the application sends its log.
logging.getLogger("pydicom").addHandler(logging.NullHandler())

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of Segmentation Storage and Label Map Segmentation Storage."""

Trait: TypeAlias = str | float | tuple[str | float, ...] | None
"""A value that may tell apart two images of one place."""

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("SeriesDescription", "ProtocolName", "SeriesNumber", "InstanceNumber", "ContentDate", "ContentTime"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices"),
    *("EchoTime", "TemporalPositionIdentifier", "DiffusionBValue", "DiffusionGradientOrientation"),
    *("InversionTime", "ImageType", "AcquisitionNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ReferencedSeriesSequence", "SourceImageSequence"),
)

# Where a multi-frame file has what another keeps at its top: functional group, then the name there.
_GROUPS = {
    "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
    "ReferencedSegmentNumber": ("SegmentIdentificationSequence", "ReferencedSegmentNumber"),
    "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
}

TRAITS = {
    "EchoTime": "echo",
    "TemporalPositionIdentifier": "time",
    "DiffusionBValue": "b",
    "DiffusionGradientOrientation": "direction",
    "InversionTime": "inversion",
    "ImageType": "type",
    "AcquisitionNumber": "acquisition",
}
"""By what images at one place are told apart, in this order, and the word for it in a case's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One image: a file, or a frame of a multi-frame file."""

    path: Path
    index: int
    """Which frame of the file it is, from 0."""

    uid: str
    """SOPInstanceUID of the file."""

    plane: Plane | None
    """None where the header does not say where it lies."""

    thickness: float | None
    """SpacingBetweenSlices or else SliceThickness, in mm."""

    colours: bool
    traits: tuple[Trait, ...]
    """In the order of `TRAITS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """An image file."""

    patient: str
    """PatientID; it tells patients apart, and is shown nowhere."""

    study: str
    series: str
    frame_of_reference: str
    description: str
    number: int | None
    frames: tuple[Frame, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SegHeader:
    """A segmentation file, and what it is a segmentation of."""

    path: Path
    patient: str
    study: str
    frame_of_reference: str
    series: frozenset[str]
    """SeriesInstanceUIDs that it refers to."""

    instances: frozenset[str]
    """SOPInstanceUIDs that it refers to."""

    written: str
    """Date and time of its content; sorts."""


@contextmanager
def opened(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong in reading a DICOM file into an InputError, and keep its warnings quiet."""
    try:
        with reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except InvalidDicomError as error:
        empty = path.stat().st_size == 0
        raise InputError("the file is empty" if empty else "this is not a DICOM file", path=path) from error
    except (ArithmeticError, AttributeError, EOFError, LookupError, OSError, TypeError, ValueError, struct.error) as e:
        raise InputError("this DICOM file is damaged or cut short; export it again", path=path) from e
    except (NotImplementedError, RuntimeError) as error:
        raise InputError(f"its pixels cannot be decoded ({str(error).splitlines()[0]})", path=path) from error


def read_dataset(path: Path, **options: Any) -> Any:
    """What `pydicom.dcmread` gives, also of a file without preamble; `InvalidDicomError` where it is no DICOM."""
    try:
        data = pydicom.dcmread(path, **options)
    except InvalidDicomError:
        if not has_magic(path):
            raise
        data = pydicom.dcmread(path, force=True, **options)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, _ = data.original_encoding
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return data


def read_header(path: Path) -> ImageHeader | SegHeader | None:
    """Read a file's header; None for a file that is neither image nor segmentation, such as a report.

    Raises
    ------
    InputError
        If it is no DICOM file or its header is damaged.
    """
    with opened(path):
        data = read_dataset(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        if data.get("SOPClassUID") in SEGMENTATIONS:
            return _seg_header(path, data)
        if "Rows" not in data or "Columns" not in data:
            if "SeriesInstanceUID" not in data or "Image Storage" in getattr(data.get("SOPClassUID"), "name", ""):
                directory = "Directory" in getattr(data.file_meta.get("MediaStorageSOPClassUID"), "name", "")
                if not directory:
                    raise InputError("this DICOM file is damaged or cut short; export it again", path=path)
            return None
        missing = next((name for name in ("SOPInstanceUID", "SeriesInstanceUID") if not data.get(name)), None)
        if missing is not None:
            raise InputError(f"has no {missing}, which every DICOM image has; export it again", path=path)
        number = data.get("SeriesNumber")
        return ImageHeader(
            patient=str(data.get("PatientID") or "").strip(),
            study=str(data.get("StudyInstanceUID", "")),
            series=str(data.SeriesInstanceUID),
            frame_of_reference=str(data.get("FrameOfReferenceUID", "")),
            description=str(data.get("SeriesDescription") or data.get("ProtocolName") or "").strip(),
            number=int(number) if number is not None else None,
            frames=tuple(_frames(path, data)),
        )


def functional(data: Any, index: int, name: str) -> Any:
    """A value of a frame, wherever a file has it: of the frame, shared by all, or at its top; None if nowhere."""
    group, inside = _GROUPS.get(name, ("", name))
    for where in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        items = data.get(where) or ()
        place = index if where.startswith("Per") else 0
        if place < len(items) and (found := items[place].get(group)):
            value = found[0].get(inside)
            if value is not None:
                return value
    return data.get(name)


def plane_of(data: Any, index: int) -> Plane | None:
    """Where a frame lies; None where the header does not say."""
    position = _numbers(functional(data, index, "ImagePositionPatient"), 3)
    orientation = _numbers(functional(data, index, "ImageOrientationPatient"), 6)
    spacing = _numbers(functional(data, index, "PixelSpacing"), 2)
    if position is None or orientation is None or spacing is None:
        return None
    if not np.linalg.norm(np.cross(orientation[:3], orientation[3:])) > 0.5:
        return None
    return Plane(
        position=(position[0], position[1], position[2]),
        orientation=(*orientation[:3], *orientation[3:]),  # type: ignore[arg-type]
        spacing=(spacing[0], spacing[1]),
        shape=(int(data.Rows), int(data.Columns)),
    )


def _frames(path: Path, data: Any) -> Iterator[Frame]:
    meaning = str(data.get("PhotometricInterpretation") or "MONOCHROME2")
    colours = int(data.get("SamplesPerPixel") or 1) > 1 or not meaning.startswith("MONOCHROME")
    for index in range(int(data.get("NumberOfFrames") or 1)):
        distance = functional(data, index, "SpacingBetweenSlices") or functional(data, index, "SliceThickness")
        yield Frame(
            path=path,
            index=index,
            uid=str(data.SOPInstanceUID),
            plane=plane_of(data, index),
            thickness=abs(float(distance)) or None if distance is not None else None,
            colours=colours,
            traits=tuple(_trait(functional(data, index, name)) for name in TRAITS),
        )


def _trait(value: Any) -> Trait:
    if value is None or isinstance(value, str):
        return value or None
    if np.iterable(value):
        return tuple(part if isinstance(part, str) else float(part) for part in value)
    return float(value)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or not np.iterable(value):
        return None
    numbers = tuple(float(part) for part in value)
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _seg_header(path: Path, data: Any) -> SegHeader:
    series = data.get("ReferencedSeriesSequence") or ()
    references = [image for item in series for image in item.get("ReferencedInstanceSequence") or ()]
    references += data.get("SourceImageSequence") or ()
    return SegHeader(
        path=path,
        patient=str(data.get("PatientID") or "").strip(),
        study=str(data.get("StudyInstanceUID", "")),
        frame_of_reference=str(data.get("FrameOfReferenceUID", "")),
        series=frozenset(str(item.get("SeriesInstanceUID", "")) for item in series),
        instances=frozenset(str(image.get("ReferencedSOPInstanceUID", "")) for image in references),
        written=f"{data.get('ContentDate', '')} {data.get('ContentTime', '')}",
    )
