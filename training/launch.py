"""The processes that a run is shared out among."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed

from napari_unet_seg.engine.device import usable_cores
from napari_unet_seg.errors import InputError, SegmentationError
from napari_unet_seg.wording import counted

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PATIENCE = timedelta(days=1)
"""How long processes wait for one another: while the first one validates, or packs, the others have nothing to do. One
that dies is seen by what has launched it."""


@contextmanager
def launched() -> Iterator[Fabric | None]:
    """The fabric of this process under ``torchrun`` or ``srun``, connected to the others; None where it is alone.

    Every process has a graphics card of its own where there are any, by its number on its machine; on a CPU they
    talk through gloo.

    Raises
    ------
    InputError
        If there are graphics cards, but fewer in sight than processes on the machine, or if SLURM was not told how many
        processes each machine is to have.
    SegmentationError
        If another process has ended in the middle: torchrun ends this one then, srun leaves it to itself.
    """
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        world, here = int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
    elif "SLURM_PROCID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        world = int(environment.get("SLURM_NTASKS", 1))
        if world > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
            # Without it SLURM may give each machine another number of them, which Fabric does not know how to count.
            raise InputError(f"give srun --ntasks-per-node, the processes of each machine, not --ntasks={world}")
        here = world // int(environment.get("SLURM_NNODES", 1))
    else:
        world = here = 1
    if world == 1:
        yield None
        return
    cards = torch.cuda.device_count() if torch.cuda.is_available() else here
    if cards < here:
        # Fabric would take a card that is not there.
        seen = counted(cards, "graphics card")
        raise InputError(
            f"{here} processes on this machine, and each sees {seen}: start one for each card, and "
            "let all see all of them (srun --gpus-per-node, not --gpus-per-task); CUDA_VISIBLE_DEVICES= for the CPU"
        )
    # Imported here: it takes seconds.
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if environment.get("GROUP_WORLD_SIZE") == "1" and "TORCHELASTIC_RUN_ID" in environment:
        _meet(rank=int(environment["RANK"]), world=world)
    fabric = Fabric(
        accelerator=accelerator, devices=here, num_nodes=world // here, strategy=DDPStrategy(timeout=_PATIENCE)
    )
    fabric.launch()
    try:
        yield fabric
    except RuntimeError as error:
        # Gloo's errors have no class of their own.
        if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
            raise
        problem = "another process of this training has ended, or cannot be reached any more"
        raise SegmentationError(f"{problem}; see what it said, then go on with --resume") from error
    finally:
        torch.distributed.destroy_process_group()


def _meet(*, rank: int, world: int) -> None:
    """Connect the processes of one machine through torchrun's store, apart from what those before a restart left there.

    Left to itself, torch 2.13 has new processes connect to the addresses of the dead ones (pytorch issue 135712). On
    several machines the number of the restart is not the same everywhere; there,
    ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` before torchrun does it.
    """
    from torch.distributed import PrefixStore, TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    torch.distributed.init_process_group(
        backend="nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore(f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=rank,
        world_size=world,
        timeout=_PATIENCE,
    )


def restarted() -> bool:
    """Whether torchrun has started this process again after one of them failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def default_threads() -> int:
    """CPU threads of each process: torchrun's share out the cores that they all may use; SLURM gives each its own."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
