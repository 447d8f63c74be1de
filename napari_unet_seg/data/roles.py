"""Which channel of an image is which MRI sequence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from napari_unet_seg.data.volume import Array, Volume
from napari_unet_seg.errors import InputError

ROLES = ("pre", "flair", "post")
"""The sequences of the LGG dataset in its order: T1 before contrast, FLAIR, T1 after contrast."""

TITLES = {"pre": "pre-contrast T1", "flair": "FLAIR", "post": "post-contrast T1", "t2": "T2"}
RGB_NAMES = ("red", "green", "blue")

_FLAIR = {"flair", "t2flair", "t2f"}
_POST = {"post", "t1ce", "t1gd", "t1c", "t1post", "t1contrast", "postcontrast", "t1wce", "t1wc"}
_PRE = {"pre", "t1pre", "t1n", "precontrast"}
_T1 = {"t1", "t1w", "t1flair"}
_T2 = {"t2", "t2w"}
_CONTRAST = {"c", "ce", "gd", "gad", "gado", "gadolinium", "contrast", "post"}
_WEIGHTED_T1 = {word for word in _POST | _PRE | _T1 if word.startswith("t1")}
# After "pre" or "post" these tell when it was, not whether a contrast agent was given.
_TREATMENT = {"op", "operation", "operative", "resection", "surgery", "surgical", "therapy", "treatment"}
# Words that a file name may end on and that belong to the sequence; "c" alone is too short to be sure of.
_WORDS = _FLAIR | _POST | _PRE | _T1 | _T2 | _CONTRAST - {"c"}


def guess_role(name: str) -> str | None:
    """Sequence that a channel's name means.

    Parameters
    ----------
    name : str
        Such as ``t1ce``, ``T1 post``, ``FLAIR``, ``T1w+C``. ``T1 FLAIR`` is a T1 that suppresses fluid.

    Returns
    -------
    str or None
        ``"pre"``, ``"flair"``, ``"post"`` or ``"t2"``; None if the name says nothing.
    """
    said = _without_treatment([word for _, word in _words(name)])
    words = set(said)
    if words & _FLAIR and not _is_t1_flair(said):
        return "flair"
    if words & (_POST - {"post"}):
        return "post"
    if words & _PRE:
        return "pre"
    if "post" in words or (words & _T1 and words & _CONTRAST):
        return "post"
    if words & _T1:
        return "pre"
    if words & _T2:
        return "t2"
    return None


def flair_index(channel_names: Sequence[str]) -> int | None:
    """Which channel is FLAIR, among those of a model; None where none is."""
    return channel_names.index("flair") if "flair" in channel_names else None


def role_suffix(stem: str) -> tuple[str, str]:
    """Split a file's stem into the name of the case and that of the sequence at its end.

    Returns
    -------
    tuple of str
        ``("sub-01", "t1ce")`` for ``sub-01_T1CE``; the sequence is ``""`` where the stem ends on none.
    """
    words = _words(stem)
    first = len(words)
    while first:
        _, word = words[first - 1]
        after_t1 = word == "c" and first > 1 and words[first - 2][1] in _T1
        if word not in _WORDS and not after_t1:
            break
        first -= 1
    if first == len(words):
        return stem, ""
    start, _ = words[first]
    if guess_role(stem[start:]) is None:
        return stem, ""
    return stem[:start].rstrip("_-. +"), stem[start:].lower()


def _words(name: str) -> list[tuple[int, str]]:
    """Where each word of a name begins, and the word in lower case; letters of any script are letters."""
    # So are their accents where these stand for themselves, and bytes that are no text, which are mostly umlauts.
    letters = (
        letter if letter.isalnum() or unicodedata.category(letter) in ("Mn", "Mc", "Cs") else " " for letter in name
    )
    return [(match.start(), match.group().lower()) for match in re.finditer("[^ ]+", "".join(letters))]


def _without_treatment(words: Sequence[str]) -> list[str]:
    """The words but for the "post" of "post-op" and its like."""
    return [
        word
        for index, word in enumerate(words)
        if word not in ("pre", "post") or _TREATMENT.isdisjoint(words[index + 1 : index + 2])
    ]


def _is_t1_flair(words: Sequence[str]) -> bool:
    """Whether "flair" follows a T1, as in names that GE gives; with T2, or before a T1, it is what all call FLAIR."""
    if "flair" not in words or not (_T2 | _FLAIR - {"flair"}).isdisjoint(words):
        return False
    return not _WEIGHTED_T1.isdisjoint(words[: words.index("flair")])


def arrange_channels(volume: Volume, wanted: Sequence[str]) -> tuple[Volume, tuple[str, ...]]:
    """Pick and order the channels of an image as a model wants them; see `channel_order`.

    Returns
    -------
    tuple
        The volume with exactly the wanted channels, and what was assumed, in words.

    Raises
    ------
    InputError
        If channels cannot be told apart, their number does not fit, or FLAIR is missing.
    """
    order, notes = channel_order(volume, wanted)
    unchanged = order == list(range(volume.data.shape[0]))
    data = volume.data if unchanged else volume.data[order]
    return replace(volume, data=data, channel_names=tuple(wanted)), notes


def channel_order(volume: Volume, wanted: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Which channel of an image stands for each that a model wants.

    Parameters
    ----------
    volume : Volume
        Channels are known by name; without names by position where the numbers agree. A lone channel is taken for
        FLAIR. A constant sequence counts as missing.
    wanted : sequence of str
        Channel names of the model. Where all are of `ROLES`, a missing sequence other than FLAIR is replaced by
        FLAIR, as in the LGG dataset.

    Returns
    -------
    tuple
        An index for each wanted channel, and what was assumed, in words.

    Raises
    ------
    InputError
        If channels cannot be told apart, their number does not fit, or FLAIR is missing.
    """
    wanted = tuple(wanted)
    notes: list[str] = []
    sequences = set(wanted) <= set(ROLES) and len(set(wanted)) == len(wanted)
    named = dict(zip(wanted, range(len(wanted)), strict=True)) if volume.channel_names == wanted else None
    if sequences:
        found = _by_role(volume, wanted, notes) if named is None else named
        picked = _replace_missing(volume, wanted, found, notes)
    else:
        picked = _by_name_or_place(volume, wanted, notes) if named is None else named
    return [picked[name] for name in wanted], tuple(notes)


