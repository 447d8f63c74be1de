import os
import signal
from pathlib import Path

import pytest

from napari_unet_seg.engine.events import RoundFinished, StepDone
from napari_unet_seg.engine.round_process import RoundError, run_round
from tests.engine.rounds import REQUEST, has_ended, plain, start_window, wait_until

pytestmark = [
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.skipif(os.name == "nt", reason="signals and process groups of POSIX"),
]

GRANDCHILD = "grandchild = subprocess.Popen([sys.executable, '-c', {code!r}]{options}); step(grandchild.pid); "


@pytest.mark.parametrize("end", ["say(FINISHED)", "os._exit(3)"])
@pytest.mark.parametrize("code", ["import time; time.sleep(600)", "while True: print('x' * 99)"])
def test_a_grandchild_that_keeps_the_pipes_holds_nothing_up(end: str, code: str) -> None:
    started = GRANDCHILD.format(code=code, options=", start_new_session=True")
    rounds = run_round(REQUEST, should_stop=bool, command=plain(started + end))
    first = next(event for event in rounds if isinstance(event, StepDone))
    try:
        if "FINISHED" in end:
            assert isinstance(list(rounds)[-1], RoundFinished)
        else:
            with pytest.raises(RoundError, match="exit status 3"):
                list(rounds)
    finally:
        os.kill(first.step, signal.SIGKILL)


def test_what_a_crashed_child_started_ends_with_it() -> None:
    started = GRANDCHILD.format(code="import time; time.sleep(600)", options="")
    rounds = run_round(REQUEST, should_stop=bool, command=plain(started + "os._exit(3)"))
    first = next(rounds)
    assert isinstance(first, StepDone)
    with pytest.raises(RoundError, match="exit status 3"):
        list(rounds)
    wait_until(lambda: has_ended(first.step))


def test_a_ctrl_c_of_the_terminal_reaches_the_window_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    child = plain(f"signal.signal(signal.SIGINT, signal.SIG_DFL); step(os.getpid()); hear(); open({str(kept)!r}, 'w')")
    window, pid = start_window(child)
    os.killpg(window.pid, signal.SIGINT)
    _, err = window.communicate()
    assert "KeyboardInterrupt" in err
    assert has_ended(pid)
    assert kept.exists()
