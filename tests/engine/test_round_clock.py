import time

import pytest

from napari_unet_seg.engine.round_clock import RoundClock, late, shared_out


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved by hand."""
    moment = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: moment[0])
    return moment


def test_shares_are_counted_from_the_start(now: list[float]) -> None:
    clock = RoundClock(seconds=60)
    now[0] += 12
    assert clock.elapsed() == 12
    assert (clock.moment(0.5), clock.deadline) == (130, 160)
    assert not late(130, expected=18)
    assert late(130, expected=19)


def test_without_a_budget_nothing_is_late() -> None:
    assert not late(RoundClock().moment(0.1), expected=1e9)


def test_what_one_leaves_is_shared_by_the_others(now: list[float]) -> None:
    turns = []
    for name, until in shared_out("abc", until=130):
        turns.append((name, until))
        now[0] += {"a": 2, "b": 20, "c": 0}[name]
    assert turns == [("a", 110), ("b", 116), ("c", 130)]


def test_there_are_turns_when_the_time_is_gone(now: list[float]) -> None:
    assert list(shared_out("ab", until=90)) == [("a", 100), ("b", 100)]
