"""A dataset: the cases under a folder, however they are laid out."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from numpy.typing import ArrayLike

from napari_unet_seg.data.autosave import Autosave
from napari_unet_seg.data.case import Case
from napari_unet_seg.data.correction_log import Correction
from napari_unet_seg.data.corrections import CorrectionStore
from napari_unet_seg.data.formats.extensions import READABLE, is_image, is_other_image, split_name, without_mask_ending
from napari_unet_seg.data.layouts import coco, dicom, files, folders, kaggle, nnunet, sequences
from napari_unet_seg.data.layouts.folder_pairs import is_mask_folder
from napari_unet_seg.data.layouts.listing import list_folder, listed, refusals
from napari_unet_seg.data.model_files import model_hash as hash_of_model
from napari_unet_seg.data.scan import Scan, natural_key
from napari_unet_seg.errors import InputError, reason

__all__ = ["Autosave", "Case", "Correction", "Dataset", "Layout", "open_dataset"]


class Layout(Protocol):
    """A way of laying out a dataset; the modules in `napari_unet_seg.data.layouts` are such."""

    NAME: str
    """Short name."""

    LOOKED_FOR: str
    """What it expects to find, for the error when nothing is found."""

    def detect(self, path: Path) -> bool:
        """Whether the path holds such a dataset; reads names, no pixels."""

    def open_cases(self, path: Path) -> list[Scan]:
        """Its cases; reads names, no pixels."""


LAYOUTS: tuple[Layout, ...] = (kaggle, nnunet, coco, sequences, dicom, folders, files)
"""In the order in which they are tried: what takes any image comes last."""


class Dataset:
    """Cases, in natural order of their names, and the corrections of their masks.

    Corrections are written into the dataset's own mask files, in their format and geometry. Beside the data lies a
    folder ``.unetseg`` with the log (``corrections.jsonl``, a line of JSON a correction), the originals of the files
    that were replaced and the pixels of every correction; of a dataset that is a single file it lies in that file's
    folder. Lines are told apart by the mask files that they name: those of the same files count too that were logged
    while a folder above, or one inside, was open. Nothing is written before the first correction.

    Parameters
    ----------
    root : Path
        The folder or file that was opened.
    layout : str
        Name of the layout, ``"kaggle"`` for example.
    scans : iterable of Scan
        What the layout found.
    overlay : Path, optional
        Folder for the corrections of a dataset that cannot, or shall not, be written to.
    unread : iterable of InputError, optional
        Folders that the layout could not look into.
    """

    def __init__(
        self,
        *,
        root: Path,
        layout: str,
        scans: Iterable[Scan],
        overlay: Path | None = None,
        unread: Iterable[InputError] = (),
    ) -> None:
        scans = tuple(scans)
        self.root = root
        self.layout = layout
        self.unread: tuple[InputError, ...] = tuple(unread)
        """A line for each folder that may not be listed: what is in it is not among the cases."""
        self._store = CorrectionStore(root, scans, overlay)
        self.cases: tuple[Case, ...] = tuple(Case(scan, self._store) for scan in scans)
        self._by_id = {case.case_id: case for case in self.cases}
        self._store.open()

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, case_id: str) -> Case:
        if isinstance(case_id, str) and case_id in self._by_id:
            return self._by_id[case_id]
        near = difflib.get_close_matches(str(case_id), self._by_id, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the first one is {self.cases[0].case_id}"
        raise InputError(f"there is no case {case_id!r}; {hint}", path=self.root)

    def mask_paths(self) -> list[Path]:
        """The files that hold the masks of the cases, or would hold them; of a file for all, one."""
        return list(dict.fromkeys(path for case in self.cases for path in case.scan.mask_paths))

    @property
    def overlay(self) -> Path | None:
        """Folder that the corrections are written to in place of the dataset, if one was chosen."""
        return self._store.places.overlay

    @property
    def writable(self) -> bool:
        """Whether corrections can be saved, as far as that can be told without trying."""
        return self._store.places.writable

    @property
    def repair_notes(self) -> list[str]:
        """What was found to be interrupted, when the dataset was opened or saved to, and what came of it."""
        return self._store.repair_notes

    def save_correction(
        self,
        case_id: str,
        mask: ArrayLike,
        slices: Iterable[int] | None = None,
        *,
        model: str = "",
        annotator: str = "",
        kind: str = "hand",
        seconds: float | None = None,
        overwrite: bool = False,
        model_hash: str = "",
    ) -> Correction:
        """Write slices of a mask into the dataset, and log that.

        When this returns, files and log are on the disk; if it raises, or the process ends meanwhile, they are as
        they were, or the next opening completes it. The autosaved edit of what was saved is dropped.

        Parameters
        ----------
        case_id : str
            The case.
        mask : array
            ``(Z, Y, X)`` bool or whole numbers, 0 for background, labels up to 255; only the slices named are looked
            at. A mask of 0 and 255 alone is one of 0 and 1, unless the case has several classes.
        slices : iterable of int, optional
            Slices to be saved; one whose pixels are as stored is thereby accepted. Left out: all slices whose pixels
            differ from what is stored (an unlabelled slice counts as empty).
        model : str
            The model whose mask was corrected, by its name or its file.
        model_hash : str
            SHA-256 of its file; by default of the one that `model` stands for now.
        annotator : str
            Who did it.
        kind : {"hand", "accepted", "interpolated"}
            How it came about.
        seconds : float, optional
            Time spent on it.
        overwrite : bool
            Replace pixels that another program has written since they were read here. They are logged first, as a
            correction of kind ``"elsewhere"``, so that reverting this correction brings them back.

        Returns
        -------
        Correction
            The line of the log.

        Raises
        ------
        ChangedElsewhereError
            If a slice is not as this dataset has last read or saved it; nothing was written.
        ReadOnlyError
            If the dataset cannot be written to and has no overlay folder.
        InputError
            If shape, labels or slices do not fit, or the system refuses; nothing was changed then.
        """
        return self._store.save(
            self[case_id].scan,
            mask,
            slices,
            model=model,
            model_hash=model_hash or hash_of_model(str(model)),
            annotator=annotator,
            kind=kind,
            seconds=seconds,
            overwrite=overwrite,
        )

    def adopt_correction(self, case_id: str, line: Correction, slices: Sequence[int]) -> Correction:
        """Log that slices, as they are stored here, were corrected in the dataset that this one is a copy of.

        The pixels stay, and are what the slices show too when the line is reverted.

        Parameters
        ----------
        case_id : str
            What the case is called here.
        line : Correction
            Of the other dataset; who, when, how and with which model are taken from it.
        slices : sequence of int
            Those of its slices that show it, in ascending order.

        Returns
        -------
        Correction
            The line of the log here, with the hashes of the files here.

        Raises
        ------
        InputError
            If the mask cannot be read, or the system refuses.
        """
        return self._store.adopt(self[case_id].scan, line, slices)

    def corrections(self, case_id: str | None = None) -> list[Correction]:
        """The log, of one case or of all, newest last; what other processes have saved meanwhile is among it."""
        return self._store.corrections(None if case_id is None else self[case_id].case_id)

    def corrected_slices(self) -> dict[str, list[int]]:
        """What `Case.corrected_slices` says of every case that has such slices, by its name.

        For thousands of cases this is much quicker than asking each. InputError if the log cannot be read.
        """
        return self._store.all_corrected_slices()

    def revert(self, correction_id: str, *, overwrite: bool = False) -> Correction:
        """Take a correction back, and log that.

        Its slices show the newest correction that still stands, in whatever order corrections are reverted; where
        none stands, the original. A file that shows its original throughout gets its original bytes; one that the
        corrections made is removed. Reverting a line of kind ``"reverted"`` brings the correction back.

        Parameters
        ----------
        correction_id : str
            `Correction.id` of a line that is not reverted.
        overwrite : bool
            Replace pixels that another program has written; see `save_correction`.

        Returns
        -------
        Correction
            The line of the log, of kind ``"reverted"``.

        Raises
        ------
        ChangedElsewhereError
            If a slice that would change was changed by another program; nothing was written.
        InputError
            If there is no such correction, it is reverted already, or the system refuses.
        """
        return self._store.revert(correction_id, overwrite=overwrite)

    def autosave(
        self, case_id: str, mask: ArrayLike, slices: Iterable[int], *, model: str = "", annotator: str = ""
    ) -> Autosave:
        """Keep the unsaved edit of a case, in place of the one kept before; may run on any thread.

        Parameters
        ----------
        case_id : str
        mask : array
            ``(Z, Y, X)``; only the slices named are kept.
        slices : iterable of int
            The edited slices.
        model, annotator : str
            As for `save_correction`.

        Raises
        ------
        InputError
            If it cannot be written (`ReadOnlyError` for want of an overlay folder); the former one is still there.
        """
        return self._store.autosave(self[case_id].scan, mask, slices, model=model, annotator=annotator)

    def kept_edits(self) -> frozenset[str]:
        """The cases of which an edit is kept that was not saved; quick, since none is read."""
        return self._store.kept_edits()

    def read_autosave(self, case_id: str) -> Autosave | None:
        """The edit of a case that was never saved; None if there is none.

        Slices that are in the dataset by now are left out. One that is damaged, or of another shape, counts as none.
        """
        return self._store.read_autosave(self[case_id].scan)

    def put_back_autosave(self, case_id: str, autosave: Autosave) -> None:
        """Keep an unsaved edit as `read_autosave` gave it, in place of what was kept since.

        InputError if it cannot be written.
        """
        self._store.put_back_autosave(self[case_id].scan, autosave)

    def drop_autosave(self, case_id: str) -> None:
        """Forget the unsaved edit of a case; InputError if its file cannot be removed."""
        self._store.drop_autosave(self[case_id].scan)

    def claim(self) -> str | None:
        """Say that this dataset is open for correcting here; who else has it open, in words, or None.

        Both may save: each is told of what the other has changed. The mark ends with `release` or with the process.
        """
        return self._store.presence.claim()

    def release(self) -> None:
        """Take back what `claim` said."""
        self._store.presence.release()


def open_dataset(path: Path | str, overlay: Path | str | None = None) -> Dataset:
    """Open a folder of scans, or a single image file, in whatever layout it is.

    Parameters
    ----------
    path : Path or str
        The folder or file.
    overlay : Path or str, optional
        A folder outside the dataset. Corrections are written there, at the same relative place, and what is there
        takes precedence when masks are read: for a dataset that is read-only, or is to stay as it is. It is made with
        the first correction, and remembered by nobody: give it again the next time.

    Returns
    -------
    Dataset
        Its cases. No pixels are read yet: a broken file shows when its case is read. Folders that may not be listed
        are left out, see `Dataset.unread`.

    Raises
    ------
    InputError
        If the path does not exist or nothing in it is known, or the overlay folder lies in the dataset.
    """
    try:
        # Cases are called after folders, and "." is no name; links keep theirs.
        path = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
        overlay = Path(overlay).expanduser() if overlay is not None else None
    except TypeError as error:
        raise InputError(f"a dataset is opened by the path of a folder or file ({error})") from None
    try:
        if not path.exists():
            raise InputError("there is no such file or folder", path=path)
        if path.is_dir():
            with os.scandir(path) as entries:
                empty = next(entries, None) is None
            if empty:
                raise InputError("the folder is empty; choose one with scans", path=path)
        layout, scans, unread = _look(path)
        return Dataset(root=path, layout=layout, scans=scans, overlay=overlay, unread=unread)
    except OSError as error:
        raise InputError(f"cannot be opened ({reason(error)})", path=path) from error


def _look(path: Path) -> tuple[str, list[Scan], list[InputError]]:
    """The layout and its cases, and the folders that it could not look into."""
    with refusals() as refused:
        for layout in LAYOUTS:
            if not layout.detect(path):
                continue
            # Where other layouts look is none of this one's business.
            refused.clear()
            try:
                scans = sorted(layout.open_cases(path), key=lambda scan: natural_key(scan.case_id))
            except InputError:
                if refused:
                    # What it lacks may lie there.
                    break
                raise
            if scans:
                _check_names(scans, path)
                return layout.NAME, scans, [refused[folder] for folder in sorted(refused)]
        for error in refused.values():
            raise error
    raise _nothing_found(path)


def _check_names(scans: list[Scan], path: Path) -> None:
    name, times = Counter(scan.case_id for scan in scans).most_common(1)[0]
    if times > 1:
        raise InputError(f"there are {times} cases called {name}; open the folders inside one at a time", path=path)


def _nothing_found(path: Path) -> InputError:
    """The error for a path without a scan, which says as much as can be said."""
    if path.is_file():
        return InputError(f"this type of file is not read; save the scan as {READABLE}", path=path)
    files_here, folders = list_folder(path, root=path)
    if any(is_image(name) and without_mask_ending(split_name(name)[0]) is not None for name in files_here):
        return InputError("there are masks in this folder but no images; choose the folder with the images", path=path)
    if any(is_other_image(name) for name in files_here):
        return InputError(f"the images here are of a type that is not read; save them as {READABLE}", path=path)
    # What masks alone lie in is no folder to send anybody to.
    folders = [name for name in folders if not is_mask_folder(name)]
    for name in folders:
        if files.detect(path / name):
            return InputError(f"the images are in the folder {name}; open that one", path=path)
    for name in folders:
        others = [image for image in list_folder(path / name, root=path).files if is_other_image(image)]
        if others:
            return InputError(
                f"the images in the folder {name} are of a type that is not read ({listed(others)}); "
                f"save them as {READABLE}",
                path=path,
            )
    looked_for = ", ".join(layout.LOOKED_FOR for layout in LAYOUTS)
    return InputError(f"found no images; looked for {looked_for}", path=path)
