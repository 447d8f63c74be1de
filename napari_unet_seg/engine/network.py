"""What every network here has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from napari_unet_seg.engine.config import UNetConfig


class Network(nn.Module, ABC):
    """Slices of any height and width to logits; the configuration it was built from is with it.

    Parameters
    ----------
    config : UNetConfig
        Kept as ``config``.
    """

    config: UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes, Y, X)`` of a batch whose Y and X are multiples of ``config.multiple``."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of slices.

        Parameters
        ----------
        x : Tensor
            ``(B, input_channels, Y, X)``, normalised; any Y and X.

        Returns
        -------
        Tensor
            ``(B, classes, Y, X)`` logits.
        """
        height, width = x.shape[-2:]
        multiple = self.config.multiple
        bottom, right = -height % multiple, -width % multiple
        if bottom or right:
            x = functional.pad(x, (0, right, 0, bottom), mode="replicate")
        logits = self.logits(x)
        return logits[..., :height, :width] if bottom or right else logits
