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
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return arrays, str(arrays.pop("meta", ""))
    except FileNotFoundError:
        raise InputError("there is no such file; it belongs to the corrections of this dataset", path=path) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError("is damaged or cannot be opened; restore it from a backup", path=path) from error
