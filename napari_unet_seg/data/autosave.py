"""The unsaved edit of a case, kept beside the dataset in case the program ends before it is saved."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.packed import pack, unpack
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.errors import InputError, reading

UNKNOWN = "unknown"
"""In place of a fingerprint, where the slice was never read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Autosave:
    """Edited slices of one case."""

    case: str
    time: str
    """When it was written: UTC, ISO 8601."""

    shape: tuple[int, int, int]
    """``(Z, Y, X)`` of the case."""

    slices: tuple[int, ...]
    """In ascending order."""

    masks: Mask
    """``(len(slices), Y, X)``."""

    base: tuple[str, ...]
    """For each slice what tells the stored pixels that were edited; ``""`` for an unlabelled slice."""

    changed: tuple[int, ...] = ()
    """Slices whose stored pixels are others by now: saving these replaces somebody's work."""

    model: str = ""
    annotator: str = ""
    mask: str = ""
    """Mask file that it is of, as the log names it, and what the first slice is called where the file says it."""

    def planes(self) -> dict[int, NDArray[np.uint8]]:
        """Slice number to pixels ``(Y, X)``."""
        return dict(zip(self.slices, self.masks, strict=True))


def autosave_path(folder: Path, key: str) -> Path:
    """The file for a case, whatever characters its name has, and on drives that know no capitals too."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", key)[:60]
    return folder / f"{readable}-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:12]}.npz"


def write_autosave(path: Path, autosave: Autosave) -> None:
    """Write it, in place of the last one.

    Raises
    ------
    OSError
        If it cannot be written; the last one is still there then.
    """
    meta = {
        "case": autosave.case,
        "time": autosave.time,
        "shape": list(autosave.shape),
        "base": list(autosave.base),
        "model": autosave.model,
        "annotator": autosave.annotator,
        "mask": autosave.mask,
    }
    atomic.replace(
        path, pack({"slices": np.array(autosave.slices, np.int64), "masks": autosave.masks}, json.dumps(meta))
    )


def read_autosave(path: Path) -> Autosave | None:
    """What was written last; None where there is nothing.

    Raises
    ------
    InputError
        If it is damaged or cannot be opened.
    """
    with reading(path):
        if not path.exists():
            return None
    arrays, text = unpack(path)
    try:
        meta = json.loads(text)
        shape = tuple(map(int, meta["shape"]))
        slices = tuple(map(int, arrays["slices"]))
        masks = arrays["masks"]
        if len(shape) != 3 or masks.shape != (len(slices), *shape[1:]) or len(meta["base"]) != len(slices):
            raise ValueError("its parts do not fit together")
        return Autosave(
            case=str(meta["case"]),
            time=str(meta["time"]),
            shape=shape,
            slices=slices,
            masks=masks.astype(np.uint8, copy=False),
            base=tuple(map(str, meta["base"])),
            model=str(meta.get("model", "")),
            annotator=str(meta.get("annotator", "")),
            mask=str(meta.get("mask", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is damaged ({error}); remove it", path=path) from error


def set_aside(path: Path) -> None:
    """Have a damaged file out of the way, as ``.damaged``, without destroying it; not one that only cannot be read."""
    with suppress(OSError):
        path.read_bytes()
        path.replace(path.with_suffix(".damaged"))
