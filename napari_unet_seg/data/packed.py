"""Arrays and a text in one compressed file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.file_state import read_bytes
from napari_unet_seg.errors import InputError


def pack(arrays: Mapping[str, NDArray[Any]], text: str = "") -> bytes:
    """Arrays, compressed, and a text, as the content of an ``.npz`` file."""
    payload = io.BytesIO()
    contents: dict[str, Any] = {"meta": np.array(text), **arrays}
    np.savez_compressed(payload, **contents)
    return payload.getvalue()


def unpack(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """The arrays and the text of a file that `pack` made.

    Raises
    ------
    InputError
        If it is no such file, or cannot be opened.
    """
    if not path.exists():
        raise InputError("there is no such file; it belongs to the corrections of this dataset", path=path)
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("is damaged; remove it, or restore it from a backup", path=path) from error
    return arrays, str(arrays.pop("meta", ""))
