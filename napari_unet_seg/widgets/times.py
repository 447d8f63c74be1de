"""Times as the dock writes them, in the user's own time zone."""

from __future__ import annotations

from datetime import datetime


def time_now() -> str:
    """``14:03:59``."""
    return datetime.now().astimezone().strftime("%H:%M:%S")


def day_and_time(utc: str) -> str:
    """``09 March, 14:03``, of a time in ISO 8601."""
    return datetime.fromisoformat(utc).astimezone().strftime("%d %B, %H:%M")
