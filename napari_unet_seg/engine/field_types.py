"""Whether values are of the types that the fields of a configuration are annotated with."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type.

    Parameters
    ----------
    value : object
        As JSON can hold it, lists as tuples.
    hint : type
        A class, one of several words (``Literal``), a tuple, or a union of these. An int is a float as well; a bool is
        neither.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        types = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(types) == len(value) and all(map(fits, value, types))
    # To Python a bool is an int.
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def check_words(config: Any) -> None:
    """Raise ValueError where a field that is one of several words is none of them.

    Parameters
    ----------
    config : dataclass
    """
    for name, hint in get_type_hints(type(config)).items():
        value, words = getattr(config, name), get_args(hint)
        if get_origin(hint) is Literal and value not in words:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}")
