"""Models kept in memory."""

from __future__ import annotations

from pathlib import Path

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.checkpoint import file_hash
from napari_unet_seg.engine.segmenter import Segmenter, load_model
from napari_unet_seg.model_cache import ModelCache
from tests.engine.models import save_small


def test_a_file_that_is_replaced_while_it_is_loaded_is_loaded_again(tmp_path: Path) -> None:
    """What is predicted is told under the hash of the model that predicted it."""
    path = save_small(tmp_path / "model.safetensors")
    promoted = save_small(tmp_path / "promoted.safetensors", seed=1)
    loaded: list[str] = []

    def load(name: str) -> Segmenter:
        segmenter = load_model(Path(name))
        loaded.append(segmenter.description.name)
        if promoted.exists():
            promoted.replace(path)
        return segmenter

    cache = ModelCache(load)
    volume, _ = make_phantom(slices=3, size=32, seed=0)
    prediction = cache.predict(volume, model=str(path), z=1)
    assert loaded == ["model", "promoted"]
    assert prediction.model_hash == file_hash(path)
    cache.get(str(path))
    assert len(loaded) == 2
