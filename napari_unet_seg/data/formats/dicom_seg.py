"""DICOM segmentations: a mask written as one segment a label, and read back by where its frames lie."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, dicom
from napari_unet_seg.data.formats.dicom import Series
from napari_unet_seg.data.formats.dicom_geometry import SAME_DIRECTION, Plane
from napari_unet_seg.data.formats.dicom_header import SEGMENTATIONS, functional, opened, plane_of, read_dataset
from napari_unet_seg.data.volume import Array, Mask
from napari_unet_seg.errors import InputError, reading

logging.getLogger("highdicom").addHandler(logging.NullHandler())

# DICOM cannot say that a slice was never looked at, nor that segment 3 stands for label 4: a private text does.
_GROUP = 0x0071
_CREATOR = "NAPARI-UNET-SEG"
_TEXT = 0x01

_PLACE_TOLERANCE = 0.25
"""A frame lies on the grid of the series if no pixel is further off than this part of the voxel."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """What a segmentation file says of the slices of a series."""

    values: tuple[int, ...]
    """Label of each segment."""

    bits: NDArray[np.bool_]
    """``(segments, slices, rows, columns)`` in the order of the series and on the axes of its files."""

    labelled: tuple[int, ...] | None
    """Slices on the axes of the screen that are labelled; None for all."""

    descriptions: tuple[Any, ...]
    """Items of the Segment Sequence, in the order of `values`."""

    def labels(self, series: Series) -> Array:
        """``(Z, Y, X)`` integers on the axes of `dicom.read_image`; unlabelled slices are -1.

        Where segments overlap, the later one is seen.
        """
        kind = np.int16 if max(self.values, default=0) <= np.iinfo(np.int16).max else np.int32
        labels: Array = np.zeros(self.bits.shape[1:], kind)
        for value, bits in zip(self.values, self.bits, strict=True):
            labels[bits] = value
        labels = np.ascontiguousarray(series.stack.to_screen(labels))
        if self.labelled is not None:
            labels[np.isin(np.arange(len(labels)), self.labelled, invert=True)] = -1
        return labels


def read_labels(path: Path, series: Series) -> Array:
    """The labels that a segmentation gives the voxels of a series.

    Returns
    -------
    ndarray
        ``(Z, Y, X)`` integers on the axes of `dicom.read_image`: the segment numbers, or what `encode` was given. A
        slice that `encode` was told is unlabelled is -1; of others' files every slice is labelled.

    Raises
    ------
    InputError
        If the file is no binary segmentation, is damaged, or lies on another grid.
    """
    return read_segments(path, series).labels(series)


def read_segments(path: Path, series: Series) -> Segments:
    """The segments of a file, each by itself, on the slices of a series; see `read_labels`."""
    stack = series.stack
    with opened(path):
        data = read_dataset(path)
        if data.get("SOPClassUID") not in SEGMENTATIONS:
            raise InputError("this is no DICOM segmentation (SEG)", path=path)
        if data.SegmentationType == "FRACTIONAL":
            raise InputError("the segmentation holds fractions; threshold it and save it as a binary one", path=path)
        pixels: Array = data.pixel_array.reshape(-1, int(data.Rows), int(data.Columns))
        background = data.get("PixelPaddingValue", 0) if data.SegmentationType == "LABELMAP" else None
        described = {int(item.SegmentNumber): item for item in data.SegmentSequence}
        if background is not None:
            described.pop(int(background), None)
        own = _own_text(data)
        values = tuple(own["values"]) if own is not None else tuple(described)
        if len(values) != len(described):
            raise InputError("this DICOM file is damaged; export it again", path=path)
        place_of = {number: place for place, number in enumerate(described)}
        bits = np.zeros((len(values), *stack.file_shape), bool)
        for index, frame in enumerate(pixels):
            slice_, target, turned = _placed(data, index, frame, series, path)
            if background is not None:
                for number, place in place_of.items():
                    bits[place, slice_][target] |= turned == number
            else:
                number = int(functional(data, index, "ReferencedSegmentNumber"))
                bits[place_of[number], slice_][target] |= turned != 0
        labelled = tuple(own["labelled"]) if own is not None and own["labelled"] is not None else None
        return Segments(values=values, bits=bits, labelled=labelled, descriptions=tuple(described.values()))


def foreign_segments(path: Path) -> tuple[str, ...]:
    """What the segments of a file of other software are called; nothing for a file that `encode` made.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    with opened(path):
        data = read_dataset(path, stop_before_pixels=True)
        if _own_text(data) is not None:
            return ()
        return tuple(str(item.get("SegmentLabel", item.SegmentNumber)) for item in data.SegmentSequence)


