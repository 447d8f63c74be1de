"""Logs of the same masks that were kept while a folder above, or one inside, was open as a dataset by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from napari_unet_seg.data.ledger import LOG
from napari_unet_seg.data.overlay import STATE
from napari_unet_seg.errors import reason

LEVELS_UP = 6
"""How far above a folder a dataset may be opened that the folder is part of: as deep as DICOM series are looked for."""


def nested_states(folder: Path, masks: Iterable[Path], *, notes: list[str]) -> tuple[Path, ...]:
    """The folders ``.unetseg`` with a log, besides that of the dataset itself.

    Parameters
    ----------
    folder : Path
        Of the dataset, absolute.
    masks : iterable of Path
        Where its masks lie, or would lie.
    notes : list of str
        Gets a note for each log that cannot be read, which is left out then.
    """
    inside: set[Path] = set()
    for parent in {mask.parent for mask in masks}:
        # Links stay: it is by such a path that the folder is opened.
        home = Path(os.path.abspath(parent))  # noqa: PTH100
        while home.is_relative_to(folder) and home != folder and home not in inside:
            inside.add(home)
            home = home.parent
    found: list[Path] = []
    for home in (*islice(folder.parents, LEVELS_UP), *sorted(inside)):
        log = home / STATE / LOG
        try:
            with log.open("rb"):
                found.append(log.parent)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            notes.append(f"{log} may tell of corrections of these masks, and cannot be read ({reason(error)})")
    return tuple(found)
