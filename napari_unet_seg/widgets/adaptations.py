"""What the adaptation to a single scan is called among the models."""

from __future__ import annotations

import re

_MARK = "-scan-"
_HASH_CHARACTERS = 8
_PATTERN = re.compile(rf".+{_MARK}[0-9a-f]{{{_HASH_CHARACTERS}}}")
_LONGEST = 60


def adaptation_name(case_id: str, image_hash: str) -> str:
    """The name for the model adapted to a scan: the same for the same pixels, and another for any others.

    Cases of different datasets share names such as ``case1``.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", case_id).strip("._-")[:_LONGEST] or "case"
    return f"{plain}{_MARK}{image_hash[:_HASH_CHARACTERS]}"


def is_adaptation_name(name: str) -> bool:
    """Whether `adaptation_name` may have made it."""
    return _PATTERN.fullmatch(name) is not None
