"""A folder a case, a NIfTI file a sequence, as in BraTS: ``_flair``, ``_t1``, ``_t1ce``, ``_t2`` and ``_seg``.

A case is called after its folder, in BIDS after subject and session: ``sub-01_ses-1``. Where several are called alike,
it is after what the names of its files begin with, and where that is no better, after the folders that lead there:
``HGG/<folder>``. Of several files of BIDS for a sequence (``run-1``, ``run-2``) one is used: see `bids.choose`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic, nifti
from napari_unet_seg.data.formats.extensions import is_image, is_picture, split_name, without_mask_ending
from napari_unet_seg.data.layouts import bids
from napari_unet_seg.data.layouts.channels import read_channels
from napari_unet_seg.data.layouts.listing import list_folder, listed
from napari_unet_seg.data.layouts.sequence_names import names_of_scan, scans_among
from napari_unet_seg.data.layouts.unreadable import UnreadableScan
from napari_unet_seg.data.layouts.writing import UNKNOWN_SPACING, Notes, file_name, whole_case
from napari_unet_seg.data.roles import guess_role, role_suffix
from napari_unet_seg.data.scan import MaskFile, PlainScan, Scan
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "sequences"
LOOKED_FOR = "folders whose NIfTI files are the sequences of a case (_flair, _t1, _t1ce)"

ORDER = ("pre", "flair", "post", "t2")
SUFFIXES = {"pre": "t1", "flair": "flair", "post": "t1ce", "t2": "t2"}
"""What a file is called that holds a sequence."""


@dataclass(frozen=True, kw_only=True)
class SequencesScan(PlainScan):
    """The sequences of one scan, all on one grid."""

    case_id: str
    sequences: tuple[tuple[str, Path], ...]
    """Channel name and file of each, in the order pre, FLAIR, post, T2."""

    mask: Path
    """The mask, or the file that would have it."""

    has_mask: bool
    """Whether it was there."""

    prefix: str
    """What the names of its files begin with."""

    notes: tuple[str, ...] = ()

    @property
    def former_id(self) -> str:
        """See `Scan`: the name of its folder."""
        return self.mask.parent.resolve().name

    @property
    def foreground(self) -> int:
        """1, as NIfTI masks have it."""
        return 1

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.mask,)

    @property
    def reference(self) -> Path:
        """The file whose geometry a mask takes: FLAIR, on which the tumour is drawn, or else the first."""
        files = {guess_role(name): path for name, path in self.sequences}
        return files.get("flair", self.sequences[0][1])

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``, from the header of FLAIR."""
        return nifti.read_shape(self.reference)

    def mask_files(self) -> tuple[MaskFile, ...]:
        """The one file with every slice."""
        return (MaskFile(path=self.mask, slices=tuple(range(self.read_shape()[0]))),)

    def decode_mask(self, file: MaskFile, path: Path) -> Array:
        """The labels, ``(Z, Y, X)``."""
        return nifti.read_labels(path, like=self.reference)

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The mask in the geometry of the former one, or of FLAIR. NIfTI marks no slice as unlabelled: it is empty."""
        return nifti.encode_mask(
            np.maximum(labels, 0), former=former, like=self.reference, compressed=nifti.is_gzip(file.path)
        )

    def read_image(self) -> Volume:
        """Read the sequences as the channels of one volume.

        Raises
        ------
        InputError
            If a file cannot be read, holds several channels or lies on another grid than FLAIR.
        """
        return read_channels(self.sequences, reference=self.reference, notes=self.notes)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>/<case>_mask.nii.gz`` in the orientation of the FLAIR file."""
        home = Path(folder) / self.case_id
        target = home / f"{home.name}_mask.nii.gz"
        used = [path for _, path in self.sequences] + ([self.mask] if self.mask.exists() else [])
        atomic.refuse_overwriting([target], inputs=used)
        nifti.write_mask(target, mask, like=self.reference)
        return target


def detect(path: Path) -> bool:
    """Whether the folder is such a case, or holds such cases one or two levels down, not counting sessions of BIDS."""
    return next(_find_cases(path, root=path), None) is not None


def open_cases(path: Path) -> list[Scan]:
    """The cases under a folder, without reading a pixel."""
    left: list[tuple[Path, list[str]]] = []
    found = list(_find_cases(path, root=path, left=left))
    several: list[Scan] = []
    if any(len(case.sequences) > 1 for case in found):
        for folder, images in left:
            case = _case(folder, images, among_cases=True)
            if case is not None:
                found.append(case)
            elif scans := scans_among(images):
                several.append(_of_several_scans(folder, scans))
    names = [case.case_id for case in found]
    for other in (
        [case.prefix or case.case_id for case in found],
        [case.reference.parent.relative_to(path).as_posix() for case in found],
    ):
        times = Counter(names)
        names = [new if times[name] > 1 else name for name, new in zip(names, other, strict=True)]
    return [replace(case, case_id=name) for case, name in zip(found, names, strict=True)] + several


