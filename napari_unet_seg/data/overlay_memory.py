"""Which folder the corrections of a read-only dataset went to: they are to be there when it is opened again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.model_files import user_folder
from napari_unet_seg.errors import InputError

_FILE = "overlays.json"
_MOST = 500
"""Datasets that are remembered; of more, those chosen for longest ago are forgotten."""


def remember_overlay(root: Path, overlay: Path) -> None:
    """Note the overlay folder that was chosen for a dataset; where that cannot be written, it is asked for again."""
    known = _read()
    known.pop(_key(root), None)
    known[_key(root)] = str(overlay.absolute())
    text = json.dumps(dict(list(known.items())[-_MOST:]), indent=1)
    with suppress(InputError):
        write_bytes(user_folder() / _FILE, text.encode())


def remembered_overlay(root: Path) -> Path | None:
    """The folder that was chosen last for a dataset, if it is there; None otherwise."""
    found = _read().get(_key(root))
    try:
        return Path(found) if found is not None and Path(found).is_dir() else None
    except OSError:
        return None


def _key(root: Path) -> str:
    return str(root.resolve())


def _read() -> dict[str, str]:
    try:
        known = json.loads((user_folder() / _FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in known.items()} if isinstance(known, dict) else {}
