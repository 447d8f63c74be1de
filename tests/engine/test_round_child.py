import errno
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine import round_process
from napari_unet_seg.engine.events import RoundFinished, StepDone
from napari_unet_seg.engine.failure import describe
from napari_unet_seg.engine.fit import LossNotFinite
from napari_unet_seg.engine.round_process import RoundError, RoundRequest, run_round
from napari_unet_seg.errors import InputError, SegmentationError
from tests.engine.rounds import REPORT, has_ended, ours, run, start_window, steps, wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

posix = pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX")


@pytest.fixture
def request_of(tmp_path: Path) -> RoundRequest:
    return RoundRequest(dataset=write_kaggle(tmp_path / "scans", patients=1, slices=2, size=32), name="mine")


def test_what_a_round_says_arrives(request_of: RoundRequest) -> None:
    body = """
        print("a library says hello")
        os.system("echo and so does a program")
        assert sys.stdin.read() == ""
        assert (len(dataset.cases), model, name, scope, case, device, should_stop()) == (
            1, "default", "mine", "model", None, "auto", False)
        import numpy
        yield step(numpy.int64(1))
        yield step(2)
        yield FINISHED
    """
    events = run(ours(body), request=request_of)
    assert steps(events) == [1, 2]
    assert events[-1] == RoundFinished(report=REPORT)


@posix
@pytest.mark.parametrize("already", [0, 7])
def test_the_window_goes_first(request_of: RoundRequest, already: int) -> None:
    command = ours("yield step(os.nice(0)); yield FINISHED")
    command[-1] = f"import os; os.nice({already})\n{command[-1]}"
    assert steps(run(command, request=request_of)) == [max(10, os.nice(0) + already)]


def test_a_stop_is_heard(request_of: RoundRequest) -> None:
    body = """
        yield step(1)
        while not should_stop():
            time.sleep(0.01)
        assert is_watched()
        yield FINISHED
    """
    asked: list[int] = []
    rounds = run_round(request_of, should_stop=lambda: bool(asked), command=ours(body))
    assert isinstance(next(rounds), StepDone)
    asked.append(1)
    assert list(rounds) == [RoundFinished(report=REPORT)]


