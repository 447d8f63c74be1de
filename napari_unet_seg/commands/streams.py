"""Standard output and error as commands need them: whoever reads them, or does not, the work is done."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO


class LastingOutput(io.TextIOWrapper):
    """A text stream whose reader may go, as ``head`` does when it has seen enough; what follows is written nowhere."""

    def write(self, text: str, /) -> int:
        """As of any stream."""
        try:
            return super().write(text)
        except BrokenPipeError:
            # What is still held goes there too, now or at the end.
            write_nowhere(self)
            return len(text)

    def flush(self) -> None:
        """As of any stream."""
        try:
            super().flush()
        except BrokenPipeError:
            write_nowhere(self)


def prepare_streams(*, lasting: bool) -> None:
    """Have both streams there, and take names that the terminal has no letters for.

    Parameters
    ----------
    lasting : bool
        Whether the command has more to do than to print, and goes on where nobody reads what it says.
    """
    # None where it is closed, by a service or by ``>&-``: what is said is lost then, and nothing else.
    output: TextIO | None = sys.stdout
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # With a backslash and a number for each letter that it lacks.
            stream.reconfigure(errors="backslashreplace")
    # Python keeps the one replaced, as sys.__stdout__.
    if lasting and output is sys.__stdout__ and type(output) is io.TextIOWrapper:
        sys.stdout = LastingOutput(
            output.buffer, encoding=output.encoding, errors="backslashreplace", line_buffering=output.line_buffering
        )


def write_nowhere(stream: TextIO) -> None:
    """Have what is still written to a stream, at the end of the process too, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
