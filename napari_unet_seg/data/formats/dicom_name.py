"""Which files are DICOM, by their first bytes or by name, without what it takes to read them."""

from __future__ import annotations

from pathlib import Path

EXTENSIONS = (".dcm", ".dicom", ".ima")
"""Names that promise DICOM; most files have none, so what a file holds is what counts."""


def promises_dicom(path: Path) -> bool:
    """Whether the name ends like that of a DICOM file."""
    return path.suffix.lower() in EXTENSIONS


def has_magic(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
