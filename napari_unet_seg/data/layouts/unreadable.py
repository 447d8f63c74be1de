"""A part of a dataset that cannot be listed: it says why when it is opened, and the rest stays usable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_unet_seg.data.scan import MaskFile, PlainScan
from napari_unet_seg.data.volume import Array, Mask, Volume
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class UnreadableScan(PlainScan):
    """Stands in the list of cases for a file that cannot be read."""

    case_id: str
    problem: str
    path: Path
    has_mask: bool = False
    foreground: int = 1
    mask_paths: tuple[Path, ...] = ()

    def read_image(self) -> Volume:
        """InputError: what is wrong with the file."""
        raise self._error()

    def read_shape(self) -> tuple[int, int, int]:
        """InputError: what is wrong with the file."""
        raise self._error()

    def mask_files(self) -> tuple[MaskFile, ...]:
        """None: nothing can be saved."""
        return ()

    def decode_mask(self, file: MaskFile, path: Path) -> Array | None:
        """InputError: what is wrong with the file."""
        raise self._error()

    def encode_mask(self, file: MaskFile, labels: Array, *, former: Path | None, original: Path | None) -> bytes:
        """InputError: what is wrong with the file."""
        raise self._error()

    def write_prediction(self, mask: Mask, folder: Path) -> Path:
        """InputError: what is wrong with the file."""
        raise self._error()

    def _error(self) -> InputError:
        return InputError(self.problem, path=self.path)
