"""Parts of a work side by side on the processor: several networks on a slice each beat one network on many cores."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def side_by_side(function: Callable[[_Part], _Result], parts: Sequence[_Part], *, workers: int) -> Generator[_Result]:
    """What a function makes of each part, in order, several at a time.

    An operation that runs on all cores waits for the slowest of them at its end, and its pixels go from one core's
    cache to another's; parts that have nothing to do with one another need neither. Close the iterator where it is not
    read to its end: the threads end with it, and parts that have not begun are dropped.

    Parameters
    ----------
    function : callable
        Called in threads of its own, each with an equal share of the caller's torch threads.
    parts : sequence
        What it is called with.
    workers : int
        How many at a time; 1 calls it in the caller's own thread.
    """
    workers = min(workers, len(parts))
    if workers <= 1:
        yield from map(function, parts)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="side-by-side") as pool:
        _share_threads(pool, workers)
        rest = iter(parts)
        # One more than can run, so that nobody waits for the next one to be handed out.
        waiting: deque[Future[_Result]] = deque(pool.submit(function, part) for part in islice(rest, workers + 1))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, part) for part in islice(rest, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def _share_threads(pool: ThreadPoolExecutor, workers: int) -> None:
    """Give each thread of the pool its share.

    Setting the number in one thread also makes it what threads begin with that use torch for the first time, so it is
    set back at once.
    """
    threads = torch.get_num_threads()
    # Nobody gets past it alone: every thread of the pool is started.
    together = threading.Barrier(workers + 1)

    def begin() -> None:
        # Asked first: or else the number for all threads is taken over at the first operation.
        torch.get_num_threads()
        torch.set_num_threads(max(1, threads // workers))
        together.wait()

    for _ in range(workers):
        pool.submit(begin)
    together.wait()
    torch.set_num_threads(threads)
