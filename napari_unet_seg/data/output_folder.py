"""Whether new files may go to a folder without becoming part of the dataset that they are made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_unet_seg.errors import InputError, reading


def check_outside(folder: Path, root: Path, *, names: Iterable[str] = ()) -> None:
    """Refuse a folder for new files in which they would be taken for part of a dataset.

    Parameters
    ----------
    folder : Path
        Where they are to go; it may not exist yet.
    root : Path
        The dataset: a folder, or a file, beside which a mask would be taken for its own.
    names : iterable of str
        Folders that may be made in it.

    Raises
    ------
    InputError
        If the folder, or one of those, is or lies in the dataset's; for a file, if it is the one the file lies in.
    """
    with reading(folder):
        target, source = folder.resolve(), root.resolve()
        if source.is_file():
            inside = target.is_dir() and target.samefile(source.parent)
        else:
            # Not by their names alone: the system may not tell capitals from small letters.
            inside = any(place.is_dir() and place.samefile(source) for place in (target, *target.parents))
            inside = inside or any((target / name).is_relative_to(source) for name in names)
    if inside:
        raise InputError("new files here would become part of the dataset; choose a folder outside it", path=folder)