def _by_role(volume: Volume, wanted: tuple[str, ...], notes: list[str]) -> Mapping[str, int | None]:
    names = volume.channel_names
    roles = [guess_role(name) for name in names]
    if not any(roles):
        return _unnamed(volume, wanted, notes)
    picked: dict[str, int | None] = {}
    for role in wanted:
        # A name that is the role's own goes before one that means the same.
        found = [index for index, name in enumerate(names) if name.lower() == role]
        found = found or [index for index, guess in enumerate(roles) if guess == role]
        if len(found) > 1:
            both = " and ".join(repr(names[index]) for index in found[:2])
            raise InputError(f"channels {both} both look like {TITLES[role]}; rename or remove one", path=volume.source)
        picked[role] = found[0] if found else None
    unused = [name or f"number {index + 1}" for index, name in enumerate(names) if index not in picked.values()]
    if unused:
        notes.append(f"channel{'s' if len(unused) > 1 else ''} {', '.join(unused)} not used by the model")
    return picked


def _unnamed(volume: Volume, wanted: tuple[str, ...], notes: list[str]) -> Mapping[str, int | None]:
    """Channels without a name that means a sequence: one is FLAIR, three are those of the LGG dataset."""
    count = volume.data.shape[0]
    if count == 1:
        if wanted == ("flair",) or "flair" not in wanted:
            return _by_name_or_place(volume, wanted, notes)
        notes.append("the only channel is taken for FLAIR")
        return {"flair": 0}
    if count == len(ROLES):
        colours = tuple(name.lower() for name in volume.channel_names) == RGB_NAMES
        which = "red, green and blue" if colours else "the three channels"
        notes.append(f"{which} are taken for pre-contrast, FLAIR and post-contrast, as in the LGG dataset")
        return {role: ROLES.index(role) for role in wanted}
    return _by_name_or_place(volume, wanted, notes)


def _by_name_or_place(volume: Volume, wanted: tuple[str, ...], notes: list[str]) -> dict[str, int]:
    names = [name.lower() for name in volume.channel_names]
    if all(names.count(name.lower()) == 1 for name in wanted):
        return {name: names.index(name.lower()) for name in wanted}
    count = volume.data.shape[0]
    if count != len(wanted):
        named = f" ({', '.join(names)})" if all(names) else ""
        advice = (
            "save it as RGB with the sequences pre, FLAIR, post"
            if wanted == ROLES
            else "save it with these channels, in this order"
        )
        raise InputError(
            f"the image has {count} channel{'s' if count > 1 else ''}{named}, the model expects {len(wanted)} "
            f"({', '.join(wanted)}); {advice}",
            path=volume.source,
        )
    notes.append(f"channels are taken in order for {', '.join(wanted)}")
    return {name: index for index, name in enumerate(wanted)}


def _replace_missing(
    volume: Volume, wanted: tuple[str, ...], picked: Mapping[str, int | None], notes: list[str]
) -> dict[str, int]:
    """Put FLAIR where a sequence is missing or constant, as the makers of the LGG dataset did."""
    flair = picked.get("flair")
    if "flair" in wanted and flair is None:
        raise InputError("FLAIR is needed, and none of the channels is named so", path=volume.source)
    filled: dict[str, int] = {}
    for role in wanted:
        index = picked.get(role)
        if index is not None and not _constant(volume.data[index]):
            filled[role] = index
            continue
        state = "missing" if index is None else "constant"
        if role == "flair" or flair is None:
            raise InputError(f"{TITLES[role]} is needed, but it is {state}", path=volume.source)
        notes.append(f"{TITLES[role]} is {state}; a copy of FLAIR stands in for it")
        filled[role] = flair
    return filled


def _constant(channel: Array) -> bool:
    # The first voxels nearly always settle it: background against the middle of the head.
    z, y, x = channel.shape
    first = channel[0, 0, 0]
    if channel[z // 2, y // 2, x // 2] != first:
        return False
    return bool(np.equal(channel, first).all())
