"""The mask of a case put together from the files that hold it, and how labels are stored in them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.file_state import Signature
from napari_unet_seg.data.scan import MaskFile
from napari_unet_seg.data.volume import Array, Mask, foreground_values, is_one_foreground, to_labels, value_of_one
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """What a slice is, or is to be."""

    labels: Mask | None = None
    """``(Y, X)``; None where `stored` says it."""

    stored: Array | None = None
    """``(Y, X)`` as a file has it, -1 where that marks it as unlabelled; None with `labels` None where there is no
    file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredMask:
    """A case's mask as it lies in its files."""

    files: tuple[MaskFile, ...]
    parts: tuple[Array | None, ...]
    """What each file holds, ``(slices of the file, Y, X)``, as stored, -1 in a slice that it marks as unlabelled; None
    where there is no file, or it is damaged or says nothing of the case."""

    found: tuple[Signature | None, ...]
    """The state in which each file was read; None where there is none."""

    labels: Mask
    """``(Z, Y, X)``; 0 where unlabelled."""

    labelled: NDArray[np.bool_]
    """``(Z,)``."""

    one: int | None
    """See `Correction.one`."""

    several: bool
    """Whether more than one foreground value is stored, or corrections have given the case classes."""

    damaged: frozenset[int] = frozenset()
    """Numbers of the files that are there and cannot be used."""

    def place(self, z: int) -> tuple[int, int]:
        """Number of the file that holds a slice, and the slice's place in it.

        Raises
        ------
        InputError
            If no file of the mask can hold it.
        """
        for index, file in enumerate(self.files):
            if z in file.slices:
                return index, file.slices.index(z)
        raise InputError(f"no mask file can hold slice {z}", path=self.files[0].path if self.files else None)

    def names(self, slices: Iterable[int]) -> tuple[str, ...]:
        """What slices are called in their files; none where those do not name them."""
        places = (self.place(z) for z in slices if z < len(self.labels))
        return tuple(self.files[index].names[place] for index, place in places if self.files[index].names)

    def fingerprint(self, z: int) -> bytes:
        """Tells whether a slice is as it was; empty for an unlabelled one."""
        return plane_fingerprint(self.labels[z]) if self.labelled[z] else b""

    def fingerprints(self) -> dict[int, bytes]:
        """The fingerprint of every slice."""
        return {z: self.fingerprint(z) for z in range(len(self.labels))}

    def hash(self) -> str:
        """SHA-256 of the whole mask, unlabelled slices told from empty ones."""
        return mask_hash(self.labels, self.labelled)

    def labels_of(self, plane: Plane) -> Mask | None:
        """Labels of one of its slices in another state, ``(Y, X)``; None for an unlabelled one."""
        if plane.labels is not None:
            return plane.labels
        if plane.stored is None or plane.stored.min(initial=0) < 0:
            return None
        return (plane.stored > 0).astype(np.uint8) if self.one is None else to_labels(plane.stored, self.one)


