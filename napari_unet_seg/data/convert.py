"""A dataset again in another layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.formats import atomic
from napari_unet_seg.data.layouts import coco, files, folders, kaggle, nnunet, sequences
from napari_unet_seg.data.layouts.listing import listed
from napari_unet_seg.data.output_folder import check_outside
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.errors import InputError, disk_full, reading
from napari_unet_seg.wording import counted


class Writer(Protocol):
    """Writes a dataset case by case; the function ``create(folder)`` of a layout makes one."""

    @property
    def notes(self) -> list[str]:
        """What the layout could not keep, in words, each once."""

    def add(self, case_id: str, volume: Volume, mask: Mask | None, labelled: NDArray[np.bool_]) -> None:
        """Write a case.

        Parameters
        ----------
        case_id : str
            Its name.
        volume : Volume
            Its pixels.
        mask : ndarray or None
            ``(Z, Y, X)`` uint8, or None if it has none.
        labelled : ndarray
            ``(Z,)`` bool: the slices that the mask speaks of.

        Raises
        ------
        InputError
            If the layout cannot hold the case, or a file cannot be written; nothing of the case is left then.
        """

    def close(self) -> None:
        """Write what belongs to the dataset as a whole."""


TARGETS: dict[str, Callable[[Path], Writer]] = {
    kaggle.NAME: kaggle.create,
    folders.NAME: folders.create,
    coco.NAME: coco.create,
    nnunet.NAME: nnunet.create,
    sequences.NAME: sequences.create,
    files.NAME: files.create,
}
"""What makes a writer for each layout that can be written."""

STORE_AFFINE = ("files", "nnunet", "sequences")
"""Those of them that say where slices lie, as NIfTI does: at one distance from one another."""


def convert(
    dataset: Dataset,
    folder: Path,
    *,
    layout: str,
    progress: Callable[[Case, Volume], None] = lambda case, volume: None,
    failed: Callable[[Case, Exception], None] | None = None,
) -> list[str]:
    """Write a dataset in another layout.

    Its masks are written as they are corrected by now, and a log that tells of the corrections. A case whose slices do
    not lie evenly cannot be used where the layout would say that they do.

    Parameters
    ----------
    dataset : Dataset
        What to convert, with its corrections.
    folder : Path
        Where to; it must be empty, or not exist yet.
    layout : str
        Name of a layout, one of `TARGETS`.
    progress : callable
        Called with each case that has been written.
    failed : callable, optional
        Called with each case that cannot be used, or that does not fit in memory; the others go on, unless the disk is
        full. Without it the first such case is raised.

    Returns
    -------
    list of str
        What the layout could not keep, and what became of the corrections, in words.

    Raises
    ------
    InputError
        If the layout cannot be written, the folder is not to be written to, or the disk is full; or if what was written
        is taken for something else when it is opened.
    """
    create = _target(layout)
    _check_folder(folder, dataset.root)
    located = layout in STORE_AFFINE
    writer = create(folder)
    written: list[Case] = []
    masks = 0
    try:
        for case in dataset:
            try:
                volume = case.read_image()
                if located and volume.uneven:
                    raise InputError(
                        f"{volume.uneven}, and NIfTI would put slices where they are not; complete the series, or "
                        "convert it to a layout of single slices, such as kaggle",
                        path=volume.source,
                    )
                mask = case.read_mask()
                case.check_mask()
                writer.add(case.case_id, volume, mask, case.labelled_slices())
            except (InputError, MemoryError) as error:
                # Where there is no room for one, there is none for the others.
                if failed is None or disk_full(error) is not None:
                    raise
                failed(case, error)
            else:
                written.append(case)
                masks += mask is not None
                progress(case, volume)
    finally:
        # Stopped half-way, the cases that are there make a dataset too.
        writer.close()
    if not written:
        return list(writer.notes)
    copy = _reopened(folder, written=len(written), masks=masks)
    corrected = [case for case in written if case.corrected_slices()]
    notes = _carry_corrections(dataset, copy, corrected) if corrected else []
    return [*writer.notes, *notes]


def _carry_corrections(dataset: Dataset, copy: Dataset, corrected: Sequence[Case]) -> list[str]:
    """Log in the copy which of its slices were corrected, when, by whom and how; what came of it, in words."""
    names = {_plain(case.case_id): case.case_id for case in copy}
    order = {line.id: place for place, line in enumerate(dataset.corrections())}
    left = []
    for case in corrected:
        name = names.get(_plain(case.case_id))
        shown = case.shown_corrections()
        labelled = case.labelled_slices()
        slices = [z for z in shown if z < len(labelled) and labelled[z]]
        if name is None or not _is_same(case, copy[name], slices):
            left.append(case.case_id)
            continue
        for line in sorted({shown[z].id: shown[z] for z in slices}.values(), key=lambda line: order[line.id]):
            copy.adopt_correction(name, line, [z for z in slices if shown[z].id == line.id])
    notes = []
    if len(left) < len(corrected):
        notes.append(
            f"the copy knows which slices are corrected, when, by whom and how; what the masks were before that stays "
            f"with {dataset.root}"
        )
    if left:
        notes.append(f"the corrections of {listed(left)} stay with {dataset.root}: the copy has other masks there")
    return notes


def _plain(case_id: str) -> str:
    """What is left of a case's name in every layout."""
    return re.sub(r"[/\\]|^\.", "_", case_id)


def _is_same(one: Case, other: Case, slices: Sequence[int]) -> bool:
    """Whether two cases have the same mask in some slices, one at least."""
    mask, again = one.read_mask(), other.read_mask()
    if mask is None or again is None or mask.shape != again.shape or not slices:
        return False
    return bool(other.labelled_slices()[slices].all()) and np.array_equal(mask[slices], again[slices])


def _target(layout: str) -> Callable[[Path], Writer]:
    if layout == "dicom":
        raise InputError("DICOM is read but not made: a converter must not invent images that look like a scanner's")
    if layout not in TARGETS:
        raise InputError(f"there is no layout {layout!r} to convert to; choose {', '.join(sorted(TARGETS))}")
    return TARGETS[layout]


def _reopened(folder: Path, *, written: int, masks: int) -> Dataset:
    """The copy; InputError where other cases are found than were written: files ``t1`` and ``t2`` are taken for one."""
    found = open_dataset(folder)
    found_masks = sum(case.has_mask for case in found)
    if len(found) != written or found_masks < masks:
        cases = counted(written, "case")
        raise InputError(
            f"{cases}, {masks} with a mask, were written here, but open as {len(found)}, {found_masks} with "
            f"one (layout {found.layout}), because of what they are called; rename them, or convert to another layout",
            path=folder,
        )
    return found


def _check_folder(folder: Path, source: Path) -> None:
    with reading(folder):
        if folder.exists() and not folder.is_dir():
            raise InputError("this is a file; choose a new or an empty folder", path=folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError("this folder is not empty; choose a new or an empty one", path=folder)
    check_outside(folder, source)
    atomic.check_folder(folder)
