"""What decides a network and a training, as plain data; importing it costs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_unet_seg.engine.field_types import check_words

LossName = Literal["bce", "dice", "bce+dice", "weighted bce+dice"]
Order = Literal["conv-norm-act", "conv-act-norm"]
Architecture = Literal["unet", "attention-unet", "deeplabv3plus"]
Normalisation = Literal["head-zscore", "unit"]
Schedule = Literal["one-cycle", "cosine", "plateau", "constant"]


def _check_finite(config: Any) -> None:
    """Raise ValueError for a number that is NaN or infinite; comparisons with NaN let it through."""
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Everything that decides the shape of a network and of its weights."""

    architecture: Architecture = "unet"
    """Ours; MONAI's attention U-Net (Oktay et al. 2018), of whose shape ``features`` and ``dropout`` decide; or
    DeepLabV3+ (Chen et al. 2018) on a ResNet-34, of whose shape nothing but the channels and classes does."""

    in_channels: int = 3
    """Image channels (MRI sequences) of one slice."""

    context: int = 0
    """Neighbouring slices on each side that the network sees; they are stacked as further channels."""

    classes: int = 1
    """Output channels: 1 for a single foreground class."""

    features: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of each level, finest first; the last one is the bottleneck."""

    convolutions: tuple[int, ...] = (2, 2, 2, 2)
    """Convolutions of each block, a number for each level."""

    order: Order = "conv-norm-act"
    """Batch normalisation before the ReLU, or after it as the Keras projects have it."""

    dropout: float = 0.0
    """Probability with which a whole channel of the two deepest levels is dropped."""

    def __post_init__(self) -> None:
        if len(self.features) < 2:
            raise ValueError(f"features needs at least two levels, got {self.features}")
        if len(self.convolutions) != len(self.features):
            raise ValueError(
                f"convolutions needs a number for each of the {len(self.features)} levels, got {self.convolutions}"
            )
        if min(self.features) < 1 or min(self.convolutions) < 1:
            raise ValueError("features and convolutions must be positive")
        if self.in_channels < 1 or self.classes < 1 or self.context < 0:
            raise ValueError("in_channels and classes must be positive, context not negative")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        check_words(self)

    @property
    def input_channels(self) -> int:
        """Channels the first convolution takes: the sequences of a slice and of its neighbours."""
        return self.in_channels * (2 * self.context + 1)

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this."""
        # DeepLabV3+ goes down by 16, whatever the features say.
        return 16 if self.architecture == "deeplabv3plus" else int(2 ** (len(self.features) - 1))


SEED_UNET = UNetConfig(features=(64, 128, 256, 512), convolutions=(2, 2, 2, 2), order="conv-act-norm")
"""The network of the published Keras projects: 7,700,161 trainable parameters."""

DEFAULT_UNET = UNetConfig(
    context=1,
    features=(8, 24, 48, 96, 160),
    convolutions=(1, 2, 2, 2, 2),
    order="conv-norm-act",
    dropout=0.1,
)
"""The network of the shipped model: light at full resolution, where a CPU loses its time."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a slice during training; each is drawn anew for every sample."""

    rotation: float = 15.0
    """Largest rotation in degrees, either way."""

    scale: float = 0.2
    """Largest zoom as a fraction, in or out."""

    stretch: float = 0.08
    """Largest change of the aspect ratio as a fraction."""

    shift: float = 0.06
    """Largest shift as a fraction of the patch."""

    flip: float = 0.5
    """Probability of exchanging left and right."""

    elastic: float = 4.0
    """Standard deviation of the smooth displacement field in pixels, for half of the batches."""

    contrast: float = 0.25
    """Largest change of a channel's contrast as a fraction."""

    brightness: float = 0.3
    """Largest shift of a channel's brightness in standard deviations."""

    gamma: float = 0.25
    """Largest change of a channel's gamma as a fraction."""

    bias_field: float = 0.3
    """Standard deviation, where it is largest, of a smooth field added to the normalised intensities, for half of the
    batches; it stands in for the uneven sensitivity of a coil."""

    noise: float = 0.12
    """Largest standard deviation of added noise, for half of the batches."""

    missing_sequence: float = 0.12
    """Probability that the sequences beside FLAIR are copies of it, as in patients who lack them."""

    missing_neighbours: float = 0.08
    """Probability that the neighbouring slices are copies of the middle one, as in a single slice."""

    def __post_init__(self) -> None:
        _check_finite(self)
        if min(vars(self).values()) < 0:
            raise ValueError(f"ranges must not be negative, got {self}")
        if max(self.scale, self.stretch, self.shift, self.contrast, self.gamma) > 1:
            raise ValueError(f"scale, stretch, shift, contrast and gamma must be fractions of at most 1, got {self}")
        if max(self.flip, self.missing_sequence, self.missing_neighbours) > 1:
            raise ValueError(f"flip, missing_sequence and missing_neighbours must lie in 0..1, got {self}")


