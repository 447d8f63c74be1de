"""Which files are DICOM, by their first bytes or by name, without what it takes to read them."""

from __future__ import annotations

import struct
from pathlib import Path

EXTENSIONS = (".dcm", ".dicom", ".ima")
"""Names that promise DICOM; most files have none, so what a file holds is what counts."""


_HEAD = 1024
"""How much is looked at of a file without the mark; what its class is stands among the first elements."""

_CLASSES = ((0x0002, 0x0002), (0x0008, 0x0016))
"""Media Storage SOP Class UID and SOP Class UID."""

_DICOM_UID = b"1.2.840.10008."

_KINDS = (b"AE", b"AS", b"AT", b"CS", b"DA", b"DT", b"IS", b"LO", b"PN", b"SH", b"TM", b"UI", b"UL", b"US")
_LONG_KINDS = (b"OB", b"SQ", b"UN", b"UT")
"""Value representations before those two, and those whose length takes four bytes more."""


def promises_dicom(path: Path) -> bool:
    """Whether the name ends like that of a DICOM file."""
    return path.suffix.lower() in EXTENSIONS


def has_magic(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes: the mark, or, where an old export left it out, its first elements."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return head[128:132] == b"DICM" or _begins_with_elements(head)


def _begins_with_elements(head: bytes) -> bool:
    """Whether bytes are elements in ascending order, up to one that says of what class of DICOM the file is.

    In little endian, of either kind; DICOM PS3.5, 7.1.
    """
    at, former = 0, (0, 0)
    while at + 12 <= len(head):
        group, element = struct.unpack_from("<HH", head, at)
        kind = head[at + 4 : at + 6]
        if group not in (0x0002, 0x0008) or (group, element) <= former:
            return False
        if kind in _LONG_KINDS:
            start, (length,) = at + 12, struct.unpack_from("<I", head, at + 8)
        elif kind in _KINDS:
            start, (length,) = at + 8, struct.unpack_from("<H", head, at + 6)
        else:
            start, (length,) = at + 8, struct.unpack_from("<I", head, at + 4)
        if (group, element) in _CLASSES:
            return head.startswith(_DICOM_UID, start)
        at, former = start + length, (group, element)
    return False
