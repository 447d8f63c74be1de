"""One training shared out among processes: each takes its part of every batch, and all take the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn

from napari_unet_seg.engine.sampling import Part

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_Told = TypeVar("_Told")


class Processes:
    """The processes that train together; without a fabric this one alone.

    The loss is that of the whole batch in every process: a Dice over all pixels of a batch is no mean over its parts.

    Parameters
    ----------
    fabric : Fabric, optional
        Launched, with the strategy "ddp".
    """

    def __init__(self, fabric: Fabric | None = None) -> None:
        self._fabric = fabric if fabric is not None and fabric.world_size > 1 else None
        self.count = self._fabric.world_size if self._fabric is not None else 1
        self.rank = self._fabric.global_rank if self._fabric is not None else 0

    def wrap(self, learner: nn.Module, *, synchronise: bool) -> nn.Module:
        """What to call in place of the learner, which keeps the weights: it averages gradients over the processes.

        Parameters
        ----------
        learner : nn.Module
            On its device, with the same weights in every process.
        synchronise : bool
            Have batch normalisation count the whole batch. That works on CUDA alone: on a CPU every process normalises
            its own part, and the statistics kept are those of the first one.
        """
        if self._fabric is None:
            return learner
        if synchronise and self._fabric.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]
        wrapped: nn.Module = self._fabric.setup_module(learner, move_to_device=False)
        return wrapped

    def part(self, count: int) -> Part:
        """Its own part of a batch; where that is too small for all, the first sample, which `whole` leaves out."""
        if self._fabric is None:
            return Part(count)
        sizes = self._sizes(count)
        start, size = sum(sizes[: self.rank]), sizes[self.rank]
        return Part(count, slice(start, start + size) if size else slice(1))

    def own(self, batch: Tensor) -> Tensor:
        """Of a batch ``(B, ...)``, what belongs to the samples of its own `part`."""
        return batch[self.part(len(batch)).rows]

    def whole(self, part: Tensor, *, count: int) -> Tensor:
        """The parts of all processes put together, ``(count, ...)``; this one's own carries the gradient."""
        if self._fabric is None:
            return part
        parts = self._parts(part, count=count)
        parts[self.rank] = part[: len(parts[self.rank])]
        # A process without a sample of its own must take part in the backward pass all the same.
        return torch.cat(parts) + 0 * part.sum()

    def whole_targets(self, part: Tensor, *, count: int) -> Tensor:
        """As `whole`, of what carries no gradient; the same to the last bit in every process."""
        return part if self._fabric is None else torch.cat(self._parts(part, count=count))

    def backward(self, loss: Tensor, penalty: Tensor | None = None) -> None:
        """Gradients of the loss of the whole batch, and of a penalty that depends on the weights alone."""
        # The mean over processes of the gradients of their parts is the gradient of the whole, divided by their number.
        total = loss if self._fabric is None else self.count * loss
        if penalty is not None:
            total = total + penalty
        if self._fabric is None:
            torch.autograd.backward(total)
        else:
            self._fabric.backward(total)

    def agree(self, wanted: bool) -> bool:
        """Whether any process wants it."""
        if self._fabric is None:
            return wanted
        return bool(self.gather(torch.tensor(float(wanted))).any())

    def from_first(self, value: _Told) -> _Told:
        """The first process' value."""
        return value if self._fabric is None else self._fabric.broadcast(value, src=0)

    def gather(self, value: Tensor) -> Tensor:
        """The values of all processes, ``(processes, ...)``, on the CPU."""
        if self._fabric is None:
            return value[None]
        return torch.stack(self._gather(value.to(self._fabric.device))).cpu()

    def _sizes(self, count: int) -> list[int]:
        """Samples of each process' part of a batch; the largest part is the first one's."""
        return [len(one) for one in torch.arange(count).tensor_split(self.count)]

    def _parts(self, part: Tensor, *, count: int) -> list[Tensor]:
        """The part of every process, without the sample that stands in for an empty one, and without a gradient."""
        sizes = self._sizes(count)
        own = part[: sizes[self.rank]].detach()
        # All have to send as much.
        padded = own.new_zeros((sizes[0], *own.shape[1:]))
        padded[: len(own)] = own
        return [one[:size] for one, size in zip(self._gather(padded), sizes, strict=True)]

    def _gather(self, value: Tensor) -> list[Tensor]:
        # Not fabric.all_gather: that one goes through a function which torch 2.13 warns of.
        found = [torch.empty_like(value) for _ in range(self.count)]
        torch.distributed.all_gather(found, value.contiguous())
        return found
