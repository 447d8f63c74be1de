"""What every layout offers for one scan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask, Volume


class Case(Protocol):
    """One scan of one patient. Making one reads no pixels; a broken file shows when it is read."""

    @property
    def case_id(self) -> str:
        """Name of the case, unique in its dataset."""

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask file, for some slices at least; known without reading pixels."""

    def read_image(self) -> Volume:
        """Read the pixels; InputError names the file at fault."""

    def read_mask(self) -> Mask | None:
        """Read the mask, ``(Z, Y, X)`` on the grid of the image; None if there is none.

        Slices without a mask of their own are 0; see `labelled_slices`.
        """

    def labelled_slices(self) -> NDArray[np.bool_]:
        """Which slices have a mask, ``(Z,)`` bool."""

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """Write a mask ``(Z, Y, X)`` in the case's own format and geometry under a folder.

        Returns the file, or the folder of files, that was written. InputError if a file of the dataset would be
        replaced or the folder cannot be written.
        """


def natural_key(text: str) -> list[tuple[int, str]]:
    """Key that sorts ``case10`` after ``case9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"([0-9]+)", text)]
