import threading
import time
from collections.abc import Iterator

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from napari_unet_seg.widgets import workers
from napari_unet_seg.widgets.workers import Lane, Task


@pytest.fixture
def lane(qapp: object) -> Iterator[Lane]:
    lane = Lane("test-lane")
    yield lane
    lane.close()


def ignore(value: object) -> None:
    pass


def test_work_runs_elsewhere_and_is_reported_here(lane: Lane, qtbot: QtBot) -> None:
    seen = []
    lane.submit(
        lambda task: threading.current_thread().name,
        returned=lambda name: seen.append((name, threading.current_thread())),
        failed=ignore,
    )
    qtbot.waitUntil(lambda: bool(seen))
    assert seen == [("test-lane_0", threading.main_thread())]


def test_tasks_run_in_order(lane: Lane, qtbot: QtBot) -> None:
    order: list[int] = []
    for number in range(5):
        lane.submit(lambda task, number=number: number, returned=order.append, failed=ignore)
    qtbot.waitUntil(lambda: not lane.busy())
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("bad"), MemoryError(), StopIteration()])
def test_any_error_is_reported(lane: Lane, qtbot: QtBot, error: Exception) -> None:
    def work(task: Task) -> None:
        task.report(1, 2)
        raise error

    progress, failed, finished = [], [], []
    task = lane.submit(work, returned=ignore, failed=failed.append, finished=lambda: finished.append(True))
    task.progressed.connect(lambda *step: progress.append(step))
    qtbot.waitUntil(lambda: bool(finished))
    assert (progress, failed) == ([(1, 2)], [error])


def test_reports_are_not_delivered_inside_one_another(lane: Lane, qtbot: QtBot) -> None:
    depth, deepest, seen = 0, 0, []

    def progressed(done: int, total: int) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        # As napari's progress bar does.
        QApplication.processEvents()
        depth -= 1
        seen.append(done)

    def work(task: Task) -> None:
        for done in range(1, 501):
            task.report(done, 500)
        time.sleep(0.05)

    lane.submit(work, returned=ignore, failed=ignore).progressed.connect(progressed)
    qtbot.waitUntil(lambda: not lane.busy())
    assert deepest <= 2
    assert seen == sorted(seen)


def test_between_two_reports_some_time_passes(lane: Lane, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_REPORT_MS", 60_000)
    seen: list[int] = []

    def work(task: Task) -> None:
        for done in range(1, 51):
            task.report(done, 50)
            time.sleep(0.005)

    task = lane.submit(work, returned=ignore, failed=ignore)
    task.progressed.connect(lambda done, total: seen.append(done))
    qtbot.waitUntil(lambda: not lane.busy())
    # What is newest by the time that the window hears it.
    assert len(seen) == 1


def test_work_is_stopped_by_what_it_asks(lane: Lane, qtbot: QtBot) -> None:
    started = threading.Event()

    def work(task: Task) -> None:
        started.set()
        while not task.should_stop():
            pass
        raise RuntimeError("stopped")

    failed, stopped = [], []
    task = lane.submit(work, returned=ignore, failed=failed.append)
    task.stopped.connect(lambda: stopped.append(True))
    assert started.wait(5)
    task.stop()
    qtbot.waitUntil(lambda: bool(stopped))
    assert failed == []


def test_a_task_stopped_before_its_turn_is_not_begun(lane: Lane, qtbot: QtBot) -> None:
    gate, begun = threading.Event(), []
    lane.submit(lambda task: gate.wait(5), returned=ignore, failed=ignore)
    waiting = lane.submit(begun.append, returned=ignore, failed=ignore)
    waiting.stop()
    gate.set()
    qtbot.waitUntil(lambda: not lane.busy())
    assert begun == []


def test_closing_ends_what_runs_and_leaves_no_thread(qtbot: QtBot) -> None:
    lane, started, returned = Lane("closing-lane"), threading.Event(), []

    def work(task: Task) -> str:
        started.set()
        while not task.should_stop():
            pass
        return "late"

    lane.submit(work, returned=returned.append, failed=ignore)
    lane.submit(work, returned=returned.append, failed=ignore)
    assert started.wait(5)
    lane.close()
    lane.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing-lane")]
    lane.submit(work, returned=returned.append, failed=ignore)
    qtbot.wait(20)
    assert returned == []
    assert not lane.busy()


def test_a_task_is_reported_without_an_event_loop(lane: Lane) -> None:
    told: list[str] = []
    lane.submit(lambda task: "done", returned=told.append, failed=told.append)
    lane.finish()
    assert told == ["done"]
    assert not lane.busy()


def test_a_task_that_was_reported_is_not_reported_again(lane: Lane, qtbot: QtBot) -> None:
    told: list[str] = []
    lane.submit(lambda task: "done", returned=told.append, failed=told.append)
    lane.finish()
    qtbot.wait(50)
    assert told == ["done"]
