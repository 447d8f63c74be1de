"""A round of retraining in a child process, watched from here; imports no torch.

Building an optimiser in the process of the window can end it (see `round_child`, the other side).

The request goes to the child's input as one line of JSON; events come from its output, one a line, and an error as
``{"error": {"kind": …, "message": …}}``. The line ``{"stop": true}``, or the end of its input, asks it to come to an
end.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import napari_unet_seg
from napari_unet_seg.engine.allocator import give_back_graphics_memory
from napari_unet_seg.engine.child_process import ChildProcess
from napari_unet_seg.engine.events import RoundEvent, RoundFinished, from_record
from napari_unet_seg.errors import InputError, reason

_log = logging.getLogger(__name__)

AS_IT_WAS = "the model is as it was"
STOP_SECONDS = 30.0
"""How long a child may say nothing at all once it was asked to stop."""

LONGEST_STOP_SECONDS = 60.0
"""How long it has to come to its end then, whatever it says: what was learned is compared with what was before."""

# The current folder stays out of the path (-P): a random.py there would be imported in place of Python's.
_COMMAND = ("-P", "-m", "napari_unet_seg.engine.round_child")
# SIGHUP, SIGINT, SIGTERM: numbers, as Windows knows neither all names nor such an exit status.
_FROM_OUTSIDE = (1, 2, 15)
_KILLED = 9


class RoundError(Exception):
    """A round came to nothing; one line for the user. Not a RuntimeError, which workers may lose.

    Parameters
    ----------
    problem : str
    details : str
        The end of what the child wrote to its standard error.
    """

    def __init__(self, problem: str, *, details: str = "") -> None:
        super().__init__(" ".join(problem.split()))
        self.details = details


@dataclass(frozen=True, kw_only=True)
class RoundRequest:
    """What a round is to do; the parameters of `finetune.finetune_events`."""

    dataset: Path
    overlay: Path | None = None
    model: str = "default"
    name: str
    scope: str = "model"
    case: str | None = None
    seconds: float = 60.0
    """Counted from `asked`: starting the child and loading torch come out of them, up to half of them."""

    device: str = "auto"
    asked: float = field(default_factory=time.time)
    """When the user asked for it, in seconds since 1970: a clock that the child has too."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        overlay = None if self.overlay is None else str(self.overlay)
        return {**dataclasses.asdict(self), "dataset": str(self.dataset), "overlay": overlay}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RoundRequest:
        """What `to_json` made this of."""
        overlay = values["overlay"]
        return cls(
            **{**values, "dataset": Path(values["dataset"]), "overlay": None if overlay is None else Path(overlay)}
        )


def run_round(
    request: RoundRequest, *, should_stop: Callable[[], bool], command: Sequence[str] | None = None
) -> Generator[RoundEvent, None, None]:
    """Run a round in a child process; for a background thread.

    However the generator ends, closed or by an exception, the child has ended before: asked first, then killed.

    Parameters
    ----------
    request : RoundRequest
    should_stop : callable
        Asked several times a second. Once it says yes, the child is asked to come to an end; what it kept comes in its
        `RoundFinished`, as ever. It is killed if it falls silent for `STOP_SECONDS`, or takes longer than
        `LONGEST_STOP_SECONDS`.
    command : sequence of str, optional
        What to run in place of our own child.

    Yields
    ------
    RoundEvent
        The last one is a `RoundFinished`; there is none where the round was stopped while it still started or read.

    Raises
    ------
    InputError
        If the child says that the user can put it right.
    RoundError
        If the round failed, or the process died, or did not stop.
    """
    stopped = heard = time.monotonic()
    stopping = False
    give_back_graphics_memory()
    with _start(command if command is not None else (sys.executable, *_COMMAND)) as child:
        child.send(json.dumps(request.to_json()).encode())
        while not child.ended:
            # Asked again after a yes: a caller that will wait no longer says so by raising.
            if should_stop() and not stopping:
                child.send(b'{"stop": true}')
                stopping, stopped = True, time.monotonic()
            if stopping and time.monotonic() > min(max(stopped, heard) + STOP_SECONDS, stopped + LONGEST_STOP_SECONDS):
                child.kill()
            line = child.read_line()
            if line:
                heard = time.monotonic()
            record = _parse(line)
            if "error" in record:
                child.close()
                raise _error(record["error"], details=child.stderr_tail)
            event = _event(record)
            if event is not None:
                yield event
            if isinstance(event, RoundFinished):
                return
    if stopping and child.exit_status == 0 and not child.was_killed:
        return
    raise RoundError(f"{_what_happened(child, stopping=stopping)}; {AS_IT_WAS}", details=child.stderr_tail)


def _start(command: Sequence[str]) -> ChildProcess:
    try:
        return ChildProcess(command, environment=_environment())
    except OSError as error:
        raise RoundError(f"the training process cannot be started ({reason(error)}); {AS_IT_WAS}") from error


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Have torch's threads sleep while they wait for one another, in a process that has not loaded it yet.

    Where they share the cores with other work, the window's say, they would burn the time that it leaves them.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("KMP_BLOCKTIME", "0")


def _environment() -> dict[str, str]:
    """Ours, and the child imports the package from where we did."""
    environment = dict(os.environ)
    let_threads_sleep(environment)
    home = str(Path(napari_unet_seg.__file__).resolve().parents[1])
    # What is installed the child finds by itself; first on its path, old backports there would hide Python's modules.
    if Path(home).name not in ("site-packages", "dist-packages"):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([home, rest] if rest else [home])
    return environment


def _parse(line: bytes) -> dict[str, Any]:
    """The record on a line; empty where it holds none."""
    try:
        record = json.loads(line) if line else {}
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        _log.debug("the training process sent %r", line[:200])
        return {}
    return record


def _event(record: dict[str, Any]) -> RoundEvent | None:
    try:
        event = from_record(record) if record else None
    except ValueError:
        _log.debug("the training process sent %.200r", record)
        return None
    return event if isinstance(event, RoundEvent) else None


def _error(told: Any, *, details: str) -> InputError | RoundError:
    if not isinstance(told, dict):
        told = {"message": str(told)}
    message = str(told.get("message") or "the round failed, and did not say why")
    return InputError(message) if told.get("kind") == "input" else RoundError(message, details=details)


def _what_happened(child: ChildProcess, *, stopping: bool) -> str:
    """Why there is no `RoundFinished`, in words."""
    status = child.exit_status
    if child.was_killed or status is None:
        return f"the training process {'did not stop' if stopping else 'fell silent'} and was ended"
    if -status == _KILLED:
        return "the training process was ended from outside (signal 9, perhaps for lack of memory)"
    if -status in _FROM_OUTSIDE:
        return f"the training process was ended from outside (signal {-status})"
    if status < 0:
        return f"the training process crashed (signal {-status})"
    if status == 0:
        return "the training process ended without a result"
    last = next((line.strip() for line in reversed(child.stderr_tail.splitlines()) if line.strip()), "no word why")
    return f"the training process ended before its time (exit status {status}: {last[:200]})"
