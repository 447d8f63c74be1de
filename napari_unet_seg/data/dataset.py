"""A dataset: the cases under a folder, however they are laid out."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from napari_unet_seg.data.case import Case, natural_key
from napari_unet_seg.data.formats.extensions import READABLE, is_image, is_other_image, split_name, without_mask_ending
from napari_unet_seg.data.layouts import files, kaggle, sequences
from napari_unet_seg.errors import InputError

__all__ = ["Case", "Dataset", "Layout", "open_dataset"]


class Layout(Protocol):
    """A way of laying out a dataset; the modules in `napari_unet_seg.data.layouts` are such."""

    NAME: str
    """Short name."""

    LOOKED_FOR: str
    """What it expects to find, for the error when nothing is found."""

    def detect(self, path: Path) -> bool:
        """Whether the path holds such a dataset; reads names, no pixels."""

    def open_cases(self, path: Path) -> list[Case]:
        """Its cases; reads names, no pixels."""


LAYOUTS: tuple[Layout, ...] = (kaggle, sequences, files)
"""In the order in which they are tried: what takes any image comes last."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Cases, in natural order of their names."""

    root: Path
    """The folder or file that was opened."""

    layout: str
    """Name of the layout: ``"kaggle"``, ``"sequences"`` or ``"files"``."""

    cases: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, case_id: str) -> Case:
        for case in self.cases:
            if case.case_id == case_id:
                return case
        near = difflib.get_close_matches(case_id, [case.case_id for case in self.cases], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the first one is {self.cases[0].case_id}"
        raise InputError(f"there is no case {case_id!r}; {hint}", path=self.root)


def open_dataset(path: Path | str) -> Dataset:
    """Open a folder of scans, or a single image file, in whatever layout it is.

    Parameters
    ----------
    path : Path or str
        The folder or file.

    Returns
    -------
    Dataset
        Its cases. No pixels are read yet: a broken file shows when its case is read.

    Raises
    ------
    InputError
        If the path does not exist or nothing in it is known.
    """
    path = Path(path).expanduser()
    try:
        if not path.exists():
            raise InputError("there is no such file or folder", path=path)
        if path.is_dir():
            with os.scandir(path) as entries:
                empty = next(entries, None) is None
            if empty:
                raise InputError("the folder is empty; choose one with scans", path=path)
        for layout in LAYOUTS:
            if layout.detect(path):
                cases = sorted(layout.open_cases(path), key=lambda case: natural_key(case.case_id))
                _check_names(cases, path)
                return Dataset(root=path, layout=layout.NAME, cases=tuple(cases))
    except OSError as error:
        raise InputError(f"cannot be opened ({(error.strerror or str(error)).lower()})", path=path) from error
    raise _nothing_found(path)


def _check_names(cases: list[Case], path: Path) -> None:
    name, times = Counter(case.case_id for case in cases).most_common(1)[0]
    if times > 1:
        raise InputError(f"there are {times} cases called {name}; open the folders inside one at a time", path=path)


def _nothing_found(path: Path) -> InputError:
    """The error for a path without a scan, which says as much as can be said."""
    if path.is_file():
        return InputError(f"this type of file is not read; save the scan as {READABLE}", path=path)
    with os.scandir(path) as entries:
        names = sorted((entry.name, entry.is_dir()) for entry in entries)
    files_here = [name for name, folder in names if not folder]
    if any(is_image(name) and without_mask_ending(split_name(name)[0]) is not None for name in files_here):
        return InputError("there are masks in this folder but no images; choose the folder with the images", path=path)
    if any(is_other_image(name) for name in files_here):
        return InputError(f"the images here are of a type that is not read; save them as {READABLE}", path=path)
    for name, folder in names:
        if folder and not name.startswith(".") and files.detect(path / name):
            return InputError(f"the images are in the folder {name}; open that one", path=path)
    looked_for = ", ".join(layout.LOOKED_FOR for layout in LAYOUTS)
    return InputError(f"found no images; looked for {looked_for}", path=path)
