"""A function a recipe, each named after its module."""

from __future__ import annotations

from collections.abc import Callable

from training.recipe import Recipe
from training.recipes import default

RECIPES: dict[str, Callable[[], Recipe]] = {"default": default.recipe}
"""Recipes by name."""
