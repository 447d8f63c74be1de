"""Which axis of a TIFF is which: what the metadata says where it can be trusted, else the shape, else an error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_unet_seg.data.volume import Array
from napari_unet_seg.errors import InputError

MOST_CHANNELS = 4
"""An axis longer than this is not taken for channels unless the file says so in so many words."""

ADVICE = "save it with axes metadata, for example tifffile.imwrite(..., metadata={'axes': 'ZCYX'})"


@dataclass(frozen=True, kw_only=True)
class TiffAxes:
    """Meaning of the axes of a TIFF."""

    letters: str
    """One of ``C``, ``Z``, ``Y``, ``X`` for each axis; ``1`` for an axis of length 1 that means nothing."""

    shape: tuple[int, ...]
    """Length of each axis."""

    samples: bool = False
    """Whether the channels are the samples (red, green, blue) of a pixel."""

    notes: tuple[str, ...] = ()
    """What had to be assumed."""

    def length(self, letter: str) -> int:
        """Length of the axis with this letter, 1 where there is none."""
        index = self.letters.find(letter)
        return self.shape[index] if index >= 0 else 1

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """``(Z, Y, X)``."""
        return self.length("Z"), self.length("Y"), self.length("X")

    def arrange(self, values: Array) -> Array:
        """The array with axes ``(C, Z, Y, X)``, as a view."""
        kept = [index for index, letter in enumerate(self.letters) if letter != "1"]
        values = values.reshape([self.shape[index] for index in kept])
        letters = "".join(self.letters[index] for index in kept)
        for letter in "CZ":
            if letter not in letters:
                values, letters = values[np.newaxis], letter + letters
        return values.transpose([letters.index(letter) for letter in "CZYX"])


def find_axes(letters: str, shape: tuple[int, ...], *, trusted: bool, stated: bool, path: Path) -> TiffAxes:
    """Decide what each axis means.

    Parameters
    ----------
    letters : str
        tifffile's letter for each axis. ``S`` (samples of a pixel) follows from the tags; the others are tifffile's
        own guess unless `trusted` or `stated`.
    shape : tuple of int
        Length of each axis.
    trusted : bool
        Whether the letters come from ImageJ or OME metadata. Libraries fill these in by default, with a channel axis
        where there are slices.
    stated : bool
        Whether the writer named the axes himself.
    path : Path
        The file, for errors.

    Raises
    ------
    InputError
        If the shape fits several readings.
    """
    if stated or trusted:
        found = _from_metadata(letters, shape, stated=stated, path=path)
        if found is not None:
            return found
    return _from_shape(letters, shape, path=path)


def _from_metadata(letters: str, shape: tuple[int, ...], *, stated: bool, path: Path) -> TiffAxes | None:
    """Axes as named, or None where a name is missing or cannot be meant."""
    notes: list[str] = []
    names = list(letters)
    for index, length in enumerate(shape):
        if length == 1 and names[index] not in "YX":
            names[index] = "1"
    samples = "S" in names
    if samples and "C" in names:
        raise InputError(f"axes {letters} of shape {shape} hold colours and channels; {ADVICE}", path=path)
    names = ["C" if name == "S" else name for name in names]
    if "T" in names:
        if "Z" in names:
            raise InputError(f"this is a series over time (axes {letters}); save one time point", path=path)
        notes.append(f"{path.name}: the {shape[names.index('T')]} time points are taken for slices")
        names[names.index("T")] = "Z"
    unnamed = [index for index, name in enumerate(names) if name not in "1CZYX"]
    if len(unnamed) == 1 and "Z" not in names:
        names[unnamed[0]] = "Z"
    elif unnamed:
        return None
    if any(names.count(letter) > 1 for letter in "CZYX") or "Y" not in names or "X" not in names:
        return None
    if "C" in names and not samples and not stated and shape[names.index("C")] > MOST_CHANNELS:
        channel = names.index("C")
        if "Z" not in names:
            names[channel] = "Z"
            notes.append(f"{path.name}: its {shape[channel]} channels are taken for slices")
        elif shape[names.index("Z")] <= MOST_CHANNELS:
            slices = names.index("Z")
            names[channel], names[slices] = "Z", "C"
            notes.append(
                f"{path.name}: the axis of length {shape[slices]} is taken for the channels and the one of length "
                f"{shape[channel]} for the slices, although the file has them the other way round"
            )
    return TiffAxes(letters="".join(names), shape=shape, samples=samples, notes=tuple(notes))


def _from_shape(letters: str, shape: tuple[int, ...], *, path: Path) -> TiffAxes:
    """Axes from the lengths alone, and from the samples of a pixel that the tags give."""
    last_two = len(shape) - 2
    kept = [i for i, length in enumerate(shape) if length > 1 or i >= last_two or letters[i] == "S"]
    lengths = [shape[index] for index in kept]
    samples = next((place for place, index in enumerate(kept) if letters[index] == "S"), None)
    meaning, note = "", ""
    if len(kept) == 2:
        meaning = "YX"
    elif len(kept) == 3:
        meaning, note = _three_axes(lengths, samples, one_dropped=len(kept) < len(shape))
    elif len(kept) == 4:
        meaning = _four_axes(lengths, samples)
    if not meaning:
        raise InputError(f"cannot tell slices from channels in shape {shape}; {ADVICE}", path=path)
    full = ["1"] * len(shape)
    for index, letter in zip(kept, meaning, strict=True):
        full[index] = letter
    notes = (f"{path.name}: {note}",) if note else ()
    return TiffAxes(letters="".join(full), shape=shape, samples=samples is not None, notes=notes)


def _three_axes(lengths: list[int], samples: int | None, *, one_dropped: bool) -> tuple[str, str]:
    """Meaning of three axes (``""`` if several fit) and what had to be assumed."""
    first, second, last = lengths
    if samples == 2:
        return "YXC", ""
    if samples == 0:
        return "CYX", f"its {first} planes are marked as colours, so they are read as channels"
    if samples is not None:
        return "", ""
    if last <= MOST_CHANNELS < min(first, second):
        return "YXC", f"the last axis, of length {last}, is read as channels"
    if first > MOST_CHANNELS:
        return "ZYX", ""
    # An axis of length 1 beside this one may be the slices, and this one the channels.
    if one_dropped:
        return "", ""
    return "ZYX", f"its {first} planes are read as slices; the file does not call them channels"


def _four_axes(lengths: list[int], samples: int | None) -> str:
    """Meaning of four axes, or ``""`` if several fit."""
    short = [place for place, length in enumerate(lengths) if length <= MOST_CHANNELS]
    if samples == 3 or (samples is None and 3 in short and 1 not in short and 2 not in short):
        return "ZYXC"
    # Planes marked as colours may be slices all the same: only a lone short axis settles it.
    if short == [0]:
        return "CZYX"
    return "ZCYX" if short == [1] else ""
