"""A folder a case, a NIfTI file a sequence, as in BraTS: ``_flair``, ``_t1``, ``_t1ce``, ``_t2`` and ``_seg``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.formats import atomic, nifti
from napari_unet_seg.data.formats.extensions import is_image, is_nifti, split_name
from napari_unet_seg.data.roles import guess_role, role_suffix
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError

NAME = "sequences"
LOOKED_FOR = "folders whose NIfTI files are the sequences of a case (_flair, _t1, _t1ce)"

ORDER = ("pre", "flair", "post", "t2")
MASK_WORDS = ("seg", "mask")


@dataclass(frozen=True, kw_only=True)
class SequencesCase:
    """The sequences of one scan, all on one grid."""

    case_id: str
    sequences: tuple[tuple[str, Path], ...]
    """Channel name and file of each, in the order pre, FLAIR, post, T2."""

    mask: Path | None
    notes: tuple[str, ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask file."""
        return self.mask is not None

    @property
    def reference(self) -> Path:
        """The file whose geometry a mask takes: FLAIR, on which the tumour is drawn, or else the first."""
        files = {guess_role(name): path for name, path in self.sequences}
        return files.get("flair", self.sequences[0][1])

    def labelled_slices(self) -> NDArray[np.bool_]:
        """Every slice where there is a mask file, none where there is not, ``(Z,)``; reads the header."""
        return np.full(nifti.read_shape(self.reference)[0], self.has_mask)

    def read_image(self) -> Volume:
        """Read the sequences as the channels of one volume.

        Raises
        ------
        InputError
            If a file cannot be read, holds several channels or lies on another grid than FLAIR.
        """
        expected = nifti.read_grid(self.reference)
        data: list[Array] = []
        notes = list(self.notes)
        for _, path in self.sequences:
            grid = nifti.read_grid(path)
            if grid.shape != expected.shape:
                raise InputError(
                    f"has shape {grid.shape} but {self.reference.name} {expected.shape} (Z, Y, X); "
                    "resample the sequences to one grid",
                    path=path,
                )
            if not nifti.same_grid(grid, expected):
                raise InputError(
                    f"lies elsewhere in space than {self.reference.name}; resample the sequences to one grid", path=path
                )
            one = nifti.read_image(path)
            if len(one.data) != 1:
                raise InputError(f"holds {len(one.data)} channels; a sequence has one", path=path)
            data.append(one.data[0])
            notes += [note for note in one.notes if note not in notes]
        return Volume(
            data=np.stack(data),
            channel_names=tuple(name for name, _ in self.sequences),
            spacing=expected.spacing,
            affine=expected.affine,
            spacing_known=expected.spacing_known,
            source=self.reference.parent,
            notes=tuple(notes),
        )

    def read_mask(self) -> Mask | None:
        """Read the mask file; InputError if it does not lie on the grid of FLAIR."""
        return None if self.mask is None else nifti.read_mask(self.mask, like=self.reference)

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write ``folder/<case>/<case>_mask.nii.gz`` in the orientation of the FLAIR file."""
        target = Path(folder) / self.case_id / f"{self.case_id}_mask.nii.gz"
        used = [path for _, path in self.sequences] + ([self.mask] if self.mask is not None else [])
        atomic.refuse_overwriting([target], inputs=used)
        nifti.write_mask(target, mask, like=self.reference)
        return target


def detect(path: Path) -> bool:
    """Whether the folder is such a case, or holds such cases one or two levels down."""
    return next(_find_cases(path), None) is not None


def open_cases(path: Path) -> list[Case]:
    """The cases under a folder, without reading a pixel."""
    return list(_find_cases(path))


def _find_cases(path: Path, *, levels: int = 2) -> Iterator[SequencesCase]:
    try:
        with os.scandir(path) as entries:
            visible = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return
    images = [name for name, folder in visible if not folder and is_image(name)]
    if images:
        case = _case(path, images)
        if case is not None:
            yield case
        return
    if levels:
        for name, folder in visible:
            if folder:
                yield from _find_cases(path / name, levels=levels - 1)


def _case(folder: Path, images: list[str]) -> SequencesCase | None:
    """The case that a folder's images make up, or None if they are not the sequences of one."""
    by_role: dict[str, tuple[str, Path]] = {}
    masks: dict[str, Path] = {}
    prefixes: set[str] = set()
    ignored: list[str] = []
    for name in images:
        if not is_nifti(name):
            return None
        stem = split_name(name)[0]
        prefix, suffix = role_suffix(stem)
        role = guess_role(suffix)
        head, word = _last_word(stem)
        if role is not None:
            if role in by_role:
                return None
            by_role[role] = suffix, folder / name
            prefixes.add(prefix)
        elif word in MASK_WORDS:
            masks[head] = folder / name
        else:
            ignored.append(name)
    if len(prefixes) != 1:
        return None
    prefix = prefixes.pop()
    mask = masks.pop(prefix, None)
    if mask is None:
        # A mask drawn on FLAIR is often named after its file.
        mask = next((masks.pop(head) for head in sorted(masks) if role_suffix(head) == (prefix, "flair")), None)
    ignored += [path.name for path in masks.values()]
    # One sequence among files of other names is no case: each of them is.
    if any(not name.startswith(prefix) for name in ignored) or (ignored and len(by_role) == 1):
        return None
    notes = (f"{', '.join(sorted(ignored))} not used: the name is of no sequence",) if ignored else ()
    return SequencesCase(
        case_id=folder.resolve().name,
        sequences=tuple(by_role[role] for role in ORDER if role in by_role),
        mask=mask,
        notes=notes,
    )


def _last_word(stem: str) -> tuple[str, str]:
    """Stem without its last word, and that word in lower case."""
    for separator in "_-. ":
        head, found, word = stem.rpartition(separator)
        if found and word.lower() in MASK_WORDS:
            return head, word.lower()
    return "", stem.lower()
