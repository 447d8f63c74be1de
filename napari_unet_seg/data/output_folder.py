"""Whether new files may go to a folder without becoming part of the dataset that they are made from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from napari_unet_seg.data.formats.atomic import resolved
from napari_unet_seg.data.layouts.folder_pairs import find_pairs
from napari_unet_seg.data.layouts.nnunet import FOLDERS
from napari_unet_seg.errors import InputError, reading

_LEVELS = 3
"""How far above an image its dataset's folder lies at most: ``images/train/scan.png``."""


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
        If the folder, or one of those, is or lies in the dataset's, or in the one with the masks of its images; for a
        file, if it is the one the file lies in.
    """
    with reading(folder):
        target, source = resolved(folder), resolved(root)
        if source.is_file():
            inside = target.is_dir() and target.samefile(source.parent)
        else:
            # Not by their names alone: the system may not tell capitals from small letters.
            inside = _within(target, source)
            inside = inside or any((target / name).is_relative_to(source) for name in names)
        inside = inside or any(_within(target, masks) for start in {source, root} for masks in _mask_folders(start))
    if inside:
        raise InputError("new files here would become part of the dataset; choose a folder outside it", path=folder)


def _within(place: Path, folder: Path) -> bool:
    """Whether a place, with its links followed, is a folder or lies in it, which may not be there yet."""
    if not folder.is_dir():
        return place.is_relative_to(resolved(folder))
    return any(each.is_dir() and each.samefile(folder) for each in (place, *place.parents))


def _mask_folders(images: Path) -> list[Path]:
    """The folders with the masks of images of which, of all their dataset, these alone were opened."""
    pairs = (pair for above in islice(images.parents, _LEVELS) for pair in find_pairs(above))
    masks = [pair.masks for pair in pairs if images.is_relative_to(pair.images)]
    return masks + [each.parent / FOLDERS[each.name] for each in (images, images.parent) if each.name in FOLDERS]
