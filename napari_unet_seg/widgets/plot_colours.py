"""The colours of a plot in napari's theme; apart from the plot, whose library is loaded with the first round."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet_seg.widgets.contrast import Rgb, part_of_theme, readable_part


@dataclass(frozen=True, kw_only=True)
class PlotColours:
    """The colour of each part of a round's curves."""

    background: Rgb
    text: Rgb
    axis: Rgb
    dice: Rgb
    loss: Rgb

    @classmethod
    def of_theme(cls, name: str) -> PlotColours:
        """Those that can be read in one of napari's themes."""
        return cls(
            background=part_of_theme(name, "background"),
            text=part_of_theme(name, "text"),
            axis=part_of_theme(name, "secondary"),
            dice=readable_part(name, "current"),
            loss=readable_part(name, "warning"),
        )
