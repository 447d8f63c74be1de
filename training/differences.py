"""Where the settings of two trainings differ, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

_TOLD = 3
"""Most settings that an error names."""


def told_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first settings that both have and that are not the same, in words; ``""`` where there are none."""
    return "; ".join(islice(_differences(one, other), _TOLD))


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Settings that both have and that are not the same, with what they are in the one and not in the other."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one:
            if key in other:
                yield from _differences(one[key], other[key], f"{name}.{key}" if name else key)
    elif isinstance(one, Mapping) or isinstance(other, Mapping):
        yield name
    # As JSON has them: there a tuple has become a list.
    elif json.loads(json.dumps(one)) != json.loads(json.dumps(other)):
        yield f"{name} {json.dumps(one)}, not {json.dumps(other)}"
