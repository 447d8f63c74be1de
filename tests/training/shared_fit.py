"""Trainings that `test_distributed` runs in one process and, under torchrun, in two."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import FitConfig, UNetConfig
from napari_unet_seg.engine.events import StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet
from training.launch import launched

# Each process would normalise its own part on a CPU; the loss is the one that does not load MONAI.
PLAIN = FitConfig(
    steps=6, batch_size=5, patch=(32, 32), steps_per_epoch=3, frozen_statistics=True, loss="weighted bce+dice"
)
TRAININGS = {
    "drawn": PLAIN,
    # Eight slices in batches of seven: in the second of each pass, a process has nothing of its own.
    "epochs": replace(PLAIN, batch_size=7, sampling="epochs", schedule="plateau", plateau_patience=1),
    "anchor": replace(PLAIN, anchor=0.1),
}


def losses(config: FitConfig, *, fabric: Any = None, dropout: float = 0.0, stop: int | None = None) -> list[float]:
    """Losses of each step; with `stop`, those before and after an interruption there."""
    volume, mask = make_phantom(slices=8, size=32, seed=0)
    case = LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool))
    store = SliceStore([case], device=torch.device("cpu"))
    found: list[float] = []
    state: Any = None
    for until in (stop, None) if stop else (None,):
        torch.manual_seed(1)
        network = UNet(UNetConfig(features=(4, 8), convolutions=(1, 1), dropout=dropout))
        asked = iter([False] * until + [True]) if until else None
        states: list[Any] = []
        events = fit(
            network,
            store,
            config,
            flair=1,
            should_stop=(lambda asked=asked: next(asked)) if asked else lambda: False,
            validate=lambda _: {"loss": 1.0},
            state=state,
            save_state=lambda now, states=states: states.append(copy.deepcopy(now)),
            fabric=fabric,
        )
        found += [event.loss for event in events if isinstance(event, StepDone)]
        state = states[-1]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with launched() as fabric:
        assert fabric is not None
        result = {name: losses(config, fabric=fabric) for name, config in TRAININGS.items()}
        result["whole"] = losses(PLAIN, fabric=fabric, dropout=0.3)
        result["resumed"] = losses(PLAIN, fabric=fabric, dropout=0.3, stop=4)
        if fabric.is_global_zero:
            Path(sys.argv[1]).write_text(json.dumps(result))
