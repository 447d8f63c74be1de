"""What a command says of its input besides what it does: what was repaired, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_unet_seg.commands.status import OK, report_problem

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Dataset
    from napari_unet_seg.data.volume import Volume
    from napari_unet_seg.engine.checkpoint import Description


def print_dataset_notes(dataset: Dataset) -> int:
    """Print a line for each thing that was found when the dataset was opened.

    Returns
    -------
    int
        The least exit status that the command may end with: a folder that cannot be opened is at fault, as a case is
        that cannot be used.
    """
    for note in dataset.repair_notes:
        print(f"note: {note}", flush=True)
    return max(map(report_problem, dataset.unread), default=OK)


def print_case_notes(case: str, notes: Sequence[str]) -> None:
    """Print a line with what had to be assumed of a case, if anything was.

    Parameters
    ----------
    case : str
        Its name.
    notes : sequence of str
        As `Volume.notes`. That voxels are taken as 1 mm is left out: it stands beside the millimetres and millilitres
        that follow from it, and where none are printed, a line for each of a hundred cases would hide the others.
    """
    from napari_unet_seg.data.volume import ASSUMED_SIZE

    told = [note for note in notes if not note.endswith(ASSUMED_SIZE)]
    if told:
        print(f"note: {case}: {'; '.join(told)}", flush=True)


def print_model_notes(description: Description) -> None:
    """Print what a user must know of a model before its masks are believed."""
    if description.adapted_to is not None:
        print(f"note: model {description.name} was adapted to the scan {description.adapted_to}; use it for that alone")


def notes_for_model(volume: Volume, wanted: Sequence[str]) -> tuple[str, ...]:
    """What was assumed to read a scan, and to make the channels of it that a model wants."""
    from napari_unet_seg.data.roles import channel_order

    _, assumed = channel_order(volume, wanted)
    return (*volume.notes, *assumed)
