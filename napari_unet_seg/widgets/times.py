"""Times as the dock writes them, in the user's own time zone."""

from __future__ import annotations

from datetime import datetime


def time_now() -> str:
    """``14:03:59``."""
    return datetime.now().astimezone().strftime("%H:%M:%S")


def day_and_time(utc: str) -> str:
    """``09 March, 14:03``, of a time in ISO 8601; any other text as it is."""
    try:
        return datetime.fromisoformat(utc).astimezone().strftime("%d %B, %H:%M")
    except ValueError:
        return utc


def time_or_day(time: str) -> str:
    """``14:03``, or ``09 Mar`` where it is not today, of a time in ISO 8601; any other text as it is."""
    try:
        local = datetime.fromisoformat(time).astimezone()
    except ValueError:
        return time
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%d %b")
