"""Seed 000 before it went to 256 x 256."""

from __future__ import annotations

from dataclasses import replace

from training.recipe import Recipe
from training.recipes import seed_000


def recipe() -> Recipe:
    """The same as `seed_000` at 128 x 128, so that the size alone makes the difference."""
    base = seed_000.recipe(name="seed_000_128", size=128)
    return replace(
        base,
        reported={"validation": {"dice": 0.6580, "iou": 0.4903}},
        notes=("with the dropout of seed 000, which the project names among what it added later", *base.notes),
    )
