"""What a recipe is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from napari_unet_seg.engine.config import AugmentConfig, FitConfig, Normalisation, UNetConfig


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which slices train, validate and test."""

    kind: Literal["patients", "slices", "given"] = "patients"
    """Whole patients; single slices, whose neighbours then train (leaky); or as the folders of the dataset have it."""

    train: float = 0.8
    """Fraction that trains; of no meaning where the split is given, as the other two."""

    validation: float = 0.1
    """Fraction that is validated on after every epoch."""

    test: float = 0.1
    """Fraction that the training never sees."""

    seed: int = 0
    """Of the draw."""

    def __post_init__(self) -> None:
        if self.kind not in ("patients", "slices", "given"):
            raise ValueError(f"kind must be 'patients', 'slices' or 'given', got {self.kind!r}")
        if min(self.train, self.validation, self.test) < 0 or self.train == 0:
            raise ValueError(f"fractions must not be negative, and some of the data must train, got {self}")
        # As a comparison that NaN does not pass.
        if not abs(self.train + self.validation + self.test - 1) <= 1e-6:
            raise ValueError(f"train, validation and test must add up to 1, got {self}")
        if self.seed < 0:
            raise ValueError(f"the seed of a split must not be negative, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A network, how it is trained, and what is measured."""

    name: str
    network: UNetConfig
    fit: FitConfig
    channel_names: tuple[str, ...] = ("pre", "flair", "post")
    min_fraction: float = 0.0
    """Connected pieces smaller than this fraction of the largest one are left out of a mask."""

    largest_component: bool = False
    """Keep only the largest connected piece of a predicted mask."""

    flip: bool = False
    """Predict the mean over a slice and its mirror image."""

    licence: str = ""
    """Licence of the data that the recipe was made for, which the weights carry on."""

    licensed_prefix: str = ""
    """What the names of those cases begin with: weights that other data train don't carry the licence."""

    normalisation: Normalisation = "head-zscore"
    """How intensities are brought to one scale."""

    prior: float | None = None
    """Probability of tumour that the untrained network gives each pixel; None: about one half. See `UNet.set_prior`."""

    resize: tuple[int, int] | None = None
    """Height and width that whole slices are resized to; None: patches are cut out at the slices' own size."""

    epochs: int | None = None
    """Passes over the training slices, or of ``fit.steps_per_epoch`` where samples are drawn; None: ``fit.steps``."""

    split: SplitConfig = field(default_factory=SplitConfig)
    """Which slices train, validate and test."""

    metric_smooth: float = 100.0
    """Added to both sides of the fraction in the published projects' soft Dice and IoU."""

    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What the published project says it reached: part of the split to ``dice``, ``iou`` and ``accuracy``."""

    notes: tuple[str, ...] = ()
    """What the published project leaves open, and what stands here instead."""

    def __post_init__(self) -> None:
        if len(self.channel_names) != self.network.in_channels:
            raise ValueError(
                f"channel_names are {len(self.channel_names)}, and network.in_channels {self.network.in_channels}; "
                "set both"
            )
        if self.network.classes != 1:
            raise ValueError(f"recipes train one class, so network.classes must be 1, got {self.network.classes}")
        if not 0 <= self.min_fraction <= 1:
            raise ValueError(f"min_fraction must lie in 0..1, got {self.min_fraction}")
        if not 0 <= self.metric_smooth < math.inf:
            raise ValueError(f"metric_smooth must not be negative, got {self.metric_smooth}")
        cut_out = isinstance(self.fit.augment, AugmentConfig)
        if cut_out == (self.resize is not None):
            raise ValueError("whole slices are resized, and AugmentConfig cuts patches out of them: one or the other")
        if cut_out and self.normalisation != "head-zscore":
            raise ValueError("AugmentConfig's ranges are in standard deviations: it needs normalisation='head-zscore'")
        if self.resize is not None and self.fit.patch != self.resize:
            raise ValueError(f"the network sees {self.resize}, so patch must say so, got {self.fit.patch}")
        if self.prior is not None and not (0 < self.prior < 1 and self.network.architecture == "unet"):
            raise ValueError(f"prior must lie between 0 and 1, and the network be a U-Net, got {self.prior}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs must be positive or None, got {self.epochs}")
