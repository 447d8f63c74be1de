"""The colours of a plot in napari's theme; apart from the plot, whose library is loaded with the first round."""

from __future__ import annotations

from dataclasses import dataclass

from napari.utils.theme import get_theme

from napari_unet_seg.widgets.contrast import readable

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


@dataclass(frozen=True, kw_only=True)
class PlotColours:
    """The colour of each part of a round's curves."""

    background: Colour
    text: Colour
    axis: Colour
    dice: Colour
    loss: Colour

    @classmethod
    def of_theme(cls, name: str) -> PlotColours:
        """Those that can be read in one of napari's themes."""
        theme = get_theme(name)

        def part(which: str) -> Colour:
            red, green, blue = (int(value) for value in getattr(theme, which).as_rgb_tuple()[:3])
            return red, green, blue

        text, background = part("text"), part("background")
        return cls(
            background=background,
            text=text,
            axis=part("secondary"),
            dice=readable(part("current"), text, background),
            loss=readable(part("warning"), text, background),
        )