def _of_several_scans(folder: Path, scans: list[str]) -> Scan:
    problem = f"holds sequences of several scans ({listed(scans)}); give each of them a folder of its own"
    return UnreadableScan(case_id=f"{folder.name} (cannot be read)", problem=problem, path=folder)


def _find_cases(
    path: Path, *, root: Path, levels: int = 2, left: list[tuple[Path, list[str]]] | None = None
) -> Iterator[SequencesScan]:
    """The cases in a folder; to `left` come the folders with images that are none."""
    names, folders = list_folder(path, root=root)
    images = [name for name in names if is_image(name) and not is_picture(name)]
    case = _case(path, images) if images else None
    if case is not None:
        yield case
        return
    below = (
        _find_cases(path / name, root=root, levels=levels - (not _is_session(name)), left=left) for name in folders
    )
    cases = (each for found in below for each in found) if levels > 0 else iter(())
    if not images:
        yield from cases
        return
    beside = list(_beside(images, cases))
    if not beside and left is not None and path != root:
        left.append((path, images))
    yield from beside


def _is_session(folder: str) -> bool:
    return folder.lower().startswith("ses-")


def _beside(images: list[str], cases: Iterator[SequencesScan]) -> Iterator[SequencesScan]:
    """The cases in the folders beside some images that are none; none where the images are rather what is meant."""
    found = list(cases)
    certain = [case for case in found if len(case.sequences) > 1]
    loose = [name for name in images if without_mask_ending(split_name(name)[0]) is None]
    # As many of either: an image with a mask is a case, and a single sequence may be as stray as the image.
    if len(found) > len(loose) or len(certain) == len(loose) == len(images):
        note = f"{listed(images)} beside the folders of the cases not used"
        yield from (replace(case, notes=(*case.notes, note)) for case in found)


def _case(folder: Path, images: list[str], *, among_cases: bool = False) -> SequencesScan | None:
    """The case that a folder's images make up, or None if they are not the sequences of one."""
    names = names_of_scan(images, among_cases=among_cases)
    if names is None:
        return None
    return SequencesScan(
        case_id=bids.scan_name(folder, names.scan),
        sequences=tuple(
            (names.sequences[role].channel, folder / names.sequences[role].name)
            for role in ORDER
            if role in names.sequences
        ),
        mask=folder / (names.mask or (f"{names.prefix}_mask.nii.gz" if names.prefix else "mask.nii.gz")),
        has_mask=names.mask != "",
        prefix=names.prefix,
        notes=names.notes,
    )


def create(folder: Path) -> SequencesWriter:
    """A writer of such a dataset."""
    return SequencesWriter(folder)


class SequencesWriter:
    """Writes a folder a case, a NIfTI file a channel, named after its sequence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write a case whose channels have the names of different sequences."""
        roles = [guess_role(name) for name in volume.channel_names]
        known = [role for role in roles if role is not None]
        if len(set(known)) < len(roles):
            names = ", ".join(name or "no name" for name in volume.channel_names)
            raise InputError(
                f"{case_id} has channels ({names}) that are not known to be different sequences; "
                "convert it to files or nnunet",
                path=volume.source,
            )
        self.notes.say(UNKNOWN_SPACING, when=not volume.spacing_known)
        self.notes.say(
            "the channels are in the order T1, FLAIR, T1 with contrast, T2",
            when=known != sorted(known, key=ORDER.index),
        )
        self.notes.say(
            "a lone mask cannot say which slices are unlabelled: they are written as empty",
            when=mask is not None and not labelled.all(),
        )
        stem = file_name(case_id)
        home = self.folder / stem
        with whole_case() as files:
            for number, (name, role) in enumerate(zip(volume.channel_names, known, strict=True)):
                # Its own name where a file of that name is found to be this sequence of this case.
                suffix = name if role_suffix(f"{stem}_{name}") == (stem, name.lower()) else SUFFIXES[role]
                payload = nifti.encode_image(volume, volume.data[number : number + 1], compressed=True)
                files.write(home / f"{stem}_{suffix}.nii.gz", payload)
            if mask is not None:
                payload = nifti.encode_image(volume, mask[np.newaxis], compressed=True)
                files.write(home / f"{stem}_mask.nii.gz", payload)

    def close(self) -> None:
        """Nothing is left to write."""
