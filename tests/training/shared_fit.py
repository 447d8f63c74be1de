"""Trainings that `test_distributed` runs in one process and, under torchrun, in two."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import AugmentConfig, FitConfig, KerasAugmentConfig, UNetConfig
from napari_unet_seg.engine.events import StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet
from training.launch import launched

# Each process would normalise its own part on a CPU; the loss is the one that does not load MONAI; losses that are the
# same to five digits are not to be had from bfloat16.
PLAIN = FitConfig(
    steps=6,
    learning_rate=2e-2,
    batch_size=5,
    patch=(32, 32),
    steps_per_epoch=3,
    frozen_statistics=True,
    loss="weighted bce+dice",
    precision="float32",
)
TRAININGS = {
    "drawn": PLAIN,
    # Eight slices in batches of seven: in the second of each pass, a process has nothing of its own.
    "epochs": replace(PLAIN, batch_size=7, sampling="epochs", schedule="plateau", plateau_patience=1),
    "anchor": replace(PLAIN, anchor=0.1),
    # Long enough for elastic displacement, bias field and noise, which half of the batches have each.
    "augmented": replace(PLAIN, steps=16, coarse_fraction=0.5, augment=AugmentConfig()),
    "augmented as Keras": replace(
        PLAIN,
        steps=16,
        sampling="epochs",
        coarse_fraction=0.5,
        augment=KerasAugmentConfig(rotation=15, shift=0.05, shear=5, zoom=0.1, elastic=3),
    ),
}
ASKED = {
    "drawn": PLAIN,
    # Batches of seven and of one in turn.
    "epochs": replace(PLAIN, batch_size=7, steps=4, sampling="epochs"),
}


class Asked(SliceStore):
    """A store that keeps account of the slice numbers of each batch it is asked for."""

    def __init__(self, *cases: Any, **how: Any) -> None:
        super().__init__(*cases, **how)
        self.asked: list[list[int]] = []

    def batch(self, index: torch.Tensor, *, context: int) -> Any:
        self.asked.append(index.tolist())
        return super().batch(index, context=context)


class AskedAhead(Asked):
    """Read ahead as if it lay elsewhere."""

    streamed: ClassVar[bool] = True


def make_store(kind: type[SliceStore] = SliceStore) -> SliceStore:
    """Eight slices that count differently: each has to meet its own logits."""
    volume, mask = make_phantom(slices=8, size=32, seed=0)
    weight = np.linspace(0.5, 2, 8, dtype=np.float32)
    case = LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool), weight=weight)
    return kind([case], device=torch.device("cpu"))


def asked(config: FitConfig, *, streamed: bool, fabric: Any = None) -> list[list[int]]:
    """Slice numbers of the batches that the store was asked for in this process, as far as they were trained on."""
    store = make_store(AskedAhead if streamed else Asked)
    assert isinstance(store, Asked)
    network = UNet(UNetConfig(features=(4, 8), convolutions=(1, 1)))
    steps = [event for event in fit(network, store, config, flair=1, fabric=fabric) if isinstance(event, StepDone)]
    # What is read ahead in vain at the end depends on how fast the thread is.
    return store.asked[: len(steps)] if streamed else store.asked


def losses(config: FitConfig, *, fabric: Any = None, dropout: float = 0.0, stop: int | None = None) -> list[float]:
    """Losses of each step; with `stop`, those before and after an interruption there."""
    store = make_store()
    found: list[float] = []
    state: Any = None
    for until in (stop, None) if stop else (None,):
        torch.manual_seed(1)
        network = UNet(UNetConfig(context=1, features=(4, 8), convolutions=(1, 1), dropout=dropout))
        answers = iter([False] * until + [True]) if until else None
        states: list[Any] = []
        events = fit(
            network,
            store,
            config,
            flair=1,
            should_stop=(lambda answers=answers: next(answers)) if answers else lambda: False,
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
        for name, streamed in (("asked", False), ("asked ahead", True)):
            own = {sampling: asked(config, streamed=streamed, fabric=fabric) for sampling, config in ASKED.items()}
            told: list[Any] = [None] * fabric.world_size
            torch.distributed.all_gather_object(told, own)
            result[name] = told
        if fabric.is_global_zero:
            Path(sys.argv[1]).write_text(json.dumps(result))
