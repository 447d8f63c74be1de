"""What a command ends with."""

from __future__ import annotations

import sys

from napari_unet_seg.errors import InputError

OK, INPUT_AT_FAULT, INTERRUPTED = 0, 2, 130


def report_problem(error: InputError) -> int:
    """Print one line on standard error, and return the exit status for it."""
    print(f"napari-unet-seg: {error}", file=sys.stderr, flush=True)
    return INPUT_AT_FAULT
