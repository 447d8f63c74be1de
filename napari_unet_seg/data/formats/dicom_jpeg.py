"""Lossless JPEG, the usual compression of MR archives, for pydicom: through imagecodecs, which is here anyway."""

from __future__ import annotations

from typing import Any

from pydicom.pixels import get_decoder
from pydicom.uid import UID, JPEGLossless, JPEGLosslessSV1

# pydicom's names for what a plugin has to offer.
DECODER_DEPENDENCIES = {JPEGLossless: ("imagecodecs",), JPEGLosslessSV1: ("imagecodecs",)}

_LABEL = "napari-unet-seg"


def register() -> None:
    """Offer this decoder to pydicom; a second time does nothing."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if _LABEL not in decoder.available_plugins:
            decoder.add_plugin(_LABEL, (__name__, "decode_frame"))


def is_available(syntax: UID) -> bool:
    """Whether this decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Decode a frame; `runner` is pydicom's description of it."""
    import imagecodecs

    pixels = imagecodecs.jpeg_decode(source)
    runner.set_option("bits_allocated", pixels.itemsize * 8)
    return bytes(pixels.tobytes())
