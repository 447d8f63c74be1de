import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from napari_unet_seg.engine.side_by_side import side_by_side

pytestmark = pytest.mark.usefixtures("four_threads", "nothing_is_left")


@pytest.fixture
def four_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 20])
def test_results_come_in_order(workers: int) -> None:
    assert list(side_by_side(lambda part: part * 2, range(9), workers=workers)) == list(range(0, 18, 2))


def test_nothing_to_do() -> None:
    assert list(side_by_side(lambda part: part, [], workers=2)) == []


def test_parts_run_at_the_same_time_on_their_share_of_the_threads() -> None:
    together = threading.Barrier(2)

    def run(part: int) -> tuple[int, int]:
        together.wait(timeout=30)
        return threading.get_ident(), torch.get_num_threads()

    found = list(side_by_side(run, range(2), workers=2))
    assert len({thread for thread, _ in found} | {threading.get_ident()}) == 3
    assert {threads for _, threads in found} == {2}
    assert torch.get_num_threads() == 4


def test_other_threads_begin_with_the_full_number() -> None:
    seen: list[int] = []
    with closing(side_by_side(lambda part: part, range(9), workers=2)) as results:
        next(results)
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert seen == [4]


def test_an_error_comes_out_and_what_has_not_begun_is_dropped() -> None:
    begun: list[int] = []

    def run(part: int) -> int:
        begun.append(part)
        if part == 1:
            raise ValueError("part 1")
        return part

    results = side_by_side(run, range(100), workers=2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="part 1"):
        next(results)
    assert len(begun) < 10


def test_closing_ends_it() -> None:
    begun: list[int] = []
    with closing(side_by_side(begun.append, range(100), workers=2)) as results:
        next(results)
    assert len(begun) < 10
