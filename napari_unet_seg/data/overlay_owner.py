"""Whose corrections an overlay folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from napari_unet_seg.data.overlay import Places
from napari_unet_seg.errors import InputError

OWNER = "overlay-of.txt"
"""File with the name of the dataset's folder, its path, and a digest of the names of its cases, a line each."""


def sign_overlay(places: Places, cases: Iterable[str]) -> None:
    """Say in an overlay folder, if there is one, whose corrections it holds; OSError if that cannot be written."""
    if places.overlay is not None:
        lines = (places.folder.name, str(places.folder.resolve()), _digest(cases))
        # The name of a folder need not be text.
        (places.state / OWNER).write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")


def check_overlay(places: Places, cases: Iterable[str]) -> None:
    """Refuse the overlay folder of another dataset.

    One that was moved is known by its cases: there is nothing any more where it was, or a link to it. Where only the
    name of its folder was noted, that counts.

    Raises
    ------
    InputError
        If it holds the corrections of another dataset.
    """
    if places.overlay is None:
        return
    try:
        name, *more = (places.state / OWNER).read_text(encoding="utf-8", errors="surrogatepass").strip().split("\n")
    except (OSError, UnicodeDecodeError):
        return
    folder, digest = more if len(more) == 2 else ("", "")
    if not folder:
        same = name == places.folder.name
    elif folder == str(places.folder.resolve()):
        same = True
    else:
        same = digest == _digest(cases) and _is_gone_or(Path(folder), places.folder)
    if not same:
        raise InputError(
            f"this folder holds the corrections of another dataset, {folder or name}; choose another one",
            path=places.overlay,
        )


def _is_gone_or(folder: Path, here: Path) -> bool:
    try:
        return not folder.exists() or folder.samefile(here)
    except OSError:
        return True


def _digest(cases: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(cases)).encode(errors="surrogatepass")).hexdigest()
