"""Cases held in memory as long as they fit; in shards beside the run, once they don't."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_unet_seg.engine.allocator import give_back_freed_memory
from napari_unet_seg.engine.prepared_case import PreparedCase
from napari_unet_seg.engine.processes import Processes
from napari_unet_seg.engine.samples import SliceStore
from napari_unet_seg.engine.shard_index import ShardIndex
from napari_unet_seg.engine.shard_store import ShardStore
from napari_unet_seg.engine.shards import INDEX, SHARD_BYTES, read_index, write_shards
from napari_unet_seg.engine.slice_source import SliceSource
from napari_unet_seg.errors import InputError
from training.memory_limit import GIB, default_limit
from training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, kw_only=True)
class Spill:
    """What a run does about data that does not fit in memory."""

    folder: Path
    """Where the shards go; every machine has its own."""

    limit: int
    """Bytes of cases that a process holds, and of slices that it keeps of streamed ones; the same in all."""

    writes: bool
    """Whether this process writes the shards of its machine; the others wait for them."""

    kept: bool
    """Whether the shards of the run that goes on are there."""

    say: Callable[[str], None]

    @classmethod
    def beside(
        cls,
        run: Path,
        *,
        device: torch.device,
        memory: int | None,
        resume: bool,
        fabric: Fabric | None,
        say: Callable[[str], None],
    ) -> Spill:
        """For a run in a folder; every process has to ask, at the same time.

        Parameters
        ----------
        run : Path
            Its folder.
        device : torch.device
            What cases that fit are to lie on.
        memory : int, optional
            Bytes of cases that a process may hold; by default half of what is free.
        resume : bool
            Use the shards of a run broken off, if there are any; else they are deleted.
        fabric : Fabric, optional
            Of the processes that train together.
        say : callable
            Tells the user.
        """
        processes = Processes(fabric)
        machine = fabric.node_rank if fabric is not None else 0
        machines = int(processes.gather(torch.tensor(machine)).max()) + 1
        folder = run / "shards" / f"machine_{machine}" if machines > 1 else run / "shards"
        writes = fabric is None or fabric.local_rank == 0
        # A training before this one may have left some.
        give_back_freed_memory()
        limit = memory if memory is not None else default_limit(device, processes=processes.count // machines)
        # One decision for all: they take every step together, streamed or not.
        limit = int(processes.gather(torch.tensor(limit)).min())
        kept = resume and not processes.agree(not (folder / INDEX).is_file())
        if writes and not kept:
            shutil.rmtree(folder, ignore_errors=True)
        # Nobody may take the shards of an earlier run for those to come.
        processes.agree(False)
        return cls(folder=folder, limit=limit, writes=writes, kept=kept, say=say)

    def remove(self) -> None:
        """Delete the shards of a run that is done."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)
            if self.folder.name != "shards":
                with suppress(OSError):
                    self.folder.parent.rmdir()

    def reopened(self, recipe: Recipe, case_ids: Sequence[str], *, device: torch.device) -> ShardStore | None:
        """The shards of the run that goes on; None where there are none, or they hold something else."""
        if not self.kept:
            return None
        index = read_index(self.folder)
        index.check(
            str(self.folder),
            normalisation=recipe.normalisation,
            resize=recipe.resize,
            channel_names=recipe.channel_names,
        )
        if [case.case_id for case in index.cases] != list(case_ids):
            raise InputError("its shards hold other cases; give the same settings, or begin anew", path=self.folder)
        self.say(f"going on with the shards in {self.folder}")
        return ShardStore(self.folder, device=device, cache_bytes=self.limit)


def hold_or_stream(
    cases: Iterable[tuple[str, PreparedCase]],
    recipe: Recipe,
    *,
    spill: Spill | None,
    device: torch.device,
    fingerprint: Callable[[], str],
) -> SliceSource:
    """A store of cases: in memory, or in shards from the moment on that they take more than they may.

    Parameters
    ----------
    cases : iterable of (str, PreparedCase)
        With their ids; gone through once.
    recipe : Recipe
        How they were prepared.
    spill : Spill, optional
        Without one, everything is held.
    device : torch.device
        Where batches are wanted.
    fingerprint : callable
        Of the cases, when all have been gone through.

    Raises
    ------
    InputError
        If the shards cannot be written.
    """
    coming, held = iter(cases), list[tuple[str, PreparedCase]]()
    slices, height, width, pixel_bytes = 0, 0, 0, 0.0
    for case_id, case in coming:
        held.append((case_id, case))
        depth, rows, columns = case.target.shape
        slices, height, width = slices + depth, max(height, rows), max(width, columns)
        pixel_bytes = max(pixel_bytes, case.slice_bytes / (rows * columns))
        # In memory, all are as high as the highest and as wide as the widest.
        if spill is not None and slices * height * width * pixel_bytes > spill.limit:
            if not spill.writes:
                held.clear()
            _write(chain(_let_go(held), coming), recipe, spill=spill, fingerprint=fingerprint)
            return ShardStore(spill.folder, device=device, cache_bytes=spill.limit)
    return SliceStore.of([case for _, case in _let_go(held)], device=device)


def _let_go(held: list[tuple[str, PreparedCase]]) -> Iterator[tuple[str, PreparedCase]]:
    """The cases in order, each out of the list as it comes."""
    held.reverse()
    while held:
        yield held.pop()


def _write(
    cases: Iterable[tuple[str, PreparedCase]], recipe: Recipe, *, spill: Spill, fingerprint: Callable[[], str]
) -> None:
    spill.say(f"the cases take more than {spill.limit / GIB:.3g} GiB: streamed from {spill.folder}")
    failed = spill.folder / "failed"
    if spill.writes:
        try:
            pack(cases, recipe, url=spill.folder, fingerprint=fingerprint)
        except BaseException:
            with suppress(OSError):
                failed.touch()
            raise
    # Not a barrier: that gives up after half an hour.
    while not (spill.folder / INDEX).is_file():
        if failed.exists():
            raise InputError("the first process of this machine could not write the shards", path=spill.folder)
        time.sleep(0.1)


def pack(
    cases: Iterable[tuple[str, PreparedCase]],
    recipe: Recipe,
    *,
    url: str | Path,
    fingerprint: Callable[[], str],
    parts: Mapping[str, str] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ShardIndex:
    """Write cases prepared as the recipe says; see `write_shards`."""
    return write_shards(
        cases,
        url,
        normalisation=recipe.normalisation,
        resize=recipe.resize,
        channel_names=recipe.channel_names,
        fingerprint=fingerprint,
        parts=parts,
        shard_bytes=shard_bytes,
    )