def encode(labels: Array, series: Series, *, former: Path | None = None) -> bytes:
    """A segmentation file of a series.

    Parameters
    ----------
    labels : ndarray
        ``(Z, Y, X)`` integers on the axes of `dicom.read_image`; a slice of -1 is unlabelled and gets no frame where
        slices of the screen are those of the files.
    series : Series
        What the mask was drawn on; the result refers to its images frame by frame.
    former : Path, optional
        The file that this one replaces: its segments keep their names and codes, and slices that do not change keep
        segments that overlap.

    Raises
    ------
    InputError
        If shapes differ, or the headers of the series do not suffice.
    """
    stack = series.stack
    if labels.shape != stack.grid.shape:
        raise InputError(
            f"the mask has shape {labels.shape} but the series {stack.grid.shape} (Z, Y, X)", path=series.folder
        )
    labelled: NDArray[np.bool_] = labels.min(axis=(1, 2)) >= 0
    text_labelled = None if labelled.all() else np.flatnonzero(labelled).tolist()
    planes = np.broadcast_to(labelled[:, None, None], labels.shape)
    written = np.flatnonzero(stack.to_file(planes).any(axis=(1, 2)))
    if not len(written):
        written = np.arange(len(series.frames))  # a segmentation has a frame at least
    values = stack.to_file(np.where(planes, labels, 0))
    old = read_segments(former, series) if former is not None else None
    present = set(np.unique(values[values > 0]).tolist()) | (set(old.values) if old is not None else set())
    segments = sorted(present or {1})
    bits = np.stack([values == value for value in segments], axis=-1).astype(np.uint8)
    if old is not None:
        _keep_overlaps(bits, segments, values, old, series)
    # highdicom takes 0.3 s to import.
    from napari_unet_seg.data.formats import dicom_seg_file

    described = dict(zip(old.values, old.descriptions, strict=True)) if old is not None else {}
    with opened(series.folder):
        try:
            data = dicom_seg_file.build(
                bits[written], series, slices=written.tolist(), values=segments, described=described
            )
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"a DICOM segmentation cannot be made from these headers ({reason}); save the mask as NIfTI",
                path=series.folder,
            ) from error
        block = data.private_block(_GROUP, _CREATOR, create=True)
        text = json.dumps({"labelled": text_labelled, "values": segments}, separators=(",", ":"))
        block.add_new(_TEXT, "UT", text)
        payload = io.BytesIO()
        data.save_as(payload, enforce_file_format=True)
    return payload.getvalue()


def write_seg(path: Path, mask: Mask, *, source: Path | Sequence[Path]) -> None:
    """Write a mask as the segmentation of a series.

    Parameters
    ----------
    path : Path
        Where to write; replaced at once if it exists.
    mask : Mask
        ``(Z, Y, X)`` on the axes of `dicom.read_image`.
    source : Path or sequence of Path
        The series: its folder, or its files.

    Raises
    ------
    InputError
        If there is no such series, several that could be meant, or the folder cannot be written.
    """
    place = source if isinstance(source, Path) else source[0]
    with reading(place):
        files = sorted(source.iterdir()) if isinstance(source, Path) else source
    series = [each for each in dicom.find(files).series if each.problem is None]
    if not series:
        raise InputError("holds no DICOM series", path=place)
    fitting = [each for each in series if each.stack.grid.shape == mask.shape]
    if not fitting:
        raise InputError(f"the mask has shape {mask.shape} but no series here has", path=place)
    if not all(each.stack.same_as(fitting[0].stack) for each in fitting):
        raise InputError("holds several series of the mask's shape; save it beside the files of one", path=place)
    atomic.refuse_overwriting([path], inputs=[file for each in series for file in each.paths])
    atomic.write_bytes(path, encode(mask.astype(np.int16), fitting[0]))


