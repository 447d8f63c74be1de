"""Rounds in made-up child processes, for tests of both ends of the pipe."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from napari_unet_seg.engine.events import RoundEvent, RoundFinished, StepDone, to_record
from napari_unet_seg.engine.round_process import RoundRequest, run_round
from napari_unet_seg.engine.round_report import CaseReport, RoundReport

REPORT = RoundReport(
    name="mine",
    parent="default",
    scope="model",
    promoted=True,
    seconds=1.5,
    steps=3,
    slices_corrected=2,
    before=0.5,
    after=0.6,
    reason="better on what was held back, größer",
    cases=(CaseReport(case="one", role="held back", slices=1, before=0.5, after=0.6),),
)
REQUEST = RoundRequest(dataset=Path("scans"), name="mine")
FINISHED = to_record(RoundFinished(report=REPORT))

_PLAIN = """
import json, os, signal, subprocess, sys, threading, time
def say(record): sys.stdout.write(json.dumps(record) + "\\n"); sys.stdout.flush()
def step(number=1): say({"event": "StepDone", "step": number, "steps": 9, "loss": 0.5, "elapsed": 0.1})
def hear(): return json.loads(sys.stdin.readline() or "null")
FINISHED = json.loads(%r)
request = hear()
"""

_OURS = """
import errno, json, os, sys, time, types
from pathlib import Path
from napari_unet_seg.engine import round_child
from napari_unet_seg.engine.events import StepDone, from_record
FINISHED = from_record(json.loads(%r))
def step(number=1): return StepDone(step=number, steps=9, loss=0.5)
def finetune_events(dataset, *, model, name, scope, case, seconds, device, should_stop, is_watched):
%s
fake = types.ModuleType("napari_unet_seg.engine.finetune")
fake.finetune_events = finetune_events
sys.modules[fake.__name__] = fake
round_child.ORPHAN_SECONDS = %r
sys.exit(round_child.main())
"""


def plain(body: str) -> list[str]:
    """A child without our code, which has heard the request; `say`, `step` and `hear` speak for it."""
    return [sys.executable, "-c", _PLAIN % json.dumps(FINISHED) + textwrap.dedent(body)]


def ours(body: str, *, orphan: float = 60.0) -> list[str]:
    """Our child, with the body of a generator in place of the training."""
    return [
        sys.executable,
        "-c",
        _OURS % (json.dumps(FINISHED), textwrap.indent(textwrap.dedent(body), "    "), orphan),
    ]


def run(
    command: Sequence[str], *, request: RoundRequest = REQUEST, should_stop: Callable[[], bool] = bool
) -> list[RoundEvent]:
    """All events of a round."""
    return list(run_round(request, should_stop=should_stop, command=command))


def start_window(command: Sequence[str], *, request: RoundRequest = REQUEST) -> tuple[subprocess.Popen[str], int]:
    """A process that watches a round, and the first step that was told: its number is to be the child's process id."""
    code = f"""
        import signal
        from napari_unet_seg.engine.round_process import RoundRequest, run_round
        # Whoever runs the tests in the background may have had Ctrl-C ignored, and that is inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        request = RoundRequest.from_json({request.to_json()!r})
        for event in run_round(request, should_stop=bool, command={command!r}):
            print(event.step, flush=True)
    """
    window = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert window.stdout is not None
    return window, int(window.stdout.readline())


def steps(events: Sequence[RoundEvent]) -> list[int]:
    return [event.step for event in events if isinstance(event, StepDone)]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    # Where nobody reaps orphans they stay as zombies.
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