@dataclass(frozen=True, kw_only=True)
class KerasAugmentConfig:
    """Random changes as Keras' `ImageDataGenerator` makes them: one affine map for every sample, about its middle.

    Each number is drawn uniformly and on its own. Pixels from beyond the border are those of the border, in the image
    and in the mask.
    """

    rotation: float = 0.0
    """Largest rotation in degrees, either way."""

    shift: float = 0.0
    """Largest shift along each axis as a fraction of the slice's height or width."""

    shear: float = 0.0
    """Largest shear angle in degrees, either way."""

    zoom: float = 0.0
    """Largest change of the scale along each axis as a fraction."""

    flip: float = 0.5
    """Probability of exchanging left and right."""

    elastic: float = 0.0
    """Standard deviation of a smooth displacement field in pixels, on top of the affine map; Keras has none."""

    def __post_init__(self) -> None:
        _check_finite(self)
        if min(self.rotation, self.shift, self.shear, self.zoom, self.elastic) < 0:
            raise ValueError(f"ranges must not be negative, got {self}")
        # Keras takes a shift from 1 on for pixels.
        if self.shift >= 1 or self.zoom >= 1 or self.shear >= 90:
            raise ValueError(f"shift and zoom must be fractions below 1, shear below 90 degrees, got {self}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must lie in 0..1, got {self.flip}")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How `fit` trains."""

    steps: int = 2000
    """Optimiser steps."""

    batch_size: int = 16
    """Slices in a step."""

    learning_rate: float = 2e-3
    """Peak rate."""

    optimiser: Literal["adamw", "adam"] = "adamw"
    """AdamW, or Adam as Keras has it: no weight decay."""

    weight_decay: float = 1e-2
    """Decoupled weight decay of AdamW; Adam has none."""

    schedule: Schedule = "one-cycle"
    """How the rate moves: up over the first twentieth of the steps and down along a cosine; down along a cosine from
    the first step; cut where the validation stands still; or not at all."""

    plateau_factor: float = 0.5
    """What a plateau multiplies the rate by."""

    plateau_patience: int = 5
    """Epochs without a lower validation loss that make a plateau."""

    early_stopping: int | None = None
    """Epochs without a lower validation loss after which the training ends; None: it runs to its end."""

    clip_norm: float | None = 5.0
    """Longest gradient, as the norm over all weights; None: as long as it comes."""

    loss: LossName = "bce+dice"
    """What is minimised."""

    patch: tuple[int, int] = (224, 192)
    """Height and width in pixels of what the network sees of a slice, around the middle of the head."""

    coarse_fraction: float = 0.0
    """The first part of the steps sees slices at half resolution, four times as fast."""

    sampling: Literal["drawn", "epochs", "balanced epochs"] = "drawn"
    """Every sample drawn for itself, or shuffled passes over all labelled slices, whose last batch may be smaller. In a
    balanced pass, slices with tumour and slices without are equally many: those of the rarer kind come repeatedly."""

    tumour_fraction: float = 0.5
    """Share of samples drawn from slices with tumour; a shuffled pass does not heed it."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network's arithmetic: bfloat16 where the device has instructions for it, or the same everywhere. The
    loss and the weights are float32 always."""

    ema_decay: float = 0.995
    """Decay of the running average of the weights; the average is what is kept. 0: the weights as they are."""

    steps_per_epoch: int = 100
    """Steps between two `EpochDone` events where samples are drawn; else a pass over the slices is an epoch."""

    augment: AugmentConfig | KerasAugmentConfig | None = field(default_factory=AugmentConfig)
    """Random changes of the slices. Keras' ones, or none, leave the slices whole: ``patch`` is not cut out."""

    seconds: float | None = None
    """Time budget: the rate follows the time where that runs out before the steps do."""

    travel: float | None = None
    """Sum of the rates over the whole training: however many steps the time allows, the weights go equally far.
    ``learning_rate`` is the most that one step takes then: where they are too few for the sum, each is smaller than
    that by the square root of what they fall short."""

    frozen_statistics: bool = False
    """Leave the statistics of the batch normalisation as they are: a few slices cannot tell them."""

    anchor: float = 0.0
    """Strength of a pull back to the weights it started from (L2-SP, Li et al. 2018)."""

    seed: int = 0
    """Seed of weights, sampling and augmentation."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.steps_per_epoch < 1:
            raise ValueError("steps, batch_size and steps_per_epoch must be positive")
        if not 0 <= self.coarse_fraction <= 1 or not 0 <= self.tumour_fraction <= 1:
            raise ValueError("coarse_fraction and tumour_fraction must lie in 0..1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be at least 0 and below 1, got {self.ema_decay}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        # A round without an end to its time has one of infinity.
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")
        if self.travel is not None and not 0 < self.travel < math.inf:
            raise ValueError(f"travel must be positive, got {self.travel}")
        if not (0 <= self.anchor < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError("anchor and weight_decay must not be negative")
        if min(self.patch) < 1:
            raise ValueError(f"patch must be positive, got {self.patch}")
        if not 0 < self.plateau_factor < 1 or self.plateau_patience < 1:
            raise ValueError("plateau_factor must lie between 0 and 1, plateau_patience must be positive")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be positive or None, got {self.clip_norm}")
        if self.early_stopping is not None and self.early_stopping < 1:
            raise ValueError(f"early_stopping must be positive or None, got {self.early_stopping}")
        # What torch takes.
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed must fit into 64 bits, got {self.seed}")
        check_words(self)
