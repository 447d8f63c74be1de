"""In which order slices are looked at where the time may not be enough for all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np

_GOLDEN = (5**0.5 - 1) / 2


def spread(slices: Sequence[int]) -> list[int]:
    """Slices in an order of which every beginning is spread evenly over them (multiples of the golden ratio)."""
    order = np.argsort(np.arange(len(slices)) * _GOLDEN % 1, kind="stable")
    return [int(slices[place]) for place in order]


def alternate(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """One of the first, one of the second and so on, then what is left of the longer."""
    return [z for z in chain.from_iterable(zip_longest(first, second)) if z is not None]