def assemble(
    files: tuple[MaskFile, ...],
    parts: Sequence[Array | None],
    *,
    found: Sequence[Signature | None],
    shape: tuple[int, int, int],
    one: int | None,
    foreground: int,
    classes: Container[int] = (),
    partial: Collection[int] = (),
    known: Collection[int] = (),
    damaged: frozenset[int] = frozenset(),
    path: Path | None = None,
) -> StoredMask:
    """Put a case's mask together.

    Parameters
    ----------
    files, parts, found : sequences
        As in `StoredMask`.
    shape : tuple of int
        ``(Z, Y, X)`` of the case.
    one : int or None
        What the case's corrections have settled, see `Correction.one`.
    foreground : int
        See `Scan.foreground`.
    classes : container of int
        See `Scan.classes`.
    partial : collection of int
        Numbers of the files whose slices are labelled only if they are among `known`, or show something: those that
        corrections made, in a format that cannot mark a slice as unlabelled.
    known : collection of int
        Slices that show a correction. Where there are some, and `one` is None, they were of one class: a lone value is
        that one, whichever it is.
    damaged : frozenset of int
        As in `StoredMask`.
    path : Path, optional
        For error messages.

    Raises
    ------
    InputError
        If the values are no labels, a file has another shape than the case, or that does not fit in memory.
    """
    kind = np.result_type(np.uint8, *(part.dtype for part in parts if part is not None))
    try:
        stack: Array = np.zeros(shape, kind)
    except MemoryError as error:
        raise InputError(
            f"a mask of shape {shape} (Z, Y, X) does not fit in memory, or the header of its image is damaged",
            path=path,
        ) from error
    labelled = np.zeros(shape[0], bool)
    for index, (file, part) in enumerate(zip(files, parts, strict=True)):
        if part is None:
            continue
        if part.shape != (len(file.slices), *shape[1:]):
            raise InputError(
                f"the mask has shape {part.shape} but its image {(len(file.slices), *shape[1:])} (Z, Y, X)",
                path=file.path,
            )
        for z, plane in zip(file.slices, part, strict=True):
            if plane.min(initial=0) < 0 or (index in partial and z not in known and not plane.any()):
                continue
            stack[z] = plane
            labelled[z] = True
    values = foreground_values(stack)
    found_in = (foreground_values(part) for part in parts if part is not None)
    several = one is not None or (len(values) > 1 and not is_one_foreground(found_in, classes=classes))
    if one is None and (several or len(values) < 2):
        one = value_of_one(values, foreground=foreground, classes=classes)
        if len(values) < 2 and (known or values in ((), (one,))):
            one = None
    labels = (stack > 0).astype(np.uint8) if one is None else to_labels(stack, one, path=path)
    return StoredMask(
        files=files,
        parts=tuple(parts),
        found=tuple(found),
        labels=labels,
        labelled=labelled,
        one=one,
        several=several,
        damaged=damaged,
    )


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How labels are stored."""

    one: int | None
    """See `Correction.one`."""

    foreground: int
    """Stored value of label 1."""

    def in_file(self, *contents: Array | None) -> Coding:
        """The coding in a file that has, or had, a value for the one class; the first of its contents that says counts.

        Where there are several classes, all files agree.
        """
        found = (foreground_values(each) for each in contents if self.one is None and each is not None)
        return next((replace(self, foreground=values[0]) for values in found if values), self)

    def to_stored(self, labels: Mask, *, like: Array) -> Array:
        """Labels of any shape as stored, in the number type of `like` where that can hold them."""
        high = max(int(labels.max(initial=0)), self.foreground)
        kind = np.promote_types(like.dtype, np.min_scalar_type(high))
        stored: Array = labels.astype(kind)
        stored[labels == 1] = self.foreground
        return stored


def choose_coding(
    labels: Mask,
    *,
    one: int | None,
    present: Iterable[tuple[int, ...]],
    foreground: int,
    classes: Container[int] = (),
    path: Path | None,
) -> Coding:
    """How to store labels beside what is stored already, so that all of it keeps its meaning.

    Parameters
    ----------
    labels : ndarray
        The labels to be stored.
    one : int or None
        See `Correction.one`.
    present : iterable of tuples
        `foreground_values` of everything that is stored, or was in the beginning.
    foreground : int
        See `Scan.foreground`.
    classes : container of int
        See `Scan.classes`.
    path : Path, optional
        For the error message.

    Raises
    ------
    InputError
        If a label cannot be told from what a stored value stands for.
    """
    present = list(present)
    values = sorted({value for found in present for value in found})
    if one is None and is_one_foreground(present, classes=classes):
        if labels.max(initial=0) > 1:
            raise InputError(
                f"the masks of this case have label 1 as {values[0]} in some files and as {values[-1]} in others; "
                "give it one value in all of them before you add another class",
                path=path,
            )
        return Coding(one=None, foreground=foreground if foreground in values else values[0])
    if one is None and len(values) > 1:
        one = value_of_one(values, foreground=foreground, classes=classes)
    elif one is None and labels.max(initial=0) > 1:
        one = values[0] if values else value_of_one(values, foreground=foreground, classes=classes)
    if one is None:
        return Coding(one=None, foreground=values[0] if values else foreground)
    if one > 1 and (labels == one).any():
        raise InputError(
            f"{one} stands for label 1 in the masks of this case; give that class another label", path=path
        )
    return Coding(one=one, foreground=one)


def plane_fingerprint(labels: Mask) -> bytes:
    """Tells labels ``(Y, X)`` from others."""
    return hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=16).digest()


def mask_hash(labels: Mask, labelled: NDArray[np.bool_]) -> str:
    """SHA-256 of a mask ``(Z, Y, X)``, and of which slices are labelled."""
    digest = hashlib.sha256(np.ascontiguousarray(labels).data)
    digest.update(np.ascontiguousarray(labelled).data)
    return digest.hexdigest()
