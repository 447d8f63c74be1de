"""What a command ends with."""

from __future__ import annotations

import sys

from napari_unet_seg.commands.streams import write_nowhere
from napari_unet_seg.errors import InputError

OK, FAILED, INPUT_AT_FAULT, INTERRUPTED = 0, 1, 2, 130


def report_problem(error: InputError) -> int:
    """Print one line on standard error, and return the exit status for it."""
    print(f"napari-unet-seg: {error}", file=sys.stderr, flush=True)
    return INPUT_AT_FAULT


def report_case(error: Exception, *, case: str, work: str) -> int:
    """Print one line for a case of several that came to nothing, and return the exit status for it.

    Parameters
    ----------
    error : Exception
        An InputError, or what `report_failure` takes.
    case : str
        Its name.
    work : str
        As of `report_failure`.
    """
    if not isinstance(error, InputError):
        return report_failure(error, work=work, case=case)
    # Most name the file.
    return report_problem(error if error.path is not None else InputError(f"case {case}: {error}"))


def report_failure(error: Exception, *, work: str, outcome: str = "", case: str = "") -> int:
    """Print one line on standard error for a computation that failed, and return the exit status for it.

    Parameters
    ----------
    error : Exception
        What ended it: want of memory or of room on the disk, or a network that fails on its device.
    work, outcome : str
        As of `failure.describe`.
    case : str
        The case that it was at, to be named.

    Raises
    ------
    Exception
        The error itself, where it is none of these: its traceback is needed.
    """
    from napari_unet_seg.engine.failure import describe

    told = describe(error, work=work, outcome=outcome)
    if told["kind"] not in ("memory", "disk", "computation"):
        raise error
    named = f"case {case}: " if case else ""
    print(f"napari-unet-seg: {named}{told['message']}", file=sys.stderr, flush=True)
    return FAILED


def unread() -> int:
    """The exit status where whoever read the output, such as head, has seen enough; nothing more is written at exit."""
    write_nowhere(sys.stdout)
    return OK
