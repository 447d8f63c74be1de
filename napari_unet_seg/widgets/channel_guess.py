"""Which open image is which sequence, by name."""

from __future__ import annotations

from collections.abc import Sequence

from napari_unet_seg.data.roles import ROLES, TITLES, guess_role
from napari_unet_seg.widgets.layers import ImageSource


def title_of(role: str) -> str:
    """A channel name as the user reads it."""
    return TITLES.get(role, role)


def guess_sources(wanted: Sequence[str], sources: Sequence[ImageSource]) -> tuple[dict[str, ImageSource], str]:
    """The likeliest open image for each channel a model wants.

    Parameters
    ----------
    wanted : sequence of str
        Channel names of the model.
    sources : sequence of ImageSource
        What is open; of two that fit, the earlier one is taken.

    Returns
    -------
    chosen : dict
        Channel name to source; channels for which nothing fits are left out.
    note : str
        What should be checked by the user; empty where names told everything.
    """
    chosen: dict[str, ImageSource] = {}
    for source in sources:
        # A component has no name of its own: its layer's would give all of them the same role.
        role = None if source.component is not None else _role(source.layer.name, wanted)
        if role is not None:
            chosen.setdefault(role, source)
    if chosen or not sources:
        return chosen, ""
    first = [source for source in sources if source.layer is sources[0].layer]
    if len(first) == 1 and len(sources) > 1:
        # Several layers without telling names.
        first = list(sources)
    if len(first) == len(wanted):
        order = ", ".join(f"{title_of(role)} from {s.label}" for role, s in zip(wanted, first, strict=True))
        return dict(zip(wanted, first, strict=True)), f"Names do not tell the sequences; taken by position: {order}."
    if len(first) == 1 and "flair" in wanted:
        return {"flair": first[0]}, f"{first[0].label!r} is taken for FLAIR."
    return {}, "Names do not tell the sequences; choose them."


def missing_note(wanted: Sequence[str], chosen: dict[str, ImageSource]) -> str:
    """What will be done about the channels nobody chose."""
    missing = [title_of(role) for role in wanted if role not in chosen]
    if not missing:
        return ""
    listed = " and ".join(missing)
    if "flair" in chosen and set(wanted) <= set(ROLES):
        return f"{listed} missing: a copy of FLAIR stands in, as in the LGG dataset."
    return f"{listed} missing: choose a layer."


def _role(name: str, wanted: Sequence[str]) -> str | None:
    if name in wanted:
        return name
    role = guess_role(name)
    return role if role in wanted else None
