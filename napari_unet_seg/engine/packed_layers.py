"""Convolutions by the operators of oneDNN that take weights laid out beforehand; see `engine/onednn.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

LAID_OUT_AT_ONCE = 16
"""Channels of an input, or of an output, that oneDNN computes together: two convolutions of fewer cost as much as one
of them all."""

_Pair = tuple[int, ...]


class _Packed(nn.Module, ABC):
    """Weights laid out for the size of the input; made anew for another size, and never copied."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self._known: tuple[torch.Size, Any] | None = None

    def packed_for(self, x: Tensor) -> Any:
        """The weights, for an input ``(B, C, Y, X)``."""
        # Threads side by side may both do it: each goes on with its own.
        known = self._known
        if known is None or known[0] != x.shape[2:]:
            known = self._known = x.shape[2:], self.pack(list(x.shape))
        return known[1]

    @abstractmethod
    def pack(self, shape: list[int]) -> Any:
        """The weights as oneDNN wants them for an input of that shape."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None}


class PackedConvolution(_Packed):
    """A convolution with its weights laid out for the size of its input; for inference alone.

    Parameters
    ----------
    convolution : nn.Conv2d
        Its padding is a number of pixels.
    relu : bool
        With a ReLU behind it.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool = False) -> None:
        super().__init__(convolution.weight)
        assert not isinstance(convolution.padding, str)
        self.bias = convolution.bias
        self._shape: tuple[_Pair, _Pair, _Pair, int] = (
            tuple(convolution.padding),
            tuple(convolution.stride),
            tuple(convolution.dilation),
            convolution.groups,
        )
        self._relu = relu

    def pack(self, shape: list[int]) -> Any:
        """See `_Packed.pack`."""
        return torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self._shape, shape)

    def forward(self, x: Tensor, *, onto: Tensor | None = None) -> Tensor:
        """``(B, C, Y, X)``; what comes out is added to `onto`, in place, before the ReLU."""
        operators = torch.ops.mkldnn
        weight = self.packed_for(x)
        if onto is None:
            relu = "relu" if self._relu else "none"
            found: Tensor = operators._convolution_pointwise(x, weight, self.bias, *self._shape, relu, [], "")
            return found
        then = "relu" if self._relu else None
        summed: Tensor = operators._convolution_pointwise_(
            onto, x, weight, self.bias, *self._shape, "add", 1.0, then, [], ""
        )
        return summed


class PackedUpsampling(_Packed):
    """As `PackedConvolution`, of a transposed one."""

    def __init__(self, convolution: nn.ConvTranspose2d) -> None:
        super().__init__(convolution.weight)
        self.bias = convolution.bias
        self._shape: tuple[_Pair, _Pair, _Pair, _Pair, int] = (
            tuple(convolution.padding),  # type: ignore[arg-type]
            tuple(convolution.output_padding),
            tuple(convolution.stride),
            tuple(convolution.dilation),
            convolution.groups,
        )

    def pack(self, shape: list[int]) -> Any:
        """See `_Packed.pack`."""
        return torch.ops.mkldnn._reorder_convolution_transpose_weight(self.weight, *self._shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)``."""
        found: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self.packed_for(x), self.bias, *self._shape, "none", [], ""
        )
        return found
