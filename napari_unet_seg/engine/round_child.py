"""The process that a round of retraining runs in: ``python -m napari_unet_seg.engine.round_child``.

`round_process` starts it, and says what goes through its pipes. Nothing heavy is imported before the first line has
come: a stop, and the end of the window, are to be heard at any time.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Any, cast

from napari_unet_seg.engine.allocator import keep_freed_memory
from napari_unet_seg.engine.events import RoundEvent, to_record
from napari_unet_seg.engine.failure import describe
from napari_unet_seg.engine.round_process import RoundRequest
from napari_unet_seg.engine.round_report import Scope

ORPHAN_SECONDS = 20.0
"""How long a round may take to come to its end when the window is gone."""

_NICENESS = 10


def main() -> int:
    """Run the round that is asked for on the standard input.

    Returns
    -------
    int
        Exit status: 0 where the round came to its end, 1 where it told of an error.
    """
    requests, answers = _take_pipes()
    faulthandler.enable()
    _give_way()
    keep_freed_memory()
    stop, left = threading.Event(), threading.Event()
    request: RoundRequest | None = None
    try:
        line = requests.readline()
        if not line:
            return 0
        threading.Thread(target=_listen, args=(requests, stop, left), daemon=True).start()
        request = RoundRequest.from_json(json.loads(line))
        for event in _round(request, should_stop=stop.is_set, is_watched=lambda: not left.is_set()):
            _send(answers, to_record(event), stop=stop)
    except BaseException as error:
        traceback.print_exc()
        _send(answers, {"error": describe(error, request)}, stop=stop)
        return 1
    return 0


def _round(
    request: RoundRequest, *, should_stop: Callable[[], bool], is_watched: Callable[[], bool]
) -> Iterator[RoundEvent]:
    from napari_unet_seg.data.dataset import open_dataset

    dataset = open_dataset(request.dataset, request.overlay)
    if should_stop():
        return
    from napari_unet_seg.engine.finetune import finetune_events

    if should_stop():
        return
    yield from finetune_events(
        dataset,
        model=request.model,
        name=request.name,
        scope=cast(Scope, request.scope),
        case=request.case,
        seconds=_seconds_left(request),
        device=request.device,
        should_stop=should_stop,
        is_watched=is_watched,
    )


def _seconds_left(request: RoundRequest) -> float:
    """What is left of the user's seconds; half of them at least, so that a slow start leaves time to learn."""
    gone = time.time() - request.asked
    # Somebody may have put the clock back meanwhile.
    return request.seconds - min(max(gone, 0.0), request.seconds / 2)


def _take_pipes() -> tuple[FileIO, FileIO]:
    """Our ends of both pipes; what libraries print goes to the standard error from now on, and they read nothing."""
    # Unbuffered: a thread that waits in a buffered reader stops the interpreter from ending.
    requests, answers = FileIO(os.dup(0), "r"), FileIO(os.dup(1), "w")
    _point_at_nothing(0)
    os.dup2(2, 1)
    return requests, answers


def _point_at_nothing(*descriptors: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _give_way() -> None:
    """Let the window go first; on Windows its priority class, set by who starts us, does that."""
    if sys.platform != "win32":
        # Not nicer by ten: the thread that started us may be nice already.
        with contextlib.suppress(OSError):
            os.nice(max(0, _NICENESS - os.nice(0)))
    if sys.platform == "linux":
        # Beside a nice thread one of the window waits for its turn; beside one of this class it does not.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _listen(requests: FileIO, stop: threading.Event, left: threading.Event) -> None:
    """Wait for a stop, and for the end of the window, however that came; then it has `left`."""
    with contextlib.suppress(OSError):
        for line in iter(requests.readline, b""):
            with contextlib.suppress(ValueError, AttributeError):
                if json.loads(line).get("stop"):
                    stop.set()
    left.set()
    stop.set()
    # A warning that nobody reads any more shall not break what is being kept.
    _point_at_nothing(1, 2)
    # It ends the process without Python's help, should the round hold the interpreter.
    faulthandler.dump_traceback_later(ORPHAN_SECONDS, exit=True, file=2)


def _send(answers: FileIO, record: dict[str, Any], *, stop: threading.Event) -> None:
    """Write a line; to nobody, where the window is gone."""
    rest = json.dumps(record, default=_number).encode() + b"\n"
    try:
        while rest:
            rest = rest[answers.write(rest) or 0 :]
    except OSError:
        stop.set()


def _number(value: Any) -> Any:
    """A NumPy or torch scalar as a number of Python."""
    return value.item()


if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Taking torch down takes seconds on a busy machine; what counts is on the disk, and has been said.
    os._exit(status)
