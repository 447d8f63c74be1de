"""Which file names are images that can be read, and what a case is called after its file."""

from __future__ import annotations

TIFF = (".ome.tiff", ".ome.tif", ".tiff", ".tif")
NIFTI = (".nii.gz", ".nii")
PICTURES = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".bmp", ".gif", ".webp", ".dcm", ".mha", ".nrrd", ".mgz", ".hdr", ".img")
"""Images that people have, and that are not read (yet); they get an error of their own."""

READABLE = "TIFF (.tif, .tiff), NIfTI (.nii, .nii.gz), DICOM, PNG or JPEG"
MASK_ENDINGS = ("_mask", "_seg")
"""A file with the stem of an image and one of these is that image's mask."""


def split_name(name: str) -> tuple[str, str]:
    """Stem and extension of a file name; ``.nii.gz`` and ``.ome.tif`` count as one extension.

    The extension keeps its case, and is ``""`` where it is none of those that can be read.
    """
    lower = name.lower()
    for extension in (*TIFF, *NIFTI, *PICTURES):
        if lower.endswith(extension) and len(name) > len(extension):
            return name[: -len(extension)], name[-len(extension) :]
    return name, ""


def is_tiff(name: str) -> bool:
    """Whether the name says TIFF."""
    return split_name(name)[1].lower() in TIFF


def is_nifti(name: str) -> bool:
    """Whether the name says NIfTI."""
    return split_name(name)[1].lower() in NIFTI


def is_picture(name: str) -> bool:
    """Whether the name says PNG or JPEG."""
    return split_name(name)[1].lower() in PICTURES


def is_image(name: str) -> bool:
    """Whether the name is one that can be read, and no hidden file (such as the ``._`` files of macOS)."""
    return not name.startswith(".") and split_name(name)[1] != ""


def is_other_image(name: str) -> bool:
    """Whether the name says image, but of a kind that is not read."""
    return name.lower().endswith(OTHER_IMAGES)


def without_mask_ending(stem: str) -> str | None:
    """Stem of the image that a mask belongs to, or None if the stem is not a mask's."""
    lower = stem.lower()
    for ending in MASK_ENDINGS:
        if lower.endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return None
