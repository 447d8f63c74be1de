"""Mask files that are there and hold nothing that can be used, beside others of the same case that do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_unet_seg.data.file_state import read_bytes
from napari_unet_seg.data.scan import MaskFile, Scan, listed_slices
from napari_unet_seg.errors import InputError


def check_damaged(error: InputError, scan: Scan, path: Path) -> None:
    """Raise InputError unless an error says that the content of one of a case's several mask files is at fault.

    Parameters
    ----------
    error : InputError
        What came of reading a mask; raised again where the image is at fault, or the case has but one mask file.
    scan : Scan
    path : Path
        Where the mask lies. One that cannot be opened is not damaged: its drive may be back in a moment.
    """
    if error.path != path or len(scan.mask_paths) < 2:
        raise error
    try:
        read_bytes(path)
    except InputError:
        raise error from None


def damage_note(damaged: Sequence[tuple[MaskFile, InputError]]) -> str:
    """What came of mask files that cannot be used, and what to do, in words for the user; at least one is given."""
    (file, error), more = damaged[0], len(damaged) - 1
    slices = listed_slices([z for each, _ in damaged for z in each.slices])
    others = f" and {more} more" if more else ""
    count, them = ("count", "them") if more else ("counts", "it")
    return (
        f"the mask {file.path.name}{others} cannot be used ({error.problem}), so {slices} {count} as not labelled; "
        f"correct and save {them} anew, or restore the file{'s' if more else ''}"
    )
