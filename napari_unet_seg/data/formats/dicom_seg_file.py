"""The DICOM segmentation object itself, through highdicom."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from napari_unet_seg.data.formats.dicom import Series
from napari_unet_seg.data.formats.dicom_header import Frame, functional, read_dataset

SOFTWARE = "napari-unet-seg"

_ALTERED = Code("49755003", "SCT", "Morphologically Abnormal Structure")

# What the standard lets be empty but not absent; de-identified headers often lack it.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)


class _Reference(NamedTuple):
    """A frame of a multi-frame file."""

    sop_class: str
    uid: str
    number: int
    """From 1, as in DICOM."""


def build(
    bits: NDArray[np.uint8],
    series: Series,
    *,
    slices: Sequence[int],
    values: Sequence[int],
    described: Mapping[int, Any],
) -> Any:
    """A binary segmentation with a frame for every segment of every slice.

    Parameters
    ----------
    bits : ndarray
        ``(slices, rows, columns, segments)``, 0 and 1, on the axes of the files.
    series : Series
        The source.
    slices : sequence of int
        Which slices of the series, ascending.
    values : sequence of int
        The label that each segment stands for.
    described : mapping
        Items of a former Segment Sequence to keep, by label.

    Returns
    -------
    highdicom.seg.Segmentation
        With identifiers that follow from the series and the pixels alone.
    """
    sources, references = _sources(series)
    positions = [
        highdicom.PlanePositionSequence(highdicom.enum.CoordinateSystemNames.PATIENT, series.stack.positions[each])
        for each in slices
    ]
    first = sources[0]
    digest = hashlib.sha256(np.packbits(bits).tobytes() + repr((bits.shape, *slices, *values)).encode()).hexdigest()
    data = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=bits,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, value, series, described.get(value)) for number, value in enumerate(values, start=1)
        ],
        series_instance_uid=_uid(series, "series"),
        series_number=min(1000 + max(series.number or 0, 0), 2**31 - 1),
        series_description=f"Segmentation of {series.title}"[:64],
        sop_instance_uid=_uid(series, digest),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=_version(),
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="Segmentation corrected by hand",
        plane_positions=positions,
        omit_empty_frames=False,
        specific_character_set=first.get("SpecificCharacterSet"),
    )
    if references:
        _put_right(data, references)
    return data


def _description(number: int, value: int, series: Series, former: Any) -> Any:
    if former is not None:
        kept = highdicom.seg.SegmentDescription.from_dataset(former)
        kept.SegmentNumber = number
        return kept
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label="Tumour" if value == 1 else f"Label {value}",
        segmented_property_category=_ALTERED,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=SOFTWARE, family=codes.cid7162.ArtificialIntelligence, version=_version()
        ),
        tracking_id=f"{SOFTWARE} {value}",
        tracking_uid=_uid(series, f"segment {value}"),
        anatomic_regions=[codes.SCT.Brain],
    )


def _sources(series: Series) -> tuple[list[Any], dict[str, _Reference]]:
    """A header for each slice, mended where highdicom asks for more than files have; and what multi-frame ones are.

    highdicom takes one multi-frame file at most, with a volume in it and its orientation said for all frames. A frame
    of such a file is handed to it as an image of its own, under a name that is put right afterwards.
    """
    headers = {path: read_dataset(path, stop_before_pixels=True) for path in series.paths}
    for header in headers.values():
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
        if header.PatientSex not in ("M", "F", "O"):
            header.PatientSex = ""
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = _uid(series, "frame of reference")
        if not header.get("StudyInstanceUID"):
            header.StudyInstanceUID = _uid(series, "study")
    references: dict[str, _Reference] = {}
    sources = []
    for frame in series.frames:
        header = headers[frame.path]
        if "PerFrameFunctionalGroupsSequence" in header:
            alias = _uid(series, f"{frame.uid} {frame.index}")
            references[alias] = _Reference(header.SOPClassUID, frame.uid, frame.index + 1)
            header = _single(header, frame, alias)
        sources.append(header)
    for header in sources:
        # Cosines that a scanner rounded differently from slice to slice would count as another orientation; and the
        # distance cannot be told from the slices written, as some may be left out.
        header.ImageOrientationPatient = sources[0].ImageOrientationPatient
        header.PixelSpacing = sources[0].PixelSpacing
        header.SliceThickness = header.get("SliceThickness") or format_number_as_ds(series.stack.distance)
        header.SpacingBetweenSlices = format_number_as_ds(series.stack.distance)
    return sources, references


def _single(header: Any, frame: Frame, alias: UID) -> Any:
    """The header of a frame as if it were that of a file."""
    single = pydicom.Dataset()
    single.update(header)  # shares its elements: they are replaced, not changed
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "NumberOfFrames"):
        single.pop(name, None)
    thickness = functional(header, frame.index, "SliceThickness")
    if frame.plane is None:
        raise ValueError("a frame without a position")
    for name, value in (
        ("SOPClassUID", MRImageStorage),
        ("SOPInstanceUID", alias),
        ("ImagePositionPatient", [format_number_as_ds(each) for each in frame.plane.position]),
        ("ImageOrientationPatient", [format_number_as_ds(each) for each in frame.plane.orientation]),
        ("PixelSpacing", [format_number_as_ds(each) for each in frame.plane.spacing]),
        ("SliceThickness", thickness),
        ("SpacingBetweenSlices", None),
    ):
        single.pop(name, None)
        setattr(single, name, value)
    return single


def _put_right(data: Any, references: dict[str, _Reference]) -> None:
    """Refer to multi-frame files by their own names, and to their frames by number."""
    for item in data.PerFrameFunctionalGroupsSequence:
        for derivation in item.get("DerivationImageSequence") or ():
            for image in derivation.SourceImageSequence:
                _rename(image, references, with_frame=True)
    for series in data.ReferencedSeriesSequence:
        series.ReferencedInstanceSequence = _renamed_once(series.ReferencedInstanceSequence, references)
    data.SourceImageSequence = _renamed_once(data.SourceImageSequence, references)


def _renamed_once(images: Sequence[Any], references: dict[str, _Reference]) -> list[Any]:
    for image in images:
        _rename(image, references, with_frame=False)
    return list({str(image.ReferencedSOPInstanceUID): image for image in images}.values())


def _rename(image: Any, references: dict[str, _Reference], *, with_frame: bool) -> None:
    reference = references.get(image.ReferencedSOPInstanceUID)
    if reference is not None:
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = reference.sop_class, reference.uid
        if with_frame:
            image.ReferencedFrameNumber = reference.number


def _uid(series: Series, what: str) -> UID:
    return generate_uid(entropy_srcs=[SOFTWARE, series.uid, *(frame.uid for frame in series.frames[:1]), what])


def _version() -> str:
    try:
        return version(SOFTWARE)
    except PackageNotFoundError:
        return "0+unknown"
