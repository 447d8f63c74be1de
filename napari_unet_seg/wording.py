"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """A number of things in words: ``1 case``, ``3 cases``.

    Parameters
    ----------
    number : int
        How many there are.
    thing : str
        The name of one; one whose plural takes an s, ``corrected slice`` for example.
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
