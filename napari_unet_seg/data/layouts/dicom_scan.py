"""DICOM series as cases.

A case is called after its folder; where that is called after the series, ``T1``, with the folders above it that name
somebody: ``p1_T1``, whichever of them was opened. Cases that would be called alike so have all the folders below the
one that was opened: ``h1_p1_T1`` and ``h2_p1_T1``, which are ``p1_T1`` both where ``h1`` or ``h2`` is opened. A folder
that is a bare number is called after the series if all such folders beside it are.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from napari_unet_seg.data.formats import atomic, dicom, dicom_seg
from napari_unet_seg.data.formats.dicom import Series
from napari_unet_seg.data.formats.dicom_header import ImageHeader, SegHeader, read_header
from napari_unet_seg.data.layouts.listing import list_folder
from napari_unet_seg.data.roles import guess_role
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

ORDER = ("pre", "flair", "post", "t2")

_NOBODY = re.compile(
    r"(anat|ax|axial|cor|coronal|sag|sagittal|tra|transversal|2d|3d|dicom|dcm|images?|mri?)"
    r"|(exam|scan|se|series|ses|session|st|study|visit)\d*"
)
"""Words that folders of many patients are called alike by."""

_FILES_TRIED = 32
"""How many files of a folder are read before it is taken for one without an image."""


@dataclass(frozen=True, kw_only=True)
class DicomScan(PlainScan):
    """A series, or several on one grid."""

    case_id: str
    series: tuple[Series, ...]
    """A channel each, in the order pre, FLAIR, post, T2."""

    mask_name: str = ""
    """What its mask file is called, without ``_seg.dcm``, where there was no segmentation."""

    segmentation: Path | None = None
    """The segmentation that there was."""

    notes: tuple[str, ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether there was a segmentation that refers to it."""
        return self.segmentation is not None

    @property
    def former_id(self) -> str:
        """See `Scan`."""
        return self.mask_name or self.case_id

    @property
    def identity(self) -> str:
        """See `Scan`."""
        return "\n".join(sorted(each.uid for each in self.series))

    @property
    def foreground(self) -> int:
        """1: segments are numbered from there."""
        return 1

    @property
    def reference(self) -> Series:
        """The series that a mask refers to: FLAIR, on which the tumour is drawn, or else the first."""
        return next((each for each in self.series if guess_role(each.description) == "flair"), self.series[0])

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The segmentation there was, or ``<mask name>_seg.dcm`` beside the series."""
        return (self.segmentation or self.reference.folder / f"{self.mask_name or self.case_id}_seg.dcm",)

    def read_image(self) -> Volume:
        """Read each series as a channel; see `dicom.read_image`."""
        volumes = [dicom.read_image(each) for each in self.series]
        first = volumes[0]
        if len(volumes) == 1:
            return replace(first, notes=(*first.notes, *self.notes))
        notes = dict.fromkeys(note for volume in volumes for note in volume.notes)
        return replace(
            first,
            data=np.concatenate([volume.data for volume in volumes]),
            channel_names=tuple(each.description for each in self.series),
            affine=self.reference.stack.grid.affine,
            spacing=self.reference.stack.grid.spacing,
            source=_common_folder(self.series),
            notes=(*notes, *self.notes),
        )

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the headers that were read when the dataset was opened."""
        return self.reference.stack.grid.shape

    def mask_files(self) -> tuple[MaskFile, ...]:
        """The one file with every slice, called after its image where slices are images: others may join them."""
        path, depth = self.mask_paths[0], self.read_shape()[0]
        return (MaskFile(path=path, slices=tuple(range(depth)), names=_image_names(self.reference)),)

    @property
    def mask_notes(self) -> tuple[str, ...]:
        """See `Scan`."""
        names = () if self.segmentation is None else dicom_seg.foreign_segments(self.segmentation)
        if self.segmentation is None or len(names) < 2:
            return ()
        listed = ", ".join(names)
        return (
            f"every segment of {self.segmentation.name} counts as foreground ({listed}); a correction has one, and "
            "replaces them in its slices",
        )

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """Segment numbers, ``(Z, Y, X)``; see `dicom_seg.read_labels`."""
        return dicom_seg.read_labels(path, self.reference)

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The labels as a segmentation; see `dicom_seg.encode`."""
        return dicom_seg.encode(labels, self.reference, former=former)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>_seg.dcm``."""
        target = Path(folder) / f"{self.case_id}_seg.dcm"
        used = [path for each in self.series for path in each.paths]
        atomic.refuse_overwriting([target], inputs=used + ([self.segmentation] if self.segmentation else []))
        atomic.write_bytes(target, dicom_seg.encode(mask.astype(np.int16), self.reference))
        return target


def open_files(paths: Iterable[Path], *, root: Path) -> list[Scan]:
    """The cases that files make up."""
    found = dicom.find(paths)
    if not found.series:
        what = "masks (DICOM SEG) but not their series" if found.segmentations else "DICOM files but none with an image"
        raise InputError(f"holds {what}; choose the folder with the images", path=root)
    groups = _grouped(found.series)
    names = zip(_names(groups, root=root), _mask_names(groups, root=root), groups, strict=True)
    cases = [DicomScan(case_id=name, mask_name=mask_name, series=group) for name, mask_name, group in names]
    return list(_with_segmentations(cases, found.segmentations))


