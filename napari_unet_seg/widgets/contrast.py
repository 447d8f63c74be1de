"""Colours that can be read."""

from __future__ import annotations

from napari.utils.theme import get_theme

Colour = tuple[float, ...]
Rgb = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


def part_of_theme(theme: str, part: str) -> Rgb:
    """The colour that one of napari's themes has for a part of it: red, green and blue, 0 to 255."""
    red, green, blue = (int(value) for value in getattr(get_theme(theme), part).as_rgb_tuple()[:3])
    return red, green, blue


def readable_part(theme: str, part: str) -> Rgb:
    """The same, as `readable` on the theme's background."""
    return readable(part_of_theme(theme, part), part_of_theme(theme, "text"), part_of_theme(theme, "background"))


def readable(colour: Colour, text: Colour, background: Colour) -> Rgb:
    """A colour, mixed with the text's just so far that it can be read: a contrast of 4.5, as the WCAG has it.

    napari's dark theme has an error colour that is meant to lie behind text.

    Parameters
    ----------
    colour, text, background : tuple of float
        Red, green and blue, 0 to 255.

    Returns
    -------
    tuple of int
        Red, green and blue, 0 to 255.
    """
    mixed = colour
    for step in range(21):
        mixed = tuple(c + (t - c) * step / 20 for c, t in zip(colour, text, strict=True))
        low, high = sorted((_luminance(mixed), _luminance(background)))
        if (high + 0.05) / (low + 0.05) >= 4.5:
            break
    red, green, blue = (round(value) for value in mixed)
    return red, green, blue


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2)."""
    shares = [c / 255 for c in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
