"""Seed 000 before it went to 256 x 256."""

from __future__ import annotations

from dataclasses import replace

from training.recipe import Recipe
from training.recipes import seed_000


def recipe() -> Recipe:
    """The same as `seed_000` at 128 x 128, so that the size alone makes the difference."""
    return replace(
        seed_000.recipe(name="seed_000_128", size=128), reported={"validation": {"dice": 0.6580, "iou": 0.4903}}
    )
