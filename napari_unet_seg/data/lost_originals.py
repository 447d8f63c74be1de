"""Finding what a mask file was at first, where the line of the log that said so is damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from napari_unet_seg.data.correction_log import Correction
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.data.history import History

_BEFORE = re.compile(rb'"file": ("(?:[^"\\]|\\.)*"), "before": "([0-9a-f]{64})"')


def find_lost_originals(
    history: History, *, lines: Iterable[Correction], damaged: Iterable[bytes], folders: Sequence[Path]
) -> None:
    """Put right what a history says that files were at first.

    The first line that can be read of a file whose own first one is damaged begins with what that one wrote, which is
    kept nowhere. The original is; it is found where the damaged line can still be made out to name it.

    Parameters
    ----------
    history : History
        Changed in place.
    lines : iterable of Correction
        Every line that can be read, whatever it is of.
    damaged : sequence of bytes
        The lines that cannot.
    folders : sequence of Path
        Where originals are kept, by the SHA-256 of their content.
    """
    kept = {path.name.partition(".")[0]: path for folder in folders for path in _files_in(folder)}
    lost = [name for name, known in history.files().items() if known.first not in (None, *kept) and known.written]
    if not lost:
        return
    named = {sha for line in lines for change in line.files for sha in (change.before, change.after)}
    free = {sha: path for sha, path in kept.items() if sha not in named}
    told = [(file, sha) for text in damaged for file, sha in _read(text) if sha in free]
    for name in lost:
        # The folder that was open then may be another one.
        found = {sha for file, sha in told if name == file or name.endswith(f"/{file}") or file.endswith(f"/{name}")}
        if len(found) != 1:
            continue
        (sha,) = found
        if free[sha].name.endswith(Path(name).suffix.lower()) and sha256_of(free[sha]) == sha:
            known = history.files()[name]
            known.first, known.unbroken = sha, False


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def _read(text: bytes) -> Iterable[tuple[str, str]]:
    """The files that a damaged line names, each with its content before."""
    for file, sha in _BEFORE.findall(text):
        with suppress(ValueError):
            yield json.loads(file), sha.decode()