def open_file(path: Path, *, siblings: Sequence[Path]) -> list[Scan]:
    """The case that a file is of, with those of its siblings that belong to it."""
    if isinstance(read_header(path), SegHeader):
        raise InputError("this is a mask (DICOM SEG); open the folder with its series", path=path)
    if path.name.upper() == "DICOMDIR":
        raise InputError("is only a list of images; open its folder", path=path)
    cases = open_files(siblings, root=path.parent)
    mine = [case for case in cases if isinstance(case, DicomScan) and any(path in each.paths for each in case.series)]
    if not mine:
        raise InputError("holds no image", path=path)
    return list(mine)


def _grouped(series: Sequence[Series]) -> list[tuple[Series, ...]]:
    """Series that are the channels of one case together, others by themselves."""
    groups: list[list[Series]] = []
    alone: list[Series] = []
    for each in series:
        if guess_role(each.description) is None or not _readable(each):
            alone.append(each)
            continue
        for group in groups:
            first = group[0]
            if _space(first) == _space(each) and first.stack.same_as(each.stack):
                group.append(each)
                break
        else:
            groups.append([each])
    together: list[tuple[Series, ...]] = []
    for group in groups:
        by_role = {guess_role(each.description): each for each in group}
        if len(by_role) == len(group):
            together.append(tuple(by_role[role] for role in ORDER if role in by_role))
        else:
            alone += group
    return [*together, *((each,) for each in alone)]


def _space(series: Series) -> tuple[str, str, str]:
    """What series have in common that were made without the patient getting up."""
    return series.patient, series.study, series.frame_of_reference


def _readable(series: Series) -> bool:
    try:
        series.stack  # noqa: B018
    except InputError:
        return False
    return True


def _names(groups: Sequence[tuple[Series, ...]], *, root: Path) -> list[str]:
    """A name for each group: the same whichever folder above it was opened, but for groups with one name.

    Those have the folders that lead there from the one opened, and the short name where no other has it.
    """
    numbered = cache(_numbers_series)
    shared = _shared(groups)
    names = [
        "_".join(
            [*_words(_common_folder(group), group, numbered=numbered), *([_description(group[0])] if alone else [])]
        )
        for group, alone in zip(groups, shared, strict=True)
    ]
    times = Counter(map(_key, names))
    for place, group in enumerate(groups):
        if times[_key(names[place])] > 1 and (lead := _parts(_common_folder(group), root)):
            names[place] = "_".join([*lead, *([_description(group[0])] if shared[place] else [])])
    return _numbered(names)


def _mask_names(groups: Sequence[tuple[Series, ...]], *, root: Path) -> list[str]:
    """A name for the mask file of each group: of its folder, with what tells it apart from the others in there.

    It is what cases were once called, so that the masks written then, in an overlay folder too, are theirs.
    """
    folders = [_common_folder(group) for group in groups]
    names = [
        _description(group[0]) if alone else folder.resolve().name
        for group, folder, alone in zip(groups, folders, _shared(groups), strict=True)
    ]
    # Patients whose series are called alike: with the folders that lead there.
    times = Counter(map(_key, names))
    for place, folder in enumerate(folders):
        if times[_key(names[place])] > 1:
            lead = [part for part in _parts(folder, root) if part != names[place]]
            names[place] = "_".join([*lead, names[place]])
    return _numbered(names)


def _shared(groups: Sequence[tuple[Series, ...]]) -> list[bool]:
    """Whether each group is a series in whose folder, or below it, there are others."""
    folders = [_common_folder(group) for group in groups]
    count = Counter(folders)
    return [
        len(group) == 1 and (count[folder] > 1 or any(folder in other.parents for other in folders))
        for group, folder in zip(groups, folders, strict=True)
    ]


def _words(folder: Path, group: Sequence[Series], *, numbered: Callable[[Path], bool]) -> list[str]:
    """Name of a folder, after those of the folders above up to the first that is not called after the series.

    `numbered` is `_numbers_series`, which remembers.
    """
    place = folder.resolve()
    words = [place.name]
    while _names_nobody(place, group, numbered=numbered) and place.parent.name:
        place = place.parent
        words.insert(0, place.name)
    return words


def _names_nobody(folder: Path, group: Sequence[Series], *, numbered: Callable[[Path], bool]) -> bool:
    """Whether a folder is called after a series or a kind of images, as those of other patients may be."""
    described = {word for each in group for word in _split(each.description)}
    words = _split(folder.name)
    if all(word.isdigit() for word in words):
        return folder.name in {str(each.number) for each in group} and numbered(folder.parent)
    return all(
        word.isdigit() or word in described or guess_role(word) is not None or _NOBODY.fullmatch(word) for word in words
    )


