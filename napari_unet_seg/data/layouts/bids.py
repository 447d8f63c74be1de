"""Names as BIDS has them: ``sub-01/ses-1/anat/sub-01_ses-1_acq-tra_run-2_FLAIR``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_unet_seg.data.formats.extensions import split_name
from napari_unet_seg.data.roles import role_suffix
from napari_unet_seg.data.scan import natural_key

_NAME = re.compile(
    r"(?P<scan>sub-[^_]+(?:_ses-[^_]+)?)(?P<entities>(?:_[a-z0-9]+-[^_]+)*)_(?P<suffix>[a-z0-9]+)", re.IGNORECASE
)
_SUBJECT = re.compile(r"sub-[^_]+", re.IGNORECASE)
_SESSION = re.compile(r"(?<=_)ses-[^_]+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class BidsName:
    """What the name of a file says."""

    scan: str
    """Subject and session: ``sub-01_ses-1``."""

    entities: frozenset[str]
    """What else tells it from other images of the scan: ``acq-tra``, ``run-2``. A contrast agent is the sequence's."""

    sequence: str
    """What stands for the sequence, in lower case: ``ce-gadolinium_t1w``; ``""`` for no known one."""

    @classmethod
    def of(cls, stem: str) -> BidsName | None:
        """Take a file's stem apart; None for a name that is not of BIDS."""
        match = _NAME.fullmatch(stem)
        if match is None:
            return None
        entities = match["entities"].lower().split("_")[1:]
        contrast = [each for each in entities if each.startswith("ce-")]
        # Some say in acq- that the agent had been given: acq-post_T1w.
        acquired = [each for each in entities if each.startswith("acq-")]
        _, sequence = role_suffix("_".join([match["scan"], *acquired, *contrast, match["suffix"].lower()]))
        if sequence and contrast and contrast[0] not in sequence:
            sequence = f"{contrast[0]}_{match['suffix'].lower()}"
        return cls(scan=match["scan"], entities=frozenset(entities) - set(contrast), sequence=sequence)


def choose(files: Mapping[str, Sequence[str]], *, masked: Sequence[str]) -> dict[str, str]:
    """The file to use of several that show the same sequence.

    It is the one with a mask of its own, then the one whose entities most of the sequences have a file of, then that
    with the fewest entities, then the first by name: ``run-1``, and not what is ``rec-norm`` or in another space.

    Parameters
    ----------
    files : mapping
        Names of the files of each role.
    masked : sequence of str
        Stems of those that a mask is named after.
    """
    entities = {name: _entities(name) for names in files.values() for name in names}

    def rank(name: str) -> tuple[object, ...]:
        alike = sum(any(entities[other] == entities[name] for other in names) for names in files.values())
        return split_name(name)[0] not in masked, -alike, len(entities[name]), natural_key(name)

    return {role: min(names, key=rank) for role, names in files.items()}


def scan_name(folder: Path, scan: str) -> str:
    """What a case is called whose images lie in a folder, whichever folder above was opened.

    Parameters
    ----------
    folder : Path
        Absolute. Where it is that of a session, or of a kind of images, it names no case by itself.
    scan : str
        What the names of the images begin with.

    Returns
    -------
    str
        ``sub-01`` or ``sub-01_ses-1``; elsewhere than in BIDS the name of the folder.
    """
    home = folder.parent if folder.name.lower() == "anat" else folder
    of_session = home.name.lower().startswith("ses-")
    session = _SESSION.search(scan)
    words = [session[0] if session else home.name if of_session else ""]
    home = home.parent if of_session else home
    if home == folder or not home.name:
        return folder.name
    subject = _SUBJECT.match(scan)
    return "_".join(filter(None, [subject[0] if subject else home.name, *words]))


def _entities(name: str) -> frozenset[str]:
    parsed = BidsName.of(split_name(name)[0])
    return parsed.entities if parsed is not None else frozenset()
