"""A function a recipe, each named after its module."""

from __future__ import annotations

from collections.abc import Callable

from training.recipe import Recipe
from training.recipes import (
    attention_unet,
    deeplabv3plus,
    default,
    seed_000,
    seed_000_128,
    seed_001,
    seed_002,
    seed_003,
    seed_004,
)

RECIPES: dict[str, Callable[[], Recipe]] = {
    "seed_000": seed_000.recipe,
    "seed_000_128": seed_000_128.recipe,
    "seed_001": seed_001.recipe,
    "seed_002": seed_002.recipe,
    "seed_003": seed_003.recipe,
    "seed_004": seed_004.recipe,
    "default": default.recipe,
    "attention_unet": attention_unet.recipe,
    "deeplabv3plus": deeplabv3plus.recipe,
}
"""Recipes by name."""
