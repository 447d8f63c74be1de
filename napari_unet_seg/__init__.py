"""Segment brain MRI in napari with a U-Net, correct the mask, and keep the corrections.

The public names load when they are first used: importing the package costs neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet_seg.data.dataset import Case, Correction, Dataset, open_dataset
    from napari_unet_seg.data.volume import Volume
    from napari_unet_seg.engine.evaluate import evaluate
    from napari_unet_seg.engine.finetune import finetune
    from napari_unet_seg.engine.segmenter import Segmenter, load_model
    from napari_unet_seg.engine.suggest import Suggestion, suggest
    from napari_unet_seg.errors import ChangedElsewhereError, InputError, ReadOnlyError

__version__: str
_HOMES = {
    "Case": "data.dataset",
    "Correction": "data.dataset",
    "Dataset": "data.dataset",
    "open_dataset": "data.dataset",
    "Volume": "data.volume",
    "evaluate": "engine.evaluate",
    "finetune": "engine.finetune",
    "Segmenter": "engine.segmenter",
    "load_model": "engine.segmenter",
    "Suggestion": "engine.suggest",
    "suggest": "engine.suggest",
    "ChangedElsewhereError": "errors",
    "InputError": "errors",
    "ReadOnlyError": "errors",
}

__all__ = [
    "Case",
    "ChangedElsewhereError",
    "Correction",
    "Dataset",
    "InputError",
    "ReadOnlyError",
    "Segmenter",
    "Suggestion",
    "Volume",
    "__version__",
    "evaluate",
    "finetune",
    "load_model",
    "open_dataset",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _version() -> str:
    # What reads it takes several times as long to load as the package.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-unet-seg")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