def test_a_stop_before_it_has_learned_anything_is_no_error(
    request_of: RoundRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It gives way to all else that runs, so on a busy machine it may take long to import what it needs.
    monkeypatch.setattr(round_process, "STOP_SECONDS", 300.0)
    monkeypatch.setattr(round_process, "LONGEST_STOP_SECONDS", 300.0)
    body = """
        while not should_stop():
            time.sleep(0.01)
        return
        yield
    """
    assert run(ours(body), request=request_of, should_stop=lambda: True) == []


@pytest.mark.parametrize(("ago", "least", "most"), [(20, 30, 40), (1000, 30, 30), (-1000, 60, 60)])
def test_the_seconds_count_from_the_click(request_of: RoundRequest, ago: float, least: int, most: int) -> None:
    request = replace(request_of, asked=time.time() - ago)
    ((seconds,),) = [steps(run(ours("yield step(int(seconds)); yield FINISHED"), request=request))]
    assert least <= seconds <= most


@pytest.mark.parametrize(
    ("body", "expected", "message"),
    [
        (
            "raise RuntimeError('boom\\nand more')",
            RoundError,
            r"the round failed \(RuntimeError: boom and more\); the m",
        ),
        ("raise MemoryError", RoundError, "not enough memory for the round; close other programs"),
        ("import torch; raise torch.OutOfMemoryError('CUDA')", RoundError, "not enough memory for the round"),
        ("raise OSError(errno.ENOSPC, 'No space', 'm.safetensors')", RoundError, r"^m\.safetensors: the disk is full;"),
        ("import shutil; shutil.rmtree(dataset.root); dataset.cases[0].read_image()", InputError, "scans.*: .*no"),
        ("import shutil; shutil.rmtree(dataset.root); open(dataset.root / 'x')", InputError, "scans.*x: .*no longer"),
        ("sys.exit(5)", RoundError, r"the round failed \(SystemExit: 5\)"),
        ("yield None", RoundError, r"the round failed \(TypeError: "),
        ("os.kill(os.getpid(), 11)", RoundError, r"crashed \(signal 11\)|exit status"),
    ],
)
def test_each_failure_is_one_line(request_of: RoundRequest, body: str, expected: type[Exception], message: str) -> None:
    with pytest.raises(expected, match=message) as raised:
        run(ours(f"yield step()\n{body}"), request=request_of)
    assert "\n" not in str(raised.value)
    # The whole story is kept beside the line.
    assert isinstance(raised.value, InputError) or "File " in raised.value.details


def test_kinds_of_errors(tmp_path: Path) -> None:
    request = RoundRequest(dataset=tmp_path / "scans", overlay=tmp_path / "overlay", name="mine")

    def kind(error: BaseException) -> str:
        return describe(error, request)["kind"]

    full = InputError("cannot be written (no space left on device)", path="m.safetensors")
    full.__cause__ = OSError(errno.ENOSPC, "no space")
    assert kind(full) == "disk"
    assert describe(full)["message"].startswith("m.safetensors: the disk is full")
    assert kind(InputError("no corrections")) == "input"
    assert kind(RuntimeError("DefaultCPUAllocator: can't allocate memory")) == "memory"
    assert kind(FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "scans" / "a.tif"))) == "input"
    assert kind(FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "overlay" / "a.tif"))) == "input"
    assert kind(FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "models" / "a"))) == "other"
    assert kind(FileNotFoundError("no file named")) == "other"
    failed = SegmentationError("the network failed on cuda: no kernel image")
    assert describe(failed) == {"kind": "computation", "message": f"{failed}; the model is as it was"}
    assert describe(failed, outcome="")["message"] == str(failed)
    assert describe(MemoryError(), work="suggest", outcome="") == {
        "kind": "memory",
        "message": "there is not enough memory for suggest; close other programs and start it again",
    }
    told = describe(LossNotFinite("the loss became nan at step 3"))
    assert told == {
        "kind": "other",
        "message": "the round failed (LossNotFinite: the loss became nan at step 3); the model is as it was",
    }
    assert len(describe(ValueError("x\n" * 10000))["message"]) < 500


def test_a_request_that_is_none_is_told() -> None:
    for sent in (b"nonsense\n", b"{}\n", b"[]\n"):
        done = subprocess.run(ours("yield FINISHED"), input=sent, capture_output=True)
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["kind"] == "other"
    assert subprocess.run(ours("yield FINISHED"), input=b"", capture_output=True).returncode == 0


# A round that notes what becomes of it.
OBEDIENT = """
    yield step(os.getpid())
    while not should_stop():
        time.sleep(0.01)
    for _ in range(100):
        print("a warning" * 99)
        print("another", file=sys.stderr, flush=True)
        yield step(2)
    (dataset.root.parent / "kept").write_text("watched" if is_watched() else "unseen")
    yield FINISHED
"""
DEAF = """
    yield step(os.getpid())
    while True:
        time.sleep(0.01)
"""


@posix
@pytest.mark.parametrize("body", [OBEDIENT, DEAF])
def test_the_child_ends_with_the_window_however_that_died(request_of: RoundRequest, body: str) -> None:
    window, child = start_window(ours(body, orphan=1 if body == DEAF else 60), request=request_of)
    assert psutil.pid_exists(child)
    window.send_signal(signal.SIGKILL)
    window.communicate()
    wait_until(lambda: has_ended(child))
    # It has kept what it had, though nobody reads its output any more.
    kept = request_of.dataset.parent / "kept"
    assert kept.read_text() == "unseen" if body == OBEDIENT else not kept.exists()
