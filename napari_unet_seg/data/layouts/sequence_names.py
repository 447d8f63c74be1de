"""Which files of a folder are the sequences of one scan, and which is its mask, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from napari_unet_seg.data.formats.extensions import is_nifti, split_name
from napari_unet_seg.data.layouts import bids
from napari_unet_seg.data.roles import TITLES, guess_role, role_suffix

_MASK_WORDS = ("seg", "mask", "segm", "segmentation")
_DRAWN = ("tumor", "tumour", "lesion", "label-tumor", "label-lesion")
"""What a mask may show, by its name: ``<scan>_tumor_segmentation``. Others are of the brain, or of its tissues."""


class FileName(NamedTuple):
    """What the name of a file says."""

    name: str
    channel: str
    role: str | None
    prefix: str
    """What stands before the sequence."""

    scan: str
    """The same without what BIDS tells the images of a scan by."""

    of_bids: bool

    @classmethod
    def of(cls, name: str) -> FileName:
        """Take a name apart."""
        stem = split_name(name)[0]
        prefix, channel = role_suffix(stem)
        parsed = bids.BidsName.of(stem)
        scan, channel = (prefix, channel) if parsed is None else (parsed.scan, parsed.sequence)
        return cls(name, channel, guess_role(channel), prefix, scan, parsed is not None)


class ScanNames(NamedTuple):
    """The files of one scan."""

    sequences: Mapping[str, FileName]
    """By role."""

    mask: str
    """``""`` where there is none."""

    prefix: str
    """What the names begin with."""

    scan: str
    """The same without what BIDS tells the images of a scan by."""

    notes: tuple[str, ...]


def names_of_scan(images: Sequence[str], *, among_cases: bool = False) -> ScanNames | None:
    """The scan that a folder's images make up.

    Parameters
    ----------
    images : sequence of str
        Names of all that can be read in it.
    among_cases : bool
        Whether the folders beside it are scans without doubt. If not, a sequence among as many other images may be
        one image of several that have nothing to do with one another.

    Returns
    -------
    ScanNames or None
        None if they are not the sequences of one scan. What is not used is told in the notes.
    """
    shown, masks, strays = _sorted_by_kind(images)
    scan = _scan_of(shown, among_cases=among_cases)
    if scan is None:
        return None
    foreign = [image.name for image in shown if image.scan != scan]
    shown = [image for image in shown if image.scan == scan]
    by_role: dict[str, dict[str, FileName]] = {}
    for image in shown:
        assert image.role is not None
        by_role.setdefault(image.role, {})[image.name] = image
    of_bids = all(image.of_bids for image in shown)
    if len(by_role) == 1 and not among_cases:
        if len(shown) > 1 and not of_bids:
            return None
        if sum(split_name(image.name)[0] in masks for image in shown) > 1:
            # One sequence, and several files of it that somebody has drawn on: each of them is a case.
            return None
    chosen = bids.choose({role: list(files) for role, files in by_role.items()}, masked=list(masks))
    prefix = shown[0].prefix if len({image.prefix for image in shown}) == 1 else scan
    # A mask drawn on FLAIR is often named after its file.
    named = [prefix, scan, *([split_name(chosen["flair"])[0]] if "flair" in chosen else [])]
    heads = [*named, *(head for head in sorted(masks) if role_suffix(head) == (prefix, "flair"))]
    heads += ["_".join(filter(None, [head, word])) for head in (prefix, scan) for word in _DRAWN]
    *others, mask = next((masks.pop(head) for head in heads if head in masks), [""])
    notes = [f"{', '.join(others)} not used: {mask} is the mask"] if others else []
    if not mask and len(by_role) > 1 and (mask := _named_otherwise(masks, scan)):
        masks.clear()
        notes.append(f"{mask} is taken for the mask, though its name begins otherwise")
    ignored = [*strays, *foreign, *(name for names in masks.values() for name in names)]
    others = [name for name in ignored if not name.startswith(scan) or not is_nifti(name)]
    if not among_cases and (len(others) >= len(by_role) or (ignored and len(by_role) == 1 and not of_bids)):
        # One sequence among files of other names is no case: each of them is.
        return None
    if foreign:
        notes.insert(0, f"{', '.join(foreign)} not used: the other names begin with {scan}")
    if unknown := sorted({*ignored} - {*foreign}):
        notes.insert(0, f"{', '.join(unknown)} not used: the name is of no sequence")
    for role, files in by_role.items():
        if left := [name for name in files if name != chosen[role]]:
            notes.append(f"{', '.join(left)} not used: {chosen[role]} is taken for {TITLES[role]}")
    sequences = {role: by_role[role][name] for role, name in chosen.items()}
    return ScanNames(sequences, mask, prefix, scan, tuple(notes))


def scans_among(images: Sequence[str]) -> list[str]:
    """What the names begin with of which there are several sequences."""
    roles: dict[str, set[str | None]] = {}
    for image in _sorted_by_kind(images)[0]:
        roles.setdefault(image.scan, set()).add(image.role)
    return sorted(scan for scan, shown in roles.items() if len(shown) > 1)


def _sorted_by_kind(images: Sequence[str]) -> tuple[list[FileName], dict[str, list[str]], list[str]]:
    """The sequences, the masks by what their names begin with, and the rest."""
    shown: list[FileName] = []
    masks: dict[str, list[str]] = {}
    strays: list[str] = []
    for name in images:
        image = FileName.of(name)
        head, word = _last_word(split_name(name)[0])
        if not is_nifti(name):
            strays.append(name)
        elif image.role is not None:
            shown.append(image)
        elif word in _MASK_WORDS:
            masks.setdefault(head, []).append(name)
        else:
            strays.append(name)
    return shown, masks, strays


def _scan_of(shown: Sequence[FileName], *, among_cases: bool) -> str | None:
    """What the names of the scan's sequences begin with; None where that leaves several scans, or none."""
    scans = {image.scan for image in shown}
    if len(scans) > 1 and among_cases:
        # A sequence of another name is a slip of the pen, or another scan's.
        scans = set(scans_among([image.name for image in shown]))
    return scans.pop() if len(scans) == 1 else None


def _named_otherwise(masks: Mapping[str, list[str]], scan: str) -> str:
    """The one segmentation of another name, as a case of BraTS 2020 has it; ``""`` where there is none, or several."""
    names = [(head, name) for head, alike in masks.items() for name in alike]
    if len(names) != 1:
        return ""
    ((head, name),) = names
    mine = head.startswith(scan) or "brain" in head.lower() or _last_word(split_name(name)[0])[1] == "mask"
    return "" if mine else name


def _last_word(stem: str) -> tuple[str, str]:
    """Stem without its last word, and that word in lower case."""
    for separator in "_-. ":
        head, found, word = stem.rpartition(separator)
        if found and word.lower() in _MASK_WORDS:
            return head, word.lower()
    return "", stem.lower()
