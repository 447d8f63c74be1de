"""Models kept in memory, and what they say: no segmentation waits for one that was used a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from napari_unet_seg.case_state import Prediction
from napari_unet_seg.data.model_files import model_hash
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.loading import Segmenting, file_stamp
from napari_unet_seg.probability_map import ProbabilityMap

_MOST = 3
"""That are kept."""


class ModelCache:
    """The models used last, by name or path; on a background thread, one call at a time.

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
        return self._get_with_hash(name)[0]

    def predict(
        self,
        volume: Volume,
        *,
        model: str,
        z: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Prediction:
        """What a model says of a volume, or of one of its slices.

        Raises
        ------
        InputError
            If the volume cannot be used.
        SegmentationError
            If the computation failed.
        Stopped
            If `should_stop` said so.
        """
        start = time.perf_counter()
        segmenter, file_hash = self._get_with_hash(model)
        slices = None if z is None else [z]
        result = segmenter.predict(volume, slices=slices, progress=progress, should_stop=should_stop)
        probability = ProbabilityMap.of(result) if z is None else result[..., z, :, :].copy()
        return Prediction(
            probability=probability,
            z=z,
            model=model,
            model_hash=file_hash,
            min_fraction=segmenter.description.min_fraction,
            seconds=time.perf_counter() - start,
        )

    def _get_with_hash(self, name: str) -> tuple[Segmenting, str]:
        """As `get`, and the SHA-256 that its file had when it was loaded."""
        stamp = file_stamp(name)
        known = self._models.pop(name, None)
        while known is None or known[0] != stamp:
            known = stamp, self._load(name), model_hash(name)
            # Another process may have put a version in its place between the two: then once more.
            stamp = file_stamp(name)
        # The latest last. Every scan may have an adaptation of its own, so those used longest ago are let go.
        self._models[name] = known
        while len(self._models) > _MOST:
            del self._models[next(iter(self._models))]
        return known[1:]
