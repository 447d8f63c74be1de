"""Who takes part in `training.benchmarks.throughput`, and what each is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from napari_unet_seg.data.roles import flair_index
from napari_unet_seg.engine.config import AugmentConfig
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from training.benchmarks.machine import Precision, rate
from training.benchmarks.peer import keras_peer
from training.benchmarks.trainings import ENDLESS, OurTraining, PlainTraining, Training
from training.describe import network_gflop
from training.recipe import Recipe
from training.recipes.seed_001 import AUGMENT


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One training of one network."""

    recipe: str
    by: str
    """What trains it."""

    precision: Precision
    batch: int
    size: tuple[int, int]
    """Height and width of what the network sees."""

    gflop: float
    """Forward pass of one slice."""

    run: Callable[[float], float]
    """Seconds that a round lasts at least to slices a second."""

    @property
    def name(self) -> str:
        """For people, and unlike any other's."""
        return f"{self.recipe} at {self.size[0]} x {self.size[1]}, {self.by}, {self.precision}, batch {self.batch}"


def ours(
    recipe: Recipe, slices: LabelledVolume, *, batch: int, precision: Precision, device: torch.device
) -> Iterator[Contender]:
    """`fit` with a recipe: on whole slices with Keras' changes; or on patches, at full and at half resolution."""
    store = SliceStore([slices], device=device, normalisation=recipe.normalisation, resize=recipe.resize)
    config = replace(recipe.fit, batch_size=batch, steps=ENDLESS, precision=precision, early_stopping=None)
    if isinstance(config.augment, AugmentConfig):
        height, width = config.patch
        variants = [(replace(config, coarse_fraction=0.0), config.patch)]
        variants.append((replace(config, coarse_fraction=1.0), (height // 2, width // 2)))
    else:
        variants = [(replace(config, augment=AUGMENT), config.patch)]
    for changed, size in variants:
        training = OurTraining(recipe.network, store, changed, flair=flair_index(recipe.channel_names))
        yield _contender(
            recipe, "fit", _timed(training, batch=batch, device=device), precision=precision, batch=batch, size=size
        )


def plain(recipe: Recipe, slices: LabelledVolume, *, batch: int, device: torch.device) -> Contender:
    """PyTorch as one writes it, in float32."""
    training = PlainTraining(
        recipe.network,
        slices,
        batch=batch,
        augment=AUGMENT,
        learning_rate=recipe.fit.learning_rate,
        device=device,
    )
    run = _timed(training, batch=batch, device=device)
    return _contender(recipe, "PyTorch as one writes it", run, precision="float32", batch=batch)


def keras(
    recipe: Recipe,
    slices: LabelledVolume,
    *,
    batch: int,
    precision: Precision,
    python: Path,
    threads: int,
    stack: ExitStack,
) -> Contender:
    """Keras on TensorFlow, in a process that `stack` ends.

    Raises
    ------
    InputError
        If it cannot be started.
    """
    peer = keras_peer(
        python,
        slices,
        task="train",
        network=recipe.network,
        batch=batch,
        precision=precision,
        threads=threads,
        stack=stack,
        learning_rate=recipe.fit.learning_rate,
        augment=asdict(AUGMENT),
    )
    return _contender(recipe, "Keras on TensorFlow", peer.rate, precision=precision, batch=batch)


def _contender(
    recipe: Recipe,
    by: str,
    run: Callable[[float], float],
    *,
    precision: Precision,
    batch: int,
    size: tuple[int, int] | None = None,
) -> Contender:
    seen = size or recipe.fit.patch
    # On no device: shapes alone are counted.
    with torch.device("meta"):
        gflop = network_gflop(build_network(recipe.network).eval(), size=seen)
    return Contender(recipe=recipe.name, by=by, precision=precision, batch=batch, size=seen, gflop=gflop, run=run)


def _timed(training: Training, *, batch: int, device: torch.device) -> Callable[[float], float]:
    return lambda seconds: rate(training.step, count=batch, at_least=seconds, device=device)
