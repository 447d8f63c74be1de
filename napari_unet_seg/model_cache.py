"""Models kept in memory: the next segmentation does not wait for one that was used a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from napari_unet_seg.data.model_files import model_hash
from napari_unet_seg.loading import Segmenting, file_stamp

_MOST = 3
"""That are kept."""


class ModelCache:
    """The models used last, by name or path.

    Parameters
    ----------
    load : callable
        ``name or path -> Segmenting``.
    """

    def __init__(self, load: Callable[[str], Segmenting]) -> None:
        self._load = load
        self._models: dict[str, tuple[Hashable, Segmenting, str]] = {}

    def get(self, name: str) -> Segmenting:
        """A model, loaded once, and again when its file has become another: by a round, or by going back a version.

        Raises
        ------
        InputError
            If there is no such model.
        """
        return self.get_with_hash(name)[0]

    def get_with_hash(self, name: str) -> tuple[Segmenting, str]:
        """As `get`, and the SHA-256 that its file had when it was loaded."""
        stamp = file_stamp(name)
        known = self._models.pop(name, None)
        if known is None or known[0] != stamp:
            known = stamp, self._load(name), model_hash(name)
        # The latest last. Every scan may have an adaptation of its own, so those used longest ago are let go.
        self._models[name] = known
        while len(self._models) > _MOST:
            del self._models[next(iter(self._models))]
        return known[1:]
