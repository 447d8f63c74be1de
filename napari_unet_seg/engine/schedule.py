"""The learning rate over a training, and when it ends early."""

from __future__ import annotations

import math
from typing import Any

from napari_unet_seg.engine.config import FitConfig


def learning_rate_factor(progress: float, *, coarse_fraction: float = 0.0) -> float:
    """Share of the peak rate at a point of a one-cycle training.

    Warm-up over the first twentieth, then a cosine down to a hundredth. With a coarse part, the cosine ends at a third
    where the resolution doubles, and a second one leads on from there: the network has to learn the new scale.

    Parameters
    ----------
    progress : float
        0 at the first step, 1 at the last.
    coarse_fraction : float
        Part of the training at half resolution.
    """
    warm_up, middle, end = 0.05, 1 / 3, 0.01
    if progress < warm_up:
        return max(0.02, progress / warm_up)
    if coarse_fraction <= warm_up or coarse_fraction >= 1:
        return cosine(1.0, end, (progress - warm_up) / (1 - warm_up))
    if progress < coarse_fraction:
        return cosine(1.0, middle, (progress - warm_up) / (coarse_fraction - warm_up))
    return cosine(middle, end, (progress - coarse_fraction) / (1 - coarse_fraction))


def cosine(high: float, low: float, part: float) -> float:
    """Half a wave from `high` at 0 to `low` at 1."""
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * part))


class Schedule:
    """The rate of every step, what the validation does to it, and whether the training is over.

    Parameters
    ----------
    config : FitConfig
        Its rate, schedule, plateau, early stopping and travel.
    """

    def __init__(self, config: FitConfig) -> None:
        self._config = config
        self._before = 0.0
        self._cut = 1.0
        self._lowest = math.inf
        self._flat = 0
        """Epochs since the loss was lower, or since the rate was cut."""
        self._since_lowest = 0

    def rate(self, progress: float) -> float:
        """The rate of a step.

        Parameters
        ----------
        progress : float
            Part of the training that is done: 0 at the first step.
        """
        config = self._config
        factor = self._factor(min(progress, 1.0))
        peak = config.learning_rate
        if config.travel is not None:
            # The mean of the factor over a training is a half.
            wanted = 2 * config.travel * max(progress - self._before, 1 / config.steps)
            # A few steps of the largest size spoil more than they teach.
            peak = min(wanted, peak * math.sqrt(peak / wanted))
            self._before = progress
        return peak * factor

    def validated(self, loss: float) -> None:
        """Take note of the validation loss at the end of an epoch."""
        if loss < self._lowest:
            self._lowest, self._flat, self._since_lowest = loss, 0, 0
            return
        self._flat += 1
        self._since_lowest += 1
        if self._config.schedule == "plateau" and self._flat >= self._config.plateau_patience:
            self._cut *= self._config.plateau_factor
            self._flat = 0

    @property
    def over(self) -> bool:
        """Whether early stopping ends the training."""
        patience = self._config.early_stopping
        return patience is not None and self._since_lowest >= patience

    def state_dict(self) -> dict[str, Any]:
        """Everything that a training has to go on with."""
        return {
            "before": self._before,
            "cut": self._cut,
            "lowest": self._lowest,
            "flat": self._flat,
            "since_lowest": self._since_lowest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._before, self._cut, self._lowest = state["before"], state["cut"], state["lowest"]
        self._flat, self._since_lowest = state["flat"], state["since_lowest"]

    def _factor(self, progress: float) -> float:
        match self._config.schedule:
            case "one-cycle":
                return learning_rate_factor(progress, coarse_fraction=self._config.coarse_fraction)
            case "cosine":
                return cosine(1.0, 0.0, progress)
            case "plateau":
                return self._cut
            case "constant":
                return 1.0
