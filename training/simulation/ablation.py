"""A round's policy with some of it changed, to see what each part brings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from napari_unet_seg.engine.policy import POLICIES, TunePolicy
from napari_unet_seg.errors import InputError


def changed_policy(scope: str, settings: Sequence[str]) -> TunePolicy | None:
    """The policy of a scope, changed; None where nothing is.

    Parameters
    ----------
    scope : {"scan", "model"}
    settings : sequence of str
        ``NAME=VALUE`` each: a field of `TunePolicy`, or with ``fit.`` before it one of `FitConfig`.

    Raises
    ------
    InputError
        If there is no such field, or the value is of another type.
    """
    if not settings:
        return None
    policy = POLICIES[scope]  # type: ignore[index]
    for setting in settings:
        name, _, text = setting.partition("=")
        owner: Any = policy.fit if name.startswith("fit.") else policy
        field = name.removeprefix("fit.")
        known = {item.name: getattr(owner, item.name) for item in dataclasses.fields(owner)}
        if not isinstance(known.get(field), int | float | None) or field not in known:
            raise InputError(f"--set {setting}: there is no number {name!r} to set")
        try:
            value = json.loads(text)
            if isinstance(value, bool) != isinstance(known[field], bool) or not isinstance(value, int | float):
                raise ValueError
            changed = replace(owner, **{field: value})
        except ValueError as error:
            raise InputError(f"--set {setting}: {text!r} cannot be a {field}") from error
        policy = replace(policy, fit=changed) if name.startswith("fit.") else changed
    return policy
