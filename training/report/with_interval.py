"""A mean with its interval, as text."""

from __future__ import annotations

from collections.abc import Sequence


def with_interval(mean: float, interval: Sequence[float] | None, *, form: str = ".3f") -> str:
    """``0.812 (0.774 to 0.847)``; the mean alone where there is no interval, as for a single patient."""
    if interval is None:
        return f"{mean:{form}}"
    low, high = interval
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"
