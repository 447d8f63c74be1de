import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

import napari_unet_seg
from napari_unet_seg.engine import round_process
from napari_unet_seg.engine.child_process import ChildProcess
from napari_unet_seg.engine.events import RoundFinished, RoundStarted, StepDone
from napari_unet_seg.engine.round_process import RoundError, RoundRequest, run_round
from napari_unet_seg.errors import InputError
from tests.engine.rounds import REPORT, REQUEST, plain, run, steps, wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

posix = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_process, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(round_process, "LONGEST_STOP_SECONDS", 0.6)
    monkeypatch.setattr(ChildProcess, "EXIT_SECONDS", 0.3)


class Clock:
    """A clock that runs when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(round_process, "time", clock)
    return clock


def stop_after(calls: int) -> object:
    """A `should_stop` that says yes from a certain call on."""
    counter = itertools.count(1)
    return lambda: next(counter) > calls


def test_a_round_from_start_to_end() -> None:
    events = run(
        plain("""
            say({"event": "RoundStarted", "scope": "model", "slices_corrected": 2, "cases": 1, "rehearsal": 0,
                 "seconds": 1.0})
            step(1); step(2)
            say(FINISHED)
        """)
    )
    assert isinstance(events[0], RoundStarted)
    assert steps(events) == [1, 2]
    assert events[-1] == RoundFinished(report=REPORT)


@pytest.mark.parametrize("used", [True, False])
def test_a_round_finds_the_graphics_memory_that_the_window_kept(used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: used)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    run(plain("say(FINISHED)"))
    assert given_back == [True] * used


@pytest.mark.parametrize("overlay", [None, Path("over lay")])
def test_the_request_arrives_as_it_was(overlay: Path | None) -> None:
    request = RoundRequest(
        dataset=Path("scans") / "größe\n\udc80" / ("x" * 3000),
        overlay=overlay,
        model="default",
        name="mine",
        scope="scan",
        case="a",
        seconds=7.5,
        device="cpu",
        asked=1234.5,
    )
    assert RoundRequest.from_json(json.loads(json.dumps(request.to_json()))) == request
    with pytest.raises(InputError) as raised:
        run(plain("say({'error': {'kind': 'input', 'message': json.dumps(request)}})"), request=request)
    assert RoundRequest.from_json(json.loads(str(raised.value))) == request


def test_no_line_is_lost_however_they_come() -> None:
    events = run(
        plain("""
            line = json.dumps({"event": "StepDone", "step": 1, "steps": 9, "loss": 0.5}) + "\\n"
            for part in (line[:7], line[7:] + line + line[:-1], line[-1] + line * 5000):
                os.write(1, part.encode()); time.sleep(0.05)
            os.write(1, json.dumps(FINISHED).encode())
        """)
    )
    assert len(steps(events)) == 5003
    assert events[-1] == RoundFinished(report=REPORT)


def test_a_child_is_dead_before_all_is_read() -> None:
    rounds = run_round(REQUEST, should_stop=bool, command=plain("[step(n) for n in range(600)]; say(FINISHED)"))
    events = [next(rounds)]
    wait_until(lambda: all(child.status() == psutil.STATUS_ZOMBIE for child in psutil.Process().children()))
    events += rounds
    assert steps(events) == list(range(600))
    assert events[-1] == RoundFinished(report=REPORT)


@pytest.mark.parametrize(
    "garbage",
    [
        "print('Downloading … 3%')",
        "print('{\"event\": \"StepDone\"}'); print('[1, 2]'); print('5'); print('{}'); print('')",
        "say({'event': 'Unknown'}); say({'event': 'RoundFinished', 'report': 5})",
        "os.write(1, b'\\xff\\xfe\\x00\\n')",
        "print('[' * 100000)",
        "os.write(1, b'x' * 5_000_000 + b'\\n')",
    ],
)
def test_garbage_is_passed_over(garbage: str) -> None:
    assert len(run(plain(f"step()\n{garbage}\nsys.stdout.flush(); step(); say(FINISHED)"))) == 3


def test_much_on_standard_error_holds_nothing_up() -> None:
    assert len(run(plain("sys.stderr.write('x' * 3_000_000); sys.stderr.flush(); say(FINISHED)"))) == 1


@pytest.mark.parametrize(("kind", "expected"), [("input", InputError), ("memory", RoundError), ("other", RoundError)])
def test_the_child_s_errors_keep_their_kind(kind: str, expected: type[Exception]) -> None:
    body = (
        f"print('Traceback …', file=sys.stderr); say({{'error': {{'kind': {kind!r}, 'message': 'it is so'}}}}); exit(1)"
    )
    with pytest.raises(expected, match=r"^it is so$") as raised:
        run(plain(body))
    assert isinstance(raised.value, InputError) or "Traceback …" in raised.value.details


@pytest.mark.parametrize("told", ["'no'", "None", "{}", "{'message': None}", "[]"])
def test_an_error_that_is_badly_told_is_an_error_still(told: str) -> None:
    with pytest.raises(RoundError):
        run(plain(f"say({{'error': {told}}})"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit(0)", r"ended without a result; the model is as it was$"),
        ("raise ValueError('this\\nand that')", r"ended before its time \(exit status 1: and that\); the model"),
        ("os._exit(3)", r"exit status 3: no word why"),
        ("print('x' * 9000, file=sys.stderr); exit(4)", r"exit status 4: x{200}\); the model is as it was$"),
        pytest.param("os.kill(os.getpid(), 9)", r"from outside \(signal 9, perhaps for lack", marks=posix),
        pytest.param("os.kill(os.getpid(), 15)", r"from outside \(signal 15\); the model is as it was$", marks=posix),
        pytest.param("os.abort()", r"crashed \(signal 6\); the model is as it was$", marks=posix),
    ],
)
def test_an_end_without_a_result_is_told_in_one_line(body: str, message: str) -> None:
    with pytest.raises(RoundError, match=message) as raised:
        run(plain(f"step()\n{body}"))
    assert "\n" not in str(raised.value)


@posix
def test_killed_from_outside_while_it_says_nothing() -> None:
    rounds = run_round(REQUEST, should_stop=bool, command=plain("step(os.getpid()); time.sleep(600)"))
    first = next(rounds)
    assert isinstance(first, StepDone)
    os.kill(first.step, signal.SIGKILL)
    with pytest.raises(RoundError, match="signal 9"):
        next(rounds)


def test_what_cannot_be_started_is_told() -> None:
    with pytest.raises(RoundError, match=r"cannot be started .*; the model is as it was"):
        run(["no-such-program-here"])


def test_a_stop_brings_what_was_kept() -> None:
    body = "assert hear() == {'stop': True}; step(7); say(FINISHED)"
    events = run(plain(body), should_stop=stop_after(3))
    assert steps(events) == [7]
    assert events[-1] == RoundFinished(report=REPORT)


def test_a_stop_before_there_is_anything_is_no_error() -> None:
    assert run(plain("hear()"), should_stop=stop_after(0)) == []
    assert steps(run(plain("step(); hear()"), should_stop=stop_after(0))) == [1]


def test_a_child_that_is_stopped_may_take_its_time_while_it_tells_of_itself(clock: Clock) -> None:
    told = []
    for event in run_round(
        REQUEST, should_stop=stop_after(0), command=plain("[step(n) for n in range(5)]; say(FINISHED)")
    ):
        told.append(event)
        clock.now += 11
    assert steps(told) == list(range(5))
    assert told[-1] == RoundFinished(report=REPORT)


@pytest.mark.parametrize(("body", "lives"), [("while True: step()", 60.0), ("step(); time.sleep(600)", 30.0)])
def test_a_child_that_is_stopped_does_not_live_for_ever(clock: Clock, body: str, lives: float) -> None:
    rounds = run_round(REQUEST, should_stop=stop_after(0), command=plain(body))
    # Those that lie in the pipe when it is killed still come.
    next(rounds)
    clock.now += lives - 1
    if body.startswith("while"):
        next(rounds)
    clock.now += 2
    with pytest.raises(RoundError, match="did not stop and was ended"):
        list(rounds)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("body", ["time.sleep(600)", "os.close(0); time.sleep(600)", "while True: step()"])
def test_a_stop_that_is_not_answered_ends_the_child(body: str) -> None:
    with pytest.raises(RoundError, match="did not stop and was ended; the model is as it was"):
        run(plain(body), should_stop=stop_after(3))


def test_a_stop_when_the_child_is_dead_already() -> None:
    with pytest.raises(RoundError, match="exit status 3"):
        run(plain("os._exit(3)"), should_stop=stop_after(0))


@pytest.mark.usefixtures("impatient")
def test_a_child_that_closes_its_output_and_lives_on() -> None:
    with pytest.raises(RoundError, match="fell silent and was ended"):
        run(plain("step(); os.close(1); time.sleep(600)"))


@pytest.mark.usefixtures("impatient")
def test_a_child_that_does_not_end_after_its_result() -> None:
    assert run(plain("say(FINISHED); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")) == [
        RoundFinished(report=REPORT)
    ]


@pytest.mark.parametrize("taken", [0, 1, 2])
@pytest.mark.parametrize("then", ["hear(); exit()", "time.sleep(600)", "while True: step()"])
@pytest.mark.usefixtures("impatient")
def test_closing_the_generator_ends_the_child(taken: int, then: str) -> None:
    rounds = run_round(REQUEST, should_stop=bool, command=plain(f"step(1)\nstep(2)\n{then}"))
    assert steps([next(rounds) for _ in range(taken)]) == [1, 2][:taken]
    rounds.close()
    assert psutil.Process().children() == []


def test_a_closed_generator_asks_first(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    rounds = run_round(REQUEST, should_stop=bool, command=plain(f"step(); hear(); open({str(kept)!r}, 'w').close()"))
    next(rounds)
    rounds.close()
    assert kept.exists()


@pytest.mark.usefixtures("impatient")
def test_an_error_in_should_stop_ends_the_child() -> None:
    def broken() -> bool:
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        run(plain("time.sleep(600)"), should_stop=broken)
    assert psutil.Process().children() == []


@pytest.mark.usefixtures("impatient")
def test_an_error_thrown_into_the_generator_ends_the_child() -> None:
    rounds = run_round(REQUEST, should_stop=bool, command=plain("step(); time.sleep(600)"))
    next(rounds)
    with pytest.raises(KeyboardInterrupt):
        rounds.throw(KeyboardInterrupt)
    assert psutil.Process().children() == []


def test_should_stop_is_asked_while_the_child_says_nothing() -> None:
    asked = itertools.count()
    assert len(run(plain("time.sleep(1); say(FINISHED)"), should_stop=lambda: next(asked) < 0)) == 1
    assert next(asked) >= 10


def test_fifty_rounds_leave_nothing_behind() -> None:
    for number in range(50):
        if number % 3 == 0:
            assert len(run(plain("step(); say(FINISHED)"))) == 2
        elif number % 3 == 1:
            with pytest.raises(RoundError, match="exit status 3"):
                run(plain("step(); os._exit(3)"))
        else:
            rounds = run_round(REQUEST, should_stop=bool, command=plain("step(); hear()"))
            next(rounds)
            rounds.close()


def test_the_child_imports_the_same_package_whatever_lies_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "random.py", "napari_unet_seg.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    code = "say({'error': {'kind': 'input', 'message': __import__('napari_unet_seg').__file__}})"
    command = plain(code)
    with pytest.raises(InputError) as raised:
        run([command[0], "-P", *command[1:]])
    assert Path(str(raised.value)) == Path(napari_unet_seg.__file__).resolve()
    with pytest.raises(InputError, match="there is no such file or folder"):
        list(run_round(REQUEST, should_stop=bool))


def test_watching_a_round_needs_no_torch() -> None:
    code = "import sys, napari_unet_seg.engine.round_process, napari_unet_seg.engine.round_child; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "numpy", "qtpy"}.isdisjoint(loaded)
