"""Writing the files of a new dataset: of a case all, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_unet_seg.data.formats import atomic
from napari_unet_seg.errors import InputError

UNKNOWN_SPACING = "where the spacing is not known, NIfTI says 1 mm, and other programs believe it"


class CaseFiles:
    """The files of one case, as they are written."""

    def __init__(self) -> None:
        self.written: list[Path] = []

    def write(self, path: Path, payload: bytes) -> None:
        """Write a file; its folder is made. InputError if another case has such a file."""
        if path.exists():
            raise InputError("two cases would have this file; rename one of them", path=path)
        atomic.write_bytes(path, payload)
        self.written.append(path)


@contextmanager
def whole_case() -> Iterator[CaseFiles]:
    """Files that are removed again if not all of them get written, be it that the user stops."""
    files = CaseFiles()
    try:
        yield files
    except BaseException:
        for path in files.written:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in files.written}:
            # A case's own folder; one with other cases stays.
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


class Notes(list[str]):
    """What a layout could not keep, each thing once."""

    def say(self, note: str, *, when: bool = True) -> None:
        """Add a note if it applies and is not there yet."""
        if when and note not in self:
            self.append(note)


def file_name(case_id: str) -> str:
    """What a case's files are called: where a layout has splits, their names stand before that of the case."""
    return case_id.replace("/", "_")


def refuse_name(case_id: str, *, why: str) -> InputError:
    """The error for a case whose name the layout would take for something else."""
    return InputError(f"the case {case_id!r} cannot be written in this layout: {why}")
