"""Asks where a mask is to be saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_unet_seg.data.formats.extensions import is_nifti, is_tiff, split_name
from napari_unet_seg.widgets.mask_file import file_of

if TYPE_CHECKING:
    from napari.layers import Layer

_KINDS = {"NIfTI (*.nii.gz *.nii)": ".nii.gz", "TIFF (*.tif *.tiff)": ".tif", "DICOM segmentation (*.dcm)": ".dcm"}


def file_beside(image: Layer) -> Path:
    """Where the mask of an image is saved unless the user says otherwise: beside its file, as ``NAME_seg``.

    Opened in panel Data, that image has its mask then.
    """
    source = file_of(image)
    if source is None:
        return Path.home() / f"{_as_name(image.name)}_seg.nii.gz"
    stem, _ = split_name(source.name)
    return source.with_name(f"{stem}_seg{'.tif' if is_tiff(source.name) else '.nii.gz'}")


def choose_mask_file(parent: QWidget, suggested: Path) -> Path | None:
    """Ask the user where to save a mask, and whether to replace a file that is there; None if they would rather not."""
    dialog = QFileDialog(parent, "Save the mask", str(suggested.parent), ";;".join(_KINDS))
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.selectNameFilter(next(kind for kind, ending in _KINDS.items() if suggested.name.endswith(ending)))
    # Qt knows the last of several endings alone, and would put ".tif" behind ".nii".
    stem, _ = split_name(suggested.name)
    dialog.filterSelected.connect(lambda kind: dialog.selectFile(stem + _KINDS[kind]))
    dialog.selectFile(suggested.name)
    try:
        return _chosen(dialog)
    finally:
        dialog.deleteLater()


def _chosen(dialog: QFileDialog) -> Path | None:
    """The file that the user chooses, with the ending of its kind."""
    while dialog.exec() and dialog.selectedFiles():
        chosen = Path(dialog.selectedFiles()[0])
        if is_nifti(chosen.name) or is_tiff(chosen.name) or chosen.suffix.lower() == ".dcm":
            return chosen
        # With an ending it may be a file that is there, which Qt asks about.
        chosen = chosen.with_name(chosen.name + _KINDS[dialog.selectedNameFilter()])
        if not chosen.exists():
            return chosen
        dialog.selectFile(chosen.name)
    return None


def _as_name(text: str) -> str:
    """A layer's name as one of a file."""
    name = "".join(character if character.isalnum() or character in "-_. " else "_" for character in text)
    return name.strip(" .")[:100] or "image"
