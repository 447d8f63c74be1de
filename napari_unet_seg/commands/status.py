"""What a command ends with."""

from __future__ import annotations

import os
import sys

from napari_unet_seg.errors import InputError

OK, FAILED, INPUT_AT_FAULT, INTERRUPTED = 0, 1, 2, 130


def report_problem(error: InputError) -> int:
    """Print one line on standard error, and return the exit status for it."""
    print(f"napari-unet-seg: {error}", file=sys.stderr, flush=True)
    return INPUT_AT_FAULT


def report_failure(error: Exception, *, work: str, outcome: str = "") -> int:
    """Print one line on standard error for a computation that failed, and return the exit status for it.

    Parameters
    ----------
    error : Exception
        What ended it: want of memory or of room on the disk, or a network that fails on its device.
    work, outcome : str
        As of `round_child.describe`.

    Raises
    ------
    Exception
        The error itself, where it is none of these: its traceback is needed.
    """
    from napari_unet_seg.engine.round_child import describe

    told = describe(error, work=work, outcome=outcome)
    if told["kind"] not in ("memory", "disk", "computation"):
        raise error
    print(f"napari-unet-seg: {told['message']}", file=sys.stderr, flush=True)
    return FAILED


def unread() -> int:
    """The exit status where whoever read the output, such as head, has seen enough; nothing more is written at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK
