"""What was corrected in a dataset itself after an overlay folder had got its copy of the same file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_unet_seg.data.correction_log import Correction


def find_hidden(
    lower: Sequence[Correction], own: Sequence[Correction], *, has_copy: Callable[[str], bool]
) -> dict[int, set[str]]:
    """Find the lines of the dataset's logs that a copy in the overlay folder was made before.

    Such a copy holds all slices of its file. What the dataset's own file became since is not in it, whatever the
    dataset's log says.

    Parameters
    ----------
    lower : sequence of Correction
        Of the dataset, oldest first.
    own : sequence of Correction
        Of the overlay folder, oldest first.
    has_copy : callable
        Whether the overlay folder holds a file now.

    Returns
    -------
    dict of int to set of str
        By place in `lower`: the files of that line that are hidden.
    """
    changes: dict[str, list[int]] = {}
    for place, line in enumerate(lower):
        for change in line.files:
            changes.setdefault(change.file, []).append(place)
    hidden: dict[int, set[str]] = {}
    for file in sorted({change.file for line in own for change in line.files} & changes.keys()):
        if has_copy(file):
            for place in _since_copied(file, [(place, lower[place]) for place in changes[file]], own):
                hidden.setdefault(place, set()).add(file)
    return hidden


def _since_copied(file: str, lower: Sequence[tuple[int, Correction]], own: Sequence[Correction]) -> list[int]:
    """The places of the lines about a file that its copy was made before."""
    states: list[str | None] = []
    for _, line in lower:
        (change,) = [change for change in line.files if change.file == file][-1:]
        states += [change.after] if states else [change.before, change.after]
    written = [
        (line.time, change.before)
        for line in own
        for change in line.files
        if change.file == file and change.before != change.after
    ]
    for _, before in reversed(written):
        # The newest that found a content of the dataset's began the copy; later ones found the copy.
        if before in states:
            taken = len(states) - 1 - states[::-1].index(before)
            return [place for place, _ in lower[taken:]]
    # It began with what another program had put there: the clocks are left to go by.
    return [place for place, line in lower if written and line.time > written[0][0]]
