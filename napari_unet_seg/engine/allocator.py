"""How the C library of this process, and torch, handle memory that is no longer needed."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of `mallopt`, as ``malloc.h`` numbers them."""

_AHEAD = 1 << 28
"""Bytes asked of the system at a time."""


def give_back_freed_memory() -> None:
    """Return what is free to the system at once, where `keep_freed_memory` has kept it: others count it as used."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def give_back_graphics_memory() -> None:
    """Return what torch keeps of a graphics card's memory for its next arrays: other processes cannot have it.

    A scan is predicted in large batches, and what that took stays with this process, unused, until it ends.
    """
    # Not imported for that: where nobody has, there is nothing to return.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        cuda.empty_cache()


def keep_freed_memory() -> bool:
    """Have what is freed kept for the next that asks, for the rest of the process; only glibc can be told so.

    A training step frees and asks for the same large arrays over and over. By default they go back to the system each
    time, and come again page by page, each page cleared. On two cores with bfloat16, the published projects' network
    trains on 3.8 slices a second in the place of 3.0 without that (`training.benchmarks.throughput`, once with
    ``--default-allocator``). The process holds its peak until it ends, so this is for processes that train and end, not
    for the viewer's.

    Returns
    -------
    bool
        Whether the C library took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # No block by a mapping of its own, nothing given back from the end of the heap, and that extended in large steps.
    return all([set_option(_MMAP_MAX, 0), set_option(_TRIM_THRESHOLD, -1), set_option(_TOP_PAD, _AHEAD)])
