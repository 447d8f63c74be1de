"""Whose corrections an overlay folder holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_unet_seg.data.correction_log import CorrectionLog
from napari_unet_seg.data.ledger import LOG
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.scan import Scan
from napari_unet_seg.errors import InputError

OWNER = "overlay-of.txt"
"""File with the name of the dataset's folder, its path, and digests of its cases, a line each.

One digest is of the names of the cases, one of where their masks lie in the dataset: a case may be called after folders
above, which are others once it is moved. There was the first alone when cases had their former names.
"""


def sign_overlay(places: Places, scans: Mapping[str, Scan]) -> None:
    """Say in an overlay folder, if there is one, whose corrections it holds, where nothing says so yet.

    OSError if that cannot be written.
    """
    if places.overlay is not None and not (places.state / OWNER).exists():
        lines = (places.folder.name, str(places.folder.resolve()), f"{_digest(scans)} {_digest(_masks(places, scans))}")
        # The name of a folder need not be text.
        (places.state / OWNER).write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")


def check_overlay(places: Places, scans: Mapping[str, Scan]) -> None:
    """Refuse the overlay folder of another dataset.

    One that was moved is known by its cases: there is nothing any more where it was, or a link to it. Where only the
    name of its folder was noted, that counts.

    Raises
    ------
    InputError
        If it holds the corrections of another dataset.
    """
    if places.overlay is None:
        return
    try:
        name, *more = (places.state / OWNER).read_text(encoding="utf-8", errors="surrogatepass").strip().split("\n")
    except (OSError, UnicodeDecodeError):
        return
    folder, digests = more if len(more) == 2 else ("", "")
    if not folder:
        same = name == places.folder.name
    elif folder == str(places.folder.resolve()):
        same = True
    else:
        same = _is_gone_or(Path(folder), places.folder) and _are_cases(digests.split(), places, scans)
    if not same:
        raise InputError(
            f"this folder holds the corrections of another dataset, {folder or name}; choose another one",
            path=places.overlay,
        )


def _are_cases(digests: list[str], places: Places, scans: Mapping[str, Scan]) -> bool:
    if not {_digest(scans), _digest(_masks(places, scans))}.isdisjoint(digests):
        return True
    # Folders of other patients had the same names: it takes masks that were corrected to tell that it is this one.
    return _digest(scan.former_id for scan in scans.values()) in digests and _fits(places, scans)


def _fits(places: Places, scans: Mapping[str, Scan]) -> bool:
    """Whether something was corrected, each of its files is a mask of a scan, and what it holds is of that scan."""
    masks = {places.relative(path): scan for scan in scans.values() for path in scan.mask_paths}
    try:
        corrected = {change.file for line in CorrectionLog(places.state / LOG).lines() for change in line.files}
        if not corrected or not corrected <= masks.keys():
            return False
        for scan in {masks[name].case_id: masks[name] for name in corrected}.values():
            for file in scan.mask_files():
                path = places.source(places.relative(file.path))
                if path is not None:
                    scan.decode_mask(file, path)
    except (InputError, OSError):
        return False
    return True


def _masks(places: Places, scans: Mapping[str, Scan]) -> list[str]:
    """Where the mask of each case begins, or would, and what else it is known by wherever it lies."""
    return [
        "\n".join((scan.former_id, scan.identity, *map(places.relative, scan.mask_paths[:1])))
        for scan in scans.values()
    ]


def _is_gone_or(folder: Path, here: Path) -> bool:
    try:
        return not folder.exists() or folder.samefile(here)
    except OSError:
        return True


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode(errors="surrogatepass")).hexdigest()
