"""Writing a file so that a reader finds the old one or the new one, never half of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from napari_unet_seg.errors import InputError


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file through a temporary one in the same folder, which is made if need be.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.
    """
    # Not tempfile's 0600: a mask is to be as readable as any file its owner makes there.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot be written ({reason}); choose another folder", path=path) from error


def refuse_overwriting(targets: Iterable[Path], *, inputs: Iterable[Path]) -> None:
    """Raise InputError if a file to be written is one of the files read."""
    taken = {path.resolve() for path in inputs}
    for target in targets:
        if target.resolve() in taken:
            raise InputError("writing here would replace a file of the dataset; choose another folder", path=target)
