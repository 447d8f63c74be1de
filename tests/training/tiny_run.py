"""``training.run`` with a recipe that takes seconds; ``SLOWLY`` in the environment makes each of its steps slower."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from napari_unet_seg.engine.config import FitConfig, UNetConfig
from napari_unet_seg.engine.samples import SliceStore
from training import run
from training.recipe import Recipe, SplitConfig
from training.recipes import RECIPES


def tiny() -> Recipe:
    """Two levels, shuffled passes over 32 x 32 pixels, validated on a patient."""
    return Recipe(
        name="tiny",
        network=UNetConfig(features=(4, 8), convolutions=(1, 1), dropout=0.2),
        fit=FitConfig(
            batch_size=4, patch=(32, 32), sampling="epochs", loss="weighted bce+dice", schedule="cosine", ema_decay=0.5
        ),
        split=SplitConfig(kind="patients", train=0.5, validation=0.25, test=0.25, seed=0),
        epochs=4,
    )


def slowly(seconds: float) -> None:
    """Have every batch take so much longer, so that there is time to interrupt it."""
    batch = SliceStore.batch

    def wait(self: SliceStore, index: Any, *, context: int) -> Any:
        time.sleep(seconds)
        return batch(self, index, context=context)

    SliceStore.batch = wait


RECIPES["tiny"] = tiny

if __name__ == "__main__":
    slowly(float(os.environ.get("SLOWLY", 0)))
    sys.exit(run.main())
