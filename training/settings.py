"""Configurations with some of their fields changed from the command line, to see what each part brings."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, TypeVar, get_type_hints

from napari_unet_seg.engine.field_types import fits
from napari_unet_seg.errors import InputError
from training.recipe import Recipe

_Config = TypeVar("_Config")


def with_settings(config: _Config, settings: Sequence[str]) -> _Config:
    """A copy of a dataclass, changed.

    Parameters
    ----------
    config : dataclass
        It may hold others.
    settings : sequence of str
        ``NAME=VALUE`` each; ``fit.steps`` is the field ``steps`` of the dataclass in the field ``fit``. Values are
        JSON, but no objects, and text may go without quotes.

    Raises
    ------
    InputError
        If there is no such field, or it cannot have that value.
    """
    tree: dict[str, Any] = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise InputError(f"--set {setting}: give it as NAME=VALUE")
        _plant(tree, config, name.split("."), text, setting=setting)
    # All at once: some fields have to agree with one another.
    return _changed(config, tree, told=" ".join(settings))


def changed_recipe(
    recipe: Recipe, settings: Sequence[str] = (), *, steps: int | None = None, epochs: int | None = None, **fit: Any
) -> Recipe:
    """A copy of a recipe, changed as a command line says.

    Parameters
    ----------
    recipe : Recipe
        What to change.
    settings : sequence of str
        See `with_settings`; ``fit.steps=100`` is the same as 100 for `steps`.
    steps : int, optional
        Length of the training in optimiser steps, in place of the recipe's.
    epochs : int, optional
        Length in epochs, in place of the recipe's.
    **fit
        Fields of the training's configuration; None leaves one as it is.

    Raises
    ------
    InputError
        If a value is out of its range, or there are two lengths.
    """
    named = {setting.partition("=")[0] for setting in settings}
    recipe = with_settings(recipe, settings)
    lengths = {
        "--steps": steps is not None,
        "--epochs": epochs is not None,
        "--set fit.steps": "fit.steps" in named,
        # Set to nothing, they leave the length to the steps.
        "--set epochs": "epochs" in named and recipe.epochs is not None,
    }
    given = [name for name, is_given in lengths.items() if is_given]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are lengths of the same training; give one or the other")
    for name, value in (("--steps", steps), ("--epochs", epochs)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be positive, got {value}")
    # A recipe that has epochs heeds no steps.
    length = recipe.epochs if given in ([], ["--set epochs"]) else epochs
    changes = {name: value for name, value in {"steps": steps, **fit}.items() if value is not None}
    try:
        return dataclasses.replace(recipe, epochs=length, fit=dataclasses.replace(recipe.fit, **changes))
    except ValueError as error:
        raise InputError(str(error)) from error


def _plant(tree: dict[str, Any], config: Any, path: Sequence[str], text: str, *, setting: str) -> None:
    field, *rest = path
    if not dataclasses.is_dataclass(config) or field not in [item.name for item in dataclasses.fields(config)]:
        raise InputError(f"--set {setting}: there is nothing of that name to set")
    if rest:
        below = tree.setdefault(field, {})
        if not isinstance(below, dict):
            raise InputError(f"--set {setting}: {field} is set as a whole already")
        _plant(below, getattr(config, field), rest, text, setting=setting)
        return
    value = _parsed(text)
    is_one = not isinstance(value, dict) and fits(value, get_type_hints(type(config))[field])
    if not is_one or not _is_finite(value):
        raise InputError(f"--set {setting}: {text!r} cannot be a {field}")
    tree[field] = value


def _changed(config: Any, tree: dict[str, Any], *, told: str) -> Any:
    changes = {
        field: _changed(getattr(config, field), value, told=told) if isinstance(value, dict) else value
        for field, value in tree.items()
    }
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        raise InputError(f"--set {told}: {error}") from error


def _is_finite(value: Any) -> bool:
    """Python's JSON has NaN and Infinity, and 1e999 for it."""
    if isinstance(value, tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value