def _numbers_series(folder: Path) -> bool:
    """Whether each folder in there that is called by a bare number holds the series of that number.

    Those that were not opened count too, lest the same scan be called otherwise from above. Patients are numbered as
    well, and the first series of each may have the number of one of them.
    """
    numbered = (folder / name for name in list_folder(folder, root=folder).folders if name.isdigit())
    return all(str(_number(each)) == each.name for each in numbered)


def _number(folder: Path) -> int | None:
    """Number of the series of the first image in a folder."""
    for name in list_folder(folder, root=folder).files[:_FILES_TRIED]:
        with suppress(InputError):
            header = read_header(folder / name)
            if isinstance(header, ImageHeader):
                return header.number
    return None


def _split(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _numbered(names: Sequence[str]) -> list[str]:
    """Names with a number behind those that were there before."""
    names = list(names)
    taken: Counter[str] = Counter()
    for place, name in enumerate(names):
        taken[_key(name)] += 1
        if taken[_key(name)] > 1:
            names[place] = f"{name}_{taken[_key(name)]}"
    return names


def _key(name: str) -> str:
    """Names that a file system may take for one are one."""
    return name.lower()


def _parts(folder: Path, root: Path) -> tuple[str, ...]:
    return folder.relative_to(root).parts if folder.is_relative_to(root) else ()


def _description(series: Series) -> str:
    """``4_ax_flair``: number and description as a file name."""
    words = re.sub(r"[^\w.+-]+", "_", series.description).strip("_.")
    number = str(series.number) if series.number is not None else ""
    return "_".join(word for word in (number, words) if word) or "series"


def _common_folder(group: Sequence[Series]) -> Path:
    return Path(os.path.commonpath([each.folder for each in group]))


def _image_names(series: Series) -> tuple[str, ...]:
    """What tells the image of each slice from any other; nothing where nothing does, or slices cut across images."""
    frames = series.frames
    order = series.stack.to_screen(np.arange(len(frames)).reshape(-1, 1, 1))
    if order.shape != (len(frames), 1, 1):
        return ()
    names = tuple(f"{frames[place].uid}/{frames[place].index}" for place in order.ravel())
    return names if len(set(names)) == len(names) else ()


def _with_segmentations(cases: Sequence[DicomScan], headers: Sequence[SegHeader]) -> Iterable[DicomScan]:
    """Cases with the segmentation that refers to each; of several the one named after it, or else the newest.

    A case without one does not get the name of one that is another's: names depend on who else is in the folder.
    """
    owned: dict[str, list[SegHeader]] = {case.case_id: [] for case in cases}
    instances: dict[str, set[str]] = {}
    for case in cases:
        for uid in {frame.uid for each in case.series for frame in each.frames}:
            instances.setdefault(uid, set()).add(case.case_id)
    for header in headers:
        owner = _owner(header, cases, set().union(*(instances.get(uid, ()) for uid in header.instances)))
        if owner is not None:
            owned[owner].append(header)
    taken = {header.path for headers_of_case in owned.values() for header in headers_of_case}
    for case in cases:
        own = [f"{name}_seg.dcm" for name in (case.case_id, case.mask_name)]
        ranked = sorted(owned[case.case_id], key=lambda each: (each.path.name in own, each.written, str(each.path)))
        if not ranked:
            named = _with_free_name(case, taken)
            taken.update(named.mask_paths)
            yield named
            continue
        chosen = ranked.pop()
        notes = (f"{', '.join(each.path.name for each in ranked)} not used: {chosen.path.name} is",) if ranked else ()
        yield replace(case, segmentation=chosen.path, notes=notes)


def _with_free_name(case: DicomScan, taken: set[Path]) -> DicomScan:
    """A case whose mask file would be none of these."""
    name = case.mask_name or case.case_id
    for number in itertools.count(1):
        found = case if number == 1 else replace(case, mask_name=f"{name}_{number}")
        if taken.isdisjoint(found.mask_paths):
            return found
    raise AssertionError


def _having(cases: Iterable[DicomScan], test: Callable[[Series], bool]) -> set[str]:
    """Names of the cases that have a series which passes a test."""
    return {case.case_id for case in cases if any(map(test, case.series))}


def _owner(header: SegHeader, cases: Sequence[DicomScan], by_instance: set[str]) -> str | None:
    """Name of the case that a segmentation is of: by images, series, or the space in which it lies."""
    by_series = _having(cases, lambda each: each.uid in header.series)
    by_space = _having(cases, lambda each: each.frame_of_reference == header.frame_of_reference != "")
    # Patients may have been anonymised into the same identifiers.
    own = _having(cases, lambda each: (each.patient, each.study) == (header.patient, header.study))
    beside = _having(cases, lambda each: any(path.parent == header.path.parent for path in each.paths))
    for candidates in (by_instance, by_series):
        if candidates:
            candidates = candidates & own or candidates & beside or candidates
            # One multi-frame file may hold several volumes; the name tells whose mask it is.
            named = {
                case.case_id
                for case in cases
                if case.case_id in candidates
                and header.path.name in (f"{case.case_id}_seg.dcm", f"{case.mask_name}_seg.dcm")
            }
            return min(named or candidates)
    return by_space.pop() if len(by_space) == 1 else None
