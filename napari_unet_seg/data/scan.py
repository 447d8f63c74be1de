"""What a layout offers of one scan: its pixels, and the files that hold, or would hold, its mask."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_unet_seg.data.volume import Array, Mask, Volume


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """A file of the dataset that holds the mask of some slices, or would hold it once there is one."""

    path: Path
    """Where it lies in the dataset, or would lie."""

    slices: tuple[int, ...]
    """Slices of the scan that it holds, in its own order."""

    shared: bool = False
    """Whether it holds masks of other scans too, as the JSON file of a COCO split does."""

    marks_unlabelled: bool = False
    """Whether a slice in it can be marked as unlabelled; in other files of one slice that slice is labelled."""

    names: tuple[str, ...] = ()
    """What each slice is called in it, where it names them."""


class Scan(Protocol):
    """One scan as it lies on disk. Making one reads names alone; a broken file shows when it is read.

    Every method that reads or writes raises InputError naming the file at fault.
    """

    @property
    def case_id(self) -> str:
        """Name of the case, unique in its dataset."""

    @property
    def has_mask(self) -> bool:
        """Whether there was a mask for some slice at least when the dataset was listed."""

    @property
    def former_id(self) -> str:
        """What it was called before names told of the folders above it: what was kept by that name is still its own.

        Two cases may have had the same one in turn.
        """

    @property
    def identity(self) -> str:
        """What tells it from others wherever it lies, as series of DICOM have it; ``""`` where its files' names do."""

    @property
    def mask_notes(self) -> tuple[str, ...]:
        """What a user should know of the mask that it came with."""

    @property
    def classes(self) -> Collection[int]:
        """Stored values that the dataset itself calls classes, as nnU-Net's `dataset.json` does; empty without such."""

    @property
    def foreground(self) -> int:
        """Value that stands for label 1 in a new mask file, and in others that do not hold 1: 255 or 1, mostly."""

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """Paths of `mask_files`, from names alone."""

    def read_image(self) -> Volume:
        """Read the pixels."""

    def read_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)`` as `read_image` has it, from headers alone."""

    def mask_files(self) -> tuple[MaskFile, ...]:
        """Every file that holds or would hold the mask, from names and headers; each slice is in exactly one."""

    def decode_mask(self, file: MaskFile, path: Path) -> Array | None:
        """Labels as stored (0 and 255, say), ``(len(file.slices), Y, X)`` integers on the axes of `read_image`.

        Parameters
        ----------
        file : MaskFile
            One of `mask_files`.
        path : Path
            Where its content lies: the file itself, a kept original, or a copy in an overlay folder. It exists.

        Returns
        -------
        ndarray or None
            None where the file says nothing of this scan. A slice that the file marks as unlabelled is negative
            throughout (-1).
        """

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """The content that a mask file is to have, in its own format, geometry and number type.

        Parameters
        ----------
        file : MaskFile
            One of `mask_files`.
        labels : ndarray
            As `decode_mask` returns them; what it returns for the result is exactly this.
        former : Path, optional
            Where the present content lies; None for a file that does not exist yet.
        original : Path, optional
            Where the content lies that the file had before the first correction; None if it did not exist.
        """

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write a mask ``(Z, Y, X)`` in the scan's own format and geometry under a folder.

        Returns the file, or the folder of files, that was written. InputError if a file of the dataset would be
        replaced or the folder cannot be written.
        """


class PlainScan:
    """What the scans of most layouts say where others have something to tell; see `Scan`."""

    case_id: str

    @property
    def former_id(self) -> str:
        """Its present name."""
        return self.case_id

    @property
    def identity(self) -> str:
        """None but its files' names."""
        return ""

    @property
    def mask_notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def classes(self) -> Collection[int]:
        """None."""
        return ()


def slice_numbers(slices: Sequence[int]) -> str:
    """The first eight slice numbers, for the user: ``3, 4, 5``."""
    return ", ".join(map(str, slices[:8])) + (" …" if len(slices) > 8 else "")


def listed_slices(slices: Sequence[int]) -> str:
    """The first eight of some slices, for the user: ``slices 3, 4, 5``."""
    return f"slice{'s' if len(slices) != 1 else ''} {slice_numbers(slices)}"


def natural_key(text: str) -> list[tuple[int, str]]:
    """Key that sorts ``case10`` after ``case9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"([0-9]+)", text)]
