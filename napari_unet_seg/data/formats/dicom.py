"""DICOM series: found by what files hold, ordered by where slices lie, read on the axes of the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats.dicom_geometry import SAME_POSITION, Stack, stacked
from napari_unet_seg.data.formats.dicom_header import (
    TRAITS,
    Frame,
    ImageHeader,
    SegHeader,
    read_header,
)
from napari_unet_seg.data.formats.dicom_name import has_magic, promises_dicom
from napari_unet_seg.data.formats.dicom_pixels import read_pixels
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError

_Header = TypeVar("_Header", ImageHeader, SegHeader)


@dataclass(frozen=True, kw_only=True)
class Series:
    """The images of one volume, from headers alone; what is wrong with them shows when it is asked for."""

    uid: str
    patient: str
    study: str
    frame_of_reference: str
    description: str
    """SeriesDescription; with what tells it apart where a series holds several volumes."""

    number: int | None
    frames: tuple[Frame, ...]
    """In order along the normal of the slices."""

    notes: tuple[str, ...] = ()
    problem: str | None = None
    """Why these images are no volume."""

    faulty: Path | None = None
    """The file that the problem is about, if one is."""

    @property
    def folder(self) -> Path:
        """Where the first file lies."""
        return (self.faulty or self.frames[0].path).parent

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return self.description or self.folder.name

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files, each once."""
        return tuple(dict.fromkeys(frame.path for frame in self.frames))

    @cached_property
    def stack(self) -> Stack:
        """The geometry.

        Raises
        ------
        InputError
            If the images are no volume: they lack geometry, differ in size, lie at the same place.
        """
        if self.problem is not None:
            raise InputError(self.problem, path=self.faulty or self.folder)
        planes = []
        for frame in self.frames:
            if frame.colours:
                raise InputError(
                    "holds colours (RGB), not intensities; open the series it was made of", path=frame.path
                )
            if frame.plane is None:
                raise InputError(
                    "does not say where it lies (ImagePositionPatient, ImageOrientationPatient, PixelSpacing); "
                    "export the series again with its geometry",
                    path=frame.path,
                )
            planes.append(frame.plane)
        thickness = self.frames[0].thickness
        paths = [frame.path for frame in self.frames]
        return stacked(planes, thickness=thickness, name=self.title, paths=paths)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies under a folder."""

    series: tuple[Series, ...]
    segmentations: tuple[SegHeader, ...]


def find(paths: Iterable[Path]) -> Found:
    """Read the headers of files and put them together as series.

    Files that are no DICOM are passed over, unless their name says that they are; a damaged file is noted in
    the series beside it, or stands for a series of its own where there is none.
    """
    images: list[ImageHeader] = []
    segmentations: list[SegHeader] = []
    broken: list[InputError] = []
    for path in paths:
        try:
            header = read_header(path)
        except InputError as error:
            if promises_dicom(path) or has_magic(path):
                broken.append(error)
            continue
        if isinstance(header, ImageHeader):
            images.append(header)
        elif header is not None:
            segmentations.append(header)
    patients = _patients_by_study(images)
    images = [_with_patient(image, patients) for image in images]
    segmentations = [_with_patient(segmentation, patients) for segmentation in segmentations]
    # Anonymised anew, scans of several patients may have one and the same SeriesInstanceUID.
    by_series: dict[tuple[str, str, str], list[ImageHeader]] = {}
    for image in images:
        by_series.setdefault((image.patient, image.study, image.series), []).append(image)
    good = {frame.path.parent for image in images for frame in image.frames[:1]}
    series = [each for headers in by_series.values() for each in _volumes(headers, broken)]
    lost: dict[Path, list[InputError]] = {}
    for each in broken:
        if each.path is not None and each.path.parent not in good:
            lost.setdefault(each.path.parent, []).append(each)
    series += [
        Series(
            uid="", patient="", study="", frame_of_reference="", description="", number=None, frames=(),
            problem=errors[0].problem, faulty=errors[0].path,
        )
        for errors in lost.values()
    ]  # fmt: skip
    return Found(series=tuple(series), segmentations=tuple(segmentations))


def _patients_by_study(images: Iterable[ImageHeader]) -> dict[str, set[str]]:
    patients: dict[str, set[str]] = {}
    for image in images:
        if image.patient:
            patients.setdefault(image.study, set()).add(image.patient)
    return patients


def _with_patient(header: _Header, patients: Mapping[str, set[str]]) -> _Header:
    """A header that names no patient with the one of its study, if there is only one."""
    known = patients.get(header.study, set())
    return replace(header, patient=min(known)) if not header.patient and len(known) == 1 else header


def read_image(series: Series) -> Volume:
    """Read the pixels of a series.

    Returns
    -------
    Volume
        ``(1, Z, Y, X)``, reoriented so that z runs to the head, y to the back, x to the patient's left: of the type
        of the files, or float32 where a slope or intercept scales them; padding as dark as the darkest pixel.

    Raises
    ------
    InputError
        If a file is damaged, cannot be decoded or holds colours, or the images are no volume.
    """
    stack = series.stack
    values = stack.to_screen(read_pixels(series.frames, shape=stack.file_shape[1:]))
    return Volume(
        # Contiguous: torch takes no array that runs backwards, as a flipped axis does.
        data=np.ascontiguousarray(values)[np.newaxis],
        channel_names=(series.description,),
        spacing=stack.grid.spacing,
        affine=stack.grid.affine,
        spacing_known=stack.grid.spacing_known,
        source=series.folder,
        notes=(*series.notes, *stack.notes),
        uneven=stack.uneven,
    )


def _volumes(headers: Sequence[ImageHeader], broken: Sequence[InputError]) -> Iterator[Series]:
    """The volumes of one series: by orientation, and by what else tells apart images of one place."""
    first = headers[0]
    frames, notes = _without_copies([frame for header in headers for frame in header.frames])
    folders = {frame.path.parent for frame in frames}
    beside = [error for error in broken if error.path is not None and error.path.parent in folders]
    notes += _left_out([(error.path.name, error.problem) for error in beside if error.path is not None])
    groups = _by_orientation(frames)
    for group in groups:
        parts = _told_apart(group)
        for label, part in parts:
            ordered = _in_order(part)
            yield Series(
                uid=first.series,
                patient=first.patient,
                study=first.study,
                frame_of_reference=first.frame_of_reference,
                description=" ".join(word for word in (first.description, label) if word),
                number=first.number,
                frames=tuple(ordered),
                notes=tuple(notes),
                problem=_clash(ordered),
            )


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Frames without those of a file that was copied under another name; one that lies elsewhere is no copy."""
    kept: dict[tuple[str, int, object], Frame] = {}
    copies = []
    for frame in frames:
        other = kept.setdefault((frame.uid, frame.index, frame.plane), frame)
        if other is not frame and frame.index == 0:
            copies.append((frame.path.name, f"it is a copy of {other.path.name}"))
    return list(kept.values()), _left_out(copies)


