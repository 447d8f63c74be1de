"""The colours of labels: of those that most datasets have, chosen; of all others, worked out."""

from __future__ import annotations

from colorsys import hls_to_rgb

from napari.utils.colormaps import DirectLabelColormap, direct_colormap

_SEGMENTATION = ("#ff4d5a", "#ffb000", "#4da6ff", "#c77dff")
_GROUND_TRUTH = ("#3ddc84", "#d8f25c", "#00c2c7", "#9aa8ff")
"""Of the labels 1 to 4, which most datasets end with."""
_BEYOND = "#f5f0e6"
"""Of labels above `LAST_LABEL`."""
LAST_LABEL = 255
"""The highest that a mask is saved with."""

_TURN = (5**0.5 - 1) / 2
"""The golden section: by steps of it, hues that follow one another lie far apart, however many there are."""
_LIGHTNESS = (0.6, 0.75, 0.45)


def segmentation_colormap() -> DirectLabelColormap:
    """The colours of a mask that is being made."""
    return _colormap(_SEGMENTATION, hue=0.8)


def ground_truth_colormap() -> DirectLabelColormap:
    """The colours of the mask that a case came with."""
    return _colormap(_GROUND_TRUTH, hue=0.92)


def _colormap(chosen: tuple[str, ...], *, hue: float) -> DirectLabelColormap:
    """The chosen colours and others, counted from a hue at which the next ones are far from the chosen ones too."""
    of_labels: dict[int | None, str] = {None: _BEYOND, 0: "transparent"}
    of_labels.update(enumerate(chosen, start=1))
    of_labels.update((label, _colour_of(label, hue=hue)) for label in range(len(chosen) + 1, LAST_LABEL + 1))
    return direct_colormap(of_labels)


def _colour_of(label: int, *, hue: float) -> str:
    red, green, blue = hls_to_rgb((hue + label * _TURN) % 1, _LIGHTNESS[label % len(_LIGHTNESS)], 0.85)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
