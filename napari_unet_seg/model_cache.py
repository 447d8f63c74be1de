"""Models kept in memory: the next segmentation does not wait for one that was used a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Hashable

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
        self._models: dict[str, tuple[Hashable, Segmenting]] = {}

    def get(self, name: str) -> Segmenting:
        """A model, loaded once, and again when its file has become another: by a round, or by going back a version.

        Raises
        ------
        InputError
            If there is no such model.
        """
        stamp = file_stamp(name)
        known = self._models.pop(name, None)
        model = known[1] if known is not None and known[0] == stamp else self._load(name)
        # The latest last. Every scan may have an adaptation of its own, so those used longest ago are let go.
        self._models[name] = stamp, model
        while len(self._models) > _MOST:
            del self._models[next(iter(self._models))]
        return model