def _left_out(files: Sequence[tuple[str, str]]) -> list[str]:
    """A note on files that are not used, given by name and reason; only one of them has its reason said."""
    if not files:
        return []
    (name, why), more = files[0], len(files) - 1
    others = f", and {more} more file{'s' if more > 1 else ''}" if more else ""
    return [f"{name} is left out: {why}{others}"]


def _by_orientation(frames: Sequence[Frame]) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            one, other = group[0].plane, frame.plane
            # Without geometry there is nothing to tell them apart by; reading them says so.
            if one is None or other is None or one.parallel(other):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _told_apart(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Parts of a series in which no two images lie at one place, with a name for each."""
    parts: list[tuple[str, list[Frame]]] = [("", frames)]
    for place, word in enumerate(TRAITS.values()):
        if not any(_crowded(part) for _, part in parts):
            break
        finer: list[tuple[str, list[Frame]]] = []
        for label, part in parts:
            values = {frame.traits[place] for frame in part}
            if not _crowded(part) or len(values) == 1:
                finer.append((label, part))
                continue
            ranked = sorted(values, key=lambda value: (value is not None, isinstance(value, tuple), value or 0))
            for rank, value in enumerate(ranked, start=1):
                shown = f"{word}{value:g}" if word == "b" and isinstance(value, float) else f"{word}{rank}"
                chosen = [frame for frame in part if frame.traits[place] == value]
                finer.append((f"{label} {shown}".strip(), chosen))
        # A value that is each slice's own, as an acquisition number may be, makes no volumes.
        if word != "acquisition" or len({len(part) for _, part in finer}) == 1 < len(finer[0][1]):
            parts = finer
    return parts


def _in_order(frames: Sequence[Frame]) -> list[Frame]:
    depths = _depths(frames)
    return [frames[place] for place in np.argsort(depths, kind="stable")]


def _depths(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Place of each along the normal of the first; all 0 where one does not say where it lies."""
    first = frames[0].plane
    planes = [frame.plane for frame in frames]
    if first is None or None in planes:
        return np.zeros(len(frames))
    # One normal for all: rounded cosines of their own would shift slices far from the origin.
    return np.array([plane.position for plane in planes if plane is not None]) @ first.normal


def _crowded(frames: Sequence[Frame]) -> bool:
    return _clash(_in_order(frames)) is not None


def _clash(ordered: Sequence[Frame]) -> str | None:
    """What is wrong if two neighbours in order along the normal lie at one place."""
    if any(frame.plane is None for frame in ordered):
        return None
    close = np.flatnonzero(np.diff(_depths(ordered)) < SAME_POSITION)
    if not len(close):
        return None
    one, other = (ordered[place].path.name for place in (close[0], close[0] + 1))
    which = f"{one} and {other}" if one != other else f"two frames of {one}"
    return f"{which} lie at the same place, and no tag tells them apart; keep one of them"
