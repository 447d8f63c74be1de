"""What a run or a command found, as a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_unet_seg.data.report_file import write_report_file


def finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None for those that are no number, or without end."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def save_json(path: Path | None, value: Any) -> None:
    """Write what a command found, whole or not at all; nowhere, where no file was asked for.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    if path is not None:
        write_report_file(path, json.dumps(value, indent=1) + "\n")
