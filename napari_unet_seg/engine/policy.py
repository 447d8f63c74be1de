"""How a model is retrained from corrections, for one scan or for all; chosen by measurement, see training/README.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_unet_seg.engine.config import AugmentConfig, FitConfig
from napari_unet_seg.engine.round_report import Scope


@dataclass(frozen=True, kw_only=True)
class TunePolicy:
    """Everything that decides a round."""

    fit: FitConfig
    """Of the network that may be promoted; ``steps`` bounds a round whatever its time."""

    corrected_fraction: float = 0.5
    """Share of the samples drawn from corrected slices; the others keep in mind what the model could do before."""

    foreground_fraction: float = 0.6
    """Share of those others drawn from slices with tumour."""

    rehearsal_weight: float = 1.0
    """How much a slice counts whose mask is but the parent's own word."""

    teach_as_seen: bool = True
    """Whether the parent's word on a slice is asked anew, of the slice as it was just augmented: what is learned is to
    be nothing where nobody corrected. Else it is that on the slice as it is, and augmentation alone moves the weights.
    """

    blend: float = 0.65
    """Weights that are kept: the parent's, moved this far towards the tuned ones (Wortsman et al. 2022)."""

    min_fraction: float = 0.5
    """Pieces smaller than this fraction of the largest one are left out of the mask of a scan that a model was adapted
    to; where a corrected slice has tumour in a smaller one, or the parent's mask has it and the round confirms it,
    smaller than that. As the largest piece changes, false ones that the parent's own fraction left out would come back.
    """

    confirmed_share: float = 2 / 3
    """Of the voxels of a piece of the parent's mask: as many of them in the new mask confirm it."""

    folds: int = 3
    """In how many turns corrected slices are held back; each turn trains a network of its own beside."""

    fold_batch: int = 4
    """Samples in a step of those."""

    least_gain: float = 0.002
    """Gain in Dice on what was held back from which a round is promoted."""

    most_loss: float = 0.005
    """Loss of mean Dice on labelled scans kept in mind from which it is not."""

    most_loss_of_one: float = 0.05
    """The same for a single one of them."""

    least_agreement: float = 0.9
    """Dice against the parent's own mask, where the parent is sure of it, below which it is not."""

    least_agreement_of_one: float = 0.7
    """The same for a single scan that nobody corrected."""

    least_agreement_confirmed: float = 0.25
    """The same where corrected slices were held back and gained: a scan that the parent gets wrong has to change."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            # All at once: nothing would be left to learn from.
            raise ValueError(f"corrected slices are held back in two turns or more, got folds={self.folds}")


_MILD = AugmentConfig(
    rotation=12,
    scale=0.15,
    stretch=0.06,
    shift=0.08,
    elastic=3,
    contrast=0.15,
    brightness=0.15,
    gamma=0.15,
    bias_field=0.15,
    noise=0.06,
    missing_sequence=0.0,
    missing_neighbours=0.05,
)

_FIT = FitConfig(
    steps=400,
    batch_size=8,
    # For forty-five steps or more; see `FitConfig.travel` for fewer.
    learning_rate=2e-3,
    travel=0.045,
    weight_decay=0.0,
    loss="weighted bce+dice",
    ema_decay=0.9,
    steps_per_epoch=1,
    frozen_statistics=True,
    augment=_MILD,
)

POLICIES: dict[Scope, TunePolicy] = {
    "scan": TunePolicy(fit=_FIT),
    "model": TunePolicy(fit=replace(_FIT, augment=AugmentConfig()), blend=0.2),
}
