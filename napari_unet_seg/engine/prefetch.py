"""Batches read ahead by a thread, while the network learns from those before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from napari_unet_seg.engine.slice_source import SliceSource

Batch = tuple[Tensor, Tensor, Tensor]
"""What `SliceSource.batch` gives."""

DEPTH = 3


class ReadAhead:
    """Reads the batches of a store: of a streamed one ahead, as a context that leaves no thread; of another as asked.

    Parameters
    ----------
    store : SliceSource
    context : int
        Neighbouring slices on each side.
    depth : int
        Batches that may wait, read or being read.
    """

    def __init__(self, store: SliceSource, *, context: int, depth: int = DEPTH) -> None:
        self.depth = depth if store.streamed else 0
        self._store = store
        self._context = context
        # Of one thread: it starts with the first batch.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead") if self.depth else None
        self._ahead: deque[tuple[Tensor, Future[Batch]]] = deque()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ahead.clear()
        if self._reader is not None:
            self._reader.shutdown(wait=True, cancel_futures=True)

    def batch(self, index: Tensor, upcoming: Sequence[Tensor] = ()) -> Batch:
        """A batch, by its slice numbers ``(B,)``; those of the next ones, as far as they are known, are begun."""
        if self._reader is None:
            return self._store.batch(index, context=self._context)
        while self._ahead and not torch.equal(self._ahead[0][0], index):
            self._ahead.popleft()[1].cancel()
        wanted = self._ahead.popleft()[1] if self._ahead else self._begin(self._reader, index)
        for coming in upcoming[len(self._ahead) : self.depth]:
            self._ahead.append((coming, self._begin(self._reader, coming)))
        return wanted.result()

    def _begin(self, reader: ThreadPoolExecutor, index: Tensor) -> Future[Batch]:
        return reader.submit(self._store.batch, index, context=self._context)


def in_order(store: SliceSource, slices: Tensor, *, size: int, context: int) -> Iterator[tuple[Tensor, Batch]]:
    """Slice numbers ``(N,)`` in batches of `size`, with what `SliceSource.batch` gives for each."""
    batches = [slices[start : start + size] for start in range(0, len(slices), size)]
    with ReadAhead(store, context=context) as reader:
        for place, index in enumerate(batches):
            yield index, reader.batch(index, batches[place + 1 : place + 1 + reader.depth])