def _keep_overlaps(
    bits: NDArray[np.uint8], segments: Sequence[int], values: Array, old: Segments, series: Series
) -> None:
    """Put back the former segments of slices whose labels are still the same."""
    before = series.stack.to_file(np.maximum(old.labels(series), 0))
    same = (before == values).all(axis=(1, 2))
    for value, former in zip(old.values, old.bits, strict=True):
        bits[same, ..., segments.index(value)] = former[same]


def _own_text(data: Any) -> dict[str, Any] | None:
    """What `encode` wrote beside the standard; None in files of other software."""
    try:
        value = data.private_block(_GROUP, _CREATOR)[_TEXT].value
    except KeyError:
        return None
    # An archive that changes the transfer syntax may have forgotten the type of what it does not know.
    text = value.decode().rstrip("\0 ") if isinstance(value, bytes) else value
    found: dict[str, Any] = json.loads(text)
    return found


def _placed(data: Any, index: int, frame: Array, series: Series, path: Path) -> tuple[int, tuple[slice, slice], Array]:
    """Slice of the series that a frame lies on, which rows and columns of it, and the frame turned to fit."""
    plane = plane_of(data, index)
    frames = str(data.get("FrameOfReferenceUID", ""))
    if plane is None or (frames and series.frame_of_reference and frames != series.frame_of_reference):
        place = _by_reference(data, index, series)
        if place is None:
            raise InputError("does not say which images of the series its frames belong to", path=path)
        if frame.shape != series.stack.file_shape[1:]:
            raise InputError(
                f"its frames have {frame.shape} pixels, the series {series.stack.file_shape[1:]}", path=path
            )
        return place, (slice(None), slice(None)), frame
    return _by_position(plane, frame, series, path)


def _by_reference(data: Any, index: int, series: Series) -> int | None:
    derivation = (data.PerFrameFunctionalGroupsSequence[index].get("DerivationImageSequence") or [{}])[0]
    for image in derivation.get("SourceImageSequence") or ():
        number = image.get("ReferencedFrameNumber") or 1
        key = str(image.ReferencedSOPInstanceUID), int(number) - 1
        for place, frame in enumerate(series.frames):
            if (frame.uid, frame.index) == key:
                return place
    return None


def _by_position(plane: Plane, frame: Array, series: Series, path: Path) -> tuple[int, tuple[slice, slice], Array]:
    elsewhere = InputError("lies elsewhere in space than its series; resample it to that grid", path=path)
    stack = series.stack
    own = series.frames[0].plane
    if own is None or abs(abs(float(plane.normal @ own.normal)) - 1) > SAME_DIRECTION:
        raise elsewhere
    depths = (stack.positions - np.array(plane.position)) @ own.normal
    place = int(np.argmin(np.abs(depths)))
    if abs(depths[place]) > _PLACE_TOLERANCE * stack.distance:
        raise elsewhere
    # Index (row, column) of the series for a step along rows and columns of the frame, and for its first pixel.
    axes = np.array([own.orientation[3:], own.orientation[:3]]) / np.array(own.spacing)[:, None]
    steps = axes @ np.array([np.multiply(plane.orientation[3:], plane.spacing[0]),
                             np.multiply(plane.orientation[:3], plane.spacing[1])]).T  # fmt: skip
    whole = np.rint(steps)
    corner = axes @ (np.array(plane.position) - stack.positions[place])
    drift = np.abs(steps - whole) @ np.array(frame.shape) + np.abs(corner - np.rint(corner))
    if (np.abs(whole).sum(axis=0) != 1).any() or (np.abs(whole).sum(axis=1) != 1).any() or drift.max() > 0.5:
        raise elsewhere
    start = np.rint(corner).astype(int)
    turned = frame.T if whole[0, 1] else frame
    for axis in (0, 1):
        if whole[axis].sum() < 0:
            turned = np.flip(turned, axis)
            start[axis] -= turned.shape[axis] - 1
    stop = start + turned.shape
    if (start < 0).any() or (stop > stack.file_shape[1:]).any():
        raise elsewhere
    return place, (slice(start[0], stop[0]), slice(start[1], stop[1])), turned
