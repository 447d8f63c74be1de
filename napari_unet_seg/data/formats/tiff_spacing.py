"""Millimetres from the tags and the metadata of a TIFF."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MM_PER_UNIT = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "millimeters": 1.0,
    "cm": 10.0, "centimeter": 10.0, "m": 1000.0, "meter": 1000.0,
    "µm": 1e-3, "\u03bcm": 1e-3, "um": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "nm": 1e-6, "inch": 25.4, "in": 25.4,
}  # fmt: skip

PRINT_RESOLUTIONS = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 300, 360, 400, 600, 720, 1200)
"""Pixels per inch that programs write when they know of no size: 72 from MATLAB, so in the public LGG dataset."""

PLAUSIBLE_MM = (0.01, 100.0)

Spacing = tuple[float | None, float | None, float | None]
"""``(z, y, x)`` in mm, None where the file does not say."""


def plausible(length: float | None) -> float | None:
    """The length in mm if a scan can have it as spacing, else None."""
    low, high = PLAUSIBLE_MM
    return length if length is not None and math.isfinite(length) and low <= length <= high else None


def from_tags(*, x_resolution: float, y_resolution: float, unit: int, metadata: Mapping[str, Any]) -> Spacing:
    """Spacing from the resolution tags with the unit and slice distance of ImageJ's description.

    Parameters
    ----------
    x_resolution, y_resolution : float
        Pixels per unit; 0 where the tag is missing.
    unit : int
        The ResolutionUnit tag: 1 none, 2 inch, 3 centimetre.
    metadata : Mapping
        ``unit`` and ``spacing`` (distance of slices in that unit), if given.
    """
    named = MM_PER_UNIT.get(str(metadata.get("unit", "")).strip().lower())
    scale = named
    if scale is None and unit == 3:
        scale = 10.0
    if scale is None and unit == 2 and round(x_resolution, 2) not in PRINT_RESOLUTIONS:
        scale = 25.4

    def length(pixels: float) -> float | None:
        return plausible(scale / pixels) if scale is not None and pixels > 0 else None

    try:
        z = plausible(abs(float(metadata["spacing"])) * named) if named is not None else None
    except (KeyError, TypeError, ValueError):
        z = None
    return z, length(y_resolution), length(x_resolution)


def from_ome(pixels: Mapping[str, Any]) -> Spacing:
    """Spacing from the attributes of OME's ``Pixels``; its default unit is the micrometre."""

    def length(axis: str) -> float | None:
        scale = MM_PER_UNIT.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).strip().lower())
        try:
            return plausible(float(pixels[f"PhysicalSize{axis}"]) * scale) if scale is not None else None
        except (KeyError, TypeError, ValueError):
            return None

    return length("Z"), length("Y"), length("X")
