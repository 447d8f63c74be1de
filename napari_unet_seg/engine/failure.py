"""What to tell of an error that has ended a round, or a command; imports no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from napari_unet_seg.engine.round_process import AS_IT_WAS, RoundRequest
from napari_unet_seg.errors import InputError, SegmentationError, disk_full


def describe(
    error: BaseException, request: RoundRequest | None = None, *, work: str = "the round", outcome: str = AS_IT_WAS
) -> dict[str, str]:
    """What to tell of an error.

    Parameters
    ----------
    error : BaseException
    request : RoundRequest, optional
        What the round was to do.
    work : str
        What has failed.
    outcome : str
        How things are now; it closes the line of what is not the input's fault.

    Returns
    -------
    dict
        ``kind``: "input" where the user can put it right, "memory", "disk", "computation" where the network failed on
        its device, or "other"; ``message``: one line.
    """
    kind, message = _kind_and_message(error, request, work)
    if kind != "input" and outcome:
        message = f"{message}; {outcome}"
    return {"kind": kind, "message": " ".join(message.split())}


def _kind_and_message(error: BaseException, request: RoundRequest | None, work: str) -> tuple[str, str]:
    full = disk_full(error)
    if full is not None:
        path = getattr(error, "path", None) or full.filename
        where = f"{path}: " if path else ""
        return "disk", f"{where}the disk is full; make room and start {work} again"
    if isinstance(error, InputError):
        return "input", str(error)
    if _out_of_memory(error):
        return "memory", f"there is not enough memory for {work}; close other programs and start it again"
    if isinstance(error, SegmentationError):
        return "computation", str(error)
    if isinstance(error, FileNotFoundError) and request is not None and _inside(error.filename, request):
        return "input", f"{error.filename}: this is no longer there; is the disk still connected? {AS_IT_WAS}"
    said = " ".join(str(error).split())[:300]
    return "other", f"{work} failed ({type(error).__name__}{': ' if said else ''}{said})"


def _out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch has run out of memory."""
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from napari_unet_seg.engine.device import out_of_memory

    return out_of_memory(error)


def _inside(name: object, request: RoundRequest) -> bool:
    """Whether a file is one of the dataset's."""
    if not isinstance(name, str | os.PathLike):
        return False
    folders = [folder for folder in (request.dataset, request.overlay) if folder is not None]
    return any(Path(os.fspath(name)).absolute().is_relative_to(folder.absolute()) for folder in folders)
