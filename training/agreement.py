"""Whether the fast way to predict gives the masks of the plain one.

``python -m training.agreement DATA [--model MODEL] [--device D] [--precision P] [--every N] [--json FILE]``

The plain way is the network as it was trained, in float32, channels first, on whole slices, one batch after another.
The fast way is `Segmenter`: head cut out, batch normalisation folded, channels last, the device's number format, slices
side by side. For every case both masks are compared, after everything behind the network. The exit status is 1 where
more than one pixel of a thousand differs, or the volume Dice with the ground truth differs by more than 0.002; it is 2
where a case cannot be read, which is named and left out.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_unet_seg.commands.status import report_case
from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.roles import arrange_channels
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.normalise import CLIP, statistics_for
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.engine.working_grid import to_working_grid
from napari_unet_seg.errors import InputError, SegmentationError
from napari_unet_seg.wording import counted
from training.command_line import command, command_parser, positive_int, report_file
from training.json_file import save_json
from training.whole_dataset import open_whole

EQUAL = 0.999
"""Share of equal pixels from which two ways to predict count as one."""

DICE = 0.002
"""By how much the Dice with the ground truth may differ."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two masks of a case are."""

    case: str
    equal: float
    """Share of pixels with the same label."""

    dice: float
    """Volume Dice between the two masks."""

    change: float | None = None
    """Volume Dice with the ground truth, against that of the mask it is compared with; None without a ground truth."""

    @property
    def holds(self) -> bool:
        """Whether they count as one."""
        return self.equal >= EQUAL and abs(self.change or 0.0) <= DICE


def agreement(case: str, mask: Mask, expected: Mask, truth: Mask | None = None) -> Agreement:
    """Compare a mask ``(Z, Y, X)`` with the one it should be."""
    change = None if truth is None else count(mask, truth).dice - count(expected, truth).dice
    return Agreement(case=case, equal=float((mask == expected).mean()), dice=count(mask, expected).dice, change=change)


@torch.inference_mode()
def plain_probability(network: Network, description: Description, volume: Volume) -> NDArray[np.float32]:
    """Predict as one writes it: whole slices, float32, a batch of eight after another.

    Parameters
    ----------
    network : Network
        In evaluation mode, on the CPU.
    description : Description
        What its checkpoint says.
    volume : Volume
        Any that `Segmenter.predict` takes.

    Returns
    -------
    ndarray
        As `Segmenter.predict` returns it.
    """
    arranged, _ = arrange_channels(volume, description.channel_names)
    statistics = statistics_for(arranged.data, description.normalisation)[:, :, None, None, None]
    if description.resize is None:
        arranged, _ = to_working_grid(arranged, np.zeros(arranged.shape, np.float32))
    # Resized first and normalised then: the same, as both are linear.
    image = torch.from_numpy((arranged.data.astype(np.float32) - statistics[:, 0]) / statistics[:, 1]).swapaxes(0, 1)
    if description.resize is not None:
        image = functional.interpolate(image, size=description.resize, mode="bilinear", antialias=True)
    image = image.clamp(-CLIP, CLIP)
    depth, context = len(image), description.network.context
    found = []
    for first in range(0, depth, 8):
        slices = torch.arange(first, min(first + 8, depth))
        around = [image[(slices + offset).clamp(0, depth - 1)] for offset in range(-context, context + 1)]
        logits = network(torch.cat(around, dim=1))
        found.append(logits.sigmoid())
    probability = torch.cat(found)
    if probability.shape[-2:] != volume.shape[1:]:
        probability = functional.interpolate(probability, size=volume.shape[1:], mode="bilinear")
    result: NDArray[np.float32] = probability.swapaxes(0, 1).numpy()
    return result[0] if len(result) == 1 else result


def compare(
    network: Network,
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    every: int = 1,
    problems: list[int] | None = None,
) -> Iterator[Agreement]:
    """Predict cases both ways, and compare the masks.

    Parameters
    ----------
    network : Network
        In evaluation mode, on the CPU.
    segmenter : Segmenter
        Made of it.
    dataset : Dataset
        Its cases need no masks.
    every : int
        The first case of so many.
    problems : list of int, optional
        As of `case_by_case`.
    """

    def both_ways(case: Case) -> Agreement:
        volume, truth = case.read_image(), case.read_mask()
        case.check_mask()
        expected = segmenter.mask(plain_probability(network, segmenter.description, volume))
        return agreement(case.case_id, segmenter.mask(segmenter.predict(volume)), expected, truth)

    return case_by_case(dataset.cases[::every], both_ways, problems=problems)


def case_by_case(
    cases: Iterable[Case],
    one: Callable[[Case], Agreement],
    *,
    problems: list[int] | None = None,
) -> Iterator[Agreement]:
    """Compare case by case; one that cannot be used, or that the computation fails on, leaves the others.

    Parameters
    ----------
    cases : iterable of Case
    one : callable
        Compares the masks of a case.
    problems : list of int, optional
        Takes the exit status of each case that came to nothing, which is told in a line; without it the first one
        raises.
    """
    for case in cases:
        try:
            found = one(case)
        except (InputError, SegmentationError, MemoryError) as error:
            if problems is None:
                raise
            problems.append(report_case(error, case=case.case_id, work="comparing"))
            continue
        yield found


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.agreement", __doc__)
    parser.add_argument("data", type=Path, help="a dataset")
    parser.add_argument("--model", default="default", help="a model's name, or a .safetensors file")
    parser.add_argument("--device", default="auto", help="of the fast way (default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="of the fast way (default: the device's)")
    parser.add_argument("--every", type=positive_int, default=1, metavar="N", help="the first case of N (default: all)")
    parser.add_argument("--json", type=report_file, help="write the figures to this file as well")
    given = parser.parse_args(arguments)
    precision = None if given.precision is None else getattr(torch, given.precision)
    found: list[Agreement] = []
    problems: list[int] = []
    network, description = load_checkpoint(Registry().path(given.model))
    segmenter = Segmenter(network, description, device=given.device, precision=precision)
    for each in compare(network, segmenter, open_whole(given.data), every=given.every, problems=problems):
        change = "" if each.change is None else f", Dice with the ground truth {each.change:+.6f}"
        print(f"{each.case}: {each.equal:.6%} of the pixels equal{change}", flush=True)
        found.append(each)
    if not found:
        print(f"{given.data}: no case to compare", file=sys.stderr)
        return 2
    change = max(abs(each.change or 0.0) for each in found)
    print(
        f"{counted(len(found), 'case')}, {segmenter.device_note}: at least "
        f"{min(each.equal for each in found):.6%} of the pixels equal, "
        f"Dice with the ground truth changed by at most {change:.6f}"
    )
    save_json(given.json, [dataclasses.asdict(each) for each in found])
    return max([int(not all(each.holds for each in found)), *problems])


if __name__ == "__main__":
    sys.exit(main())
