"""What the help of a command says of options that may be left out, where the value they have then is no word for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from napari_unet_seg.errors import InputError

OptionalText = Annotated[str | None, arg(help_behavior_hint="(optional)")]
OptionalPath = Annotated[Path | None, arg(help_behavior_hint="(optional)")]


def check_overlay_there(overlay: Path | None) -> None:
    """Raise InputError for a folder of corrections that is not there: without them, masks would be read uncorrected.

    A command only reads it; it is the first save that makes one.
    """
    if overlay is not None and not overlay.expanduser().exists():
        raise InputError(
            "there is no such folder; give --overlay the folder with the corrections, or leave it out", path=overlay
        )
