"""Data that does not fit in memory, or lies elsewhere."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import load_checkpoint
from napari_unet_seg.engine.prepared_case import prepare
from napari_unet_seg.engine.samples import LabelledVolume
from napari_unet_seg.engine.shard_store import ShardStore
from napari_unet_seg.engine.shards import INDEX, read_index
from napari_unet_seg.engine.slice_source import SliceSource
from tests.training.test_distributed import torchrun
from tests.training.test_run_folder import figures, interrupt_batch, start
from tests.training.tiny_run import tiny
from training import pack
from training.memory_limit import GIB
from training.recipe import SplitConfig
from training.recipes import RECIPES
from training.spill import Spill, hold_or_stream
from training.train import train

LITTLE = ("--memory", "0.00001")
"""About 10 kB: two slices of 32 x 32 pixels."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle(tmp_path_factory.mktemp("data"), patients=4, slices=4, size=32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run with all of it in memory."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(data, folder) == 0
    return folder


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://packed"
    fsspec.filesystem("memory").rm("/packed", recursive=True)


def settings(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return {key: config[key] for key in ("cases", "held_out", "data_fingerprint")}


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_checkpoint(folder / "last.safetensors")[0].state_dict() for folder in (one, other))
    return all(value.equal(second[name]) for name, value in first.items())


def test_a_run_that_spills_ends_as_one_in_memory(
    tmp_path: Path, data: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert start(data, folder, *LITTLE) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "streamed from" in line]
    assert told == [f"the cases take more than 1e-05 GiB: streamed from {folder / 'shards'}"]
    assert figures(folder) == figures(whole)
    assert same_weights(folder, whole)
    assert settings(folder) == settings(whole)
    assert not (folder / "shards").exists()


def test_a_resumed_run_goes_on_with_its_shards(
    tmp_path: Path, data: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    read, batches = ShardStore.batch, []

    def press(self: ShardStore, index: torch.Tensor, *, context: int) -> Any:
        batches.append(index)
        if len(batches) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return read(self, index, context=context)

    with monkeypatch.context() as patched:
        patched.setattr(ShardStore, "batch", press)
        assert start(data, folder, *LITTLE) == 130
    assert "stopped at step" in capsys.readouterr().out
    # However much memory there is now.
    with monkeypatch.context() as patched:
        patched.setattr("training.spill.write_shards", None)
        assert start(data, folder, "--resume", "--memory", "4") == 0
    assert "going on with the shards" in capsys.readouterr().out
    assert figures(folder) == figures(whole)
    assert not (folder / "shards").exists()


def test_a_run_broken_off_in_memory_can_go_on_streamed(
    tmp_path: Path, data: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        interrupt_batch(patched, 3)
        assert start(data, folder) == 130
    assert start(data, folder, "--resume", *LITTLE) == 0
    assert figures(folder) == figures(whole)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny recipe with every sample drawn for itself and changed at random."""
    recipe = tiny()
    fit = replace(recipe.fit, sampling="drawn", steps_per_epoch=3, coarse_fraction=0.5)
    monkeypatch.setitem(RECIPES, "tiny", lambda: replace(recipe, fit=fit, epochs=3))


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(("before", "after"), [((), LITTLE), (LITTLE, ())], ids=["then streamed", "then in memory"])
def test_samples_drawn_one_by_one_are_the_same_streamed_and_resumed_either_way(
    tmp_path: Path, data: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    assert start(data, tmp_path / "first", *before) == 0
    assert start(data, tmp_path / "second", *after) == 0
    assert figures(tmp_path / "first") == figures(tmp_path / "second")
    assert same_weights(tmp_path / "first", tmp_path / "second")
    broken = tmp_path / "broken"
    asked = chain([False] * 5, repeat(True))
    train(RECIPES["tiny"](), data=data, output=broken, memory=memory_of(before), should_stop=lambda: next(asked))
    # Streamed shards would be taken up again, however much memory there is now.
    shutil.rmtree(broken / "shards", ignore_errors=True)
    assert start(data, broken, "--resume", *after) == 0
    assert figures(broken) == figures(tmp_path / "first")
    assert same_weights(broken, tmp_path / "first")


def memory_of(arguments: tuple[str, ...]) -> int | None:
    return int(float(arguments[1]) * GIB) if arguments else None


def test_shards_of_an_earlier_run_are_not_taken_for_those_of_a_new_one(tmp_path: Path, data: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "index.json").write_text("an earlier one")
    (folder / "shards" / "shard-00000.bin").write_text("an earlier one")
    assert start(data, folder, *LITTLE) == 0
    assert figures(folder) == figures(whole)


def test_what_was_packed_into_the_run_is_not_deleted(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "run" / "shards"
    assert pack.main(["tiny", "--data", str(data), "--output", str(packed)]) == 0
    for url in (packed, f"file://{packed}"):
        assert start(url, tmp_path / "run") == 2  # type: ignore[arg-type]
        assert "lies where the run keeps shards of its own" in capsys.readouterr().err
    assert (packed / INDEX).is_file()


def test_high_and_wide_slices_count_as_they_lie_in_memory(tmp_path: Path) -> None:
    """Each as high as the highest and as wide as the widest."""

    def store(limit: int) -> SliceSource:
        cases = []
        for height, width in ((8, 64), (64, 8)):
            pixels = np.random.default_rng(0).integers(1, 9, (3, 2, height, width), np.uint8)
            volume = Volume(data=pixels, channel_names=("pre", "flair", "post"))
            mask = np.ones(pixels.shape[1:], np.uint8)
            cases.append((f"{height}", prepare(LabelledVolume(volume=volume, mask=mask, labelled=np.ones(2, bool)))))
        spill = Spill(folder=tmp_path / str(limit), limit=limit, writes=True, kept=False, say=print)
        return hold_or_stream(cases, tiny(), spill=spill, device=torch.device("cpu"), fingerprint=lambda: "any")

    # Three bytes a pixel and one of its mask.
    needed = 4 * 64 * 64 * (3 + 1)
    assert not store(needed).streamed
    assert store(needed - 1).streamed


def test_what_was_packed_trains_as_the_dataset_does(
    tmp_path: Path, data: Path, whole: Path, memory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack.main(["tiny", "--data", str(data), "--output", memory, "--shard-mib", "1"]) == 0
    assert "4 cases, 16 slices" in capsys.readouterr().out
    folder = tmp_path / "run"
    assert start(memory, folder) == 0  # type: ignore[arg-type]
    assert figures(folder) == figures(whole)
    assert same_weights(folder, whole)
    found, expected = settings(folder), settings(whole)
    assert (found["cases"], found["held_out"]) == (expected["cases"], expected["held_out"])
    # What was packed is more than what trains.
    assert found["data_fingerprint"] != expected["data_fingerprint"]
    assert read_index(memory).cases[0].size == (32, 32)


def test_a_fold_of_what_was_packed_is_left_out(
    tmp_path: Path, data: Path, memory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(folder.name for folder in data.iterdir())
    (tmp_path / "folds.json").write_text(json.dumps({"folds": [[names[2]]]}))
    assert pack.main(["tiny", "--data", str(data), "--output", memory]) == 0
    more = ["--epochs", "1", "--folds", str(tmp_path / "folds.json"), "--fold", "0"]
    for source, folder in ((memory, "packed"), (data, "read")):
        assert start(source, tmp_path / folder, *more) == 0  # type: ignore[arg-type]
    found, expected = settings(tmp_path / "packed"), settings(tmp_path / "read")
    assert names[2] in found["held_out"]
    assert (found["cases"], found["held_out"]) == (expected["cases"], expected["held_out"])
    (tmp_path / "folds.json").write_text(json.dumps({"folds": [["TCGA_ZZ_0001_20000101"]]}))
    for source in (memory, data):
        assert start(source, tmp_path / "refused", *more) == 2  # type: ignore[arg-type]
        assert "1 of the 1 cases to be left out are not there" in capsys.readouterr().err


def test_a_given_split_is_packed_as_well(tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(tiny(), split=SplitConfig(kind="given"), epochs=1)
    monkeypatch.setitem(RECIPES, "tiny", lambda: given)
    for number, part in enumerate(("train", "valid")):
        write_kaggle(tmp_path / part, patients=2, seed=2 * number, slices=4, size=32)
    # Both parts count their patients from the same number.
    for folder in list((tmp_path / "valid" / "kaggle_3m").iterdir()):
        for file in list(folder.iterdir()):
            file.rename(file.with_name(file.name.replace("TCGA_XX_1", "TCGA_XX_2")))
        folder.rename(folder.with_name(folder.name.replace("TCGA_XX_1", "TCGA_XX_2")))
    data = tmp_path / "data"
    data.mkdir()
    for part in ("train", "valid"):
        (tmp_path / part / "kaggle_3m").rename(data / part)
    assert pack.main(["tiny", "--data", str(data), "--output", memory]) == 0
    assert set(read_index(memory).parts.values()) == {"train", "validation"}
    assert start(memory, tmp_path / "packed") == 0  # type: ignore[arg-type]
    assert start(data, tmp_path / "read") == 0
    assert figures(tmp_path / "packed") == figures(tmp_path / "read")


@pytest.mark.parametrize(
    ("change", "told"),
    [({"normalisation": "unit"}, "normalisation"), ({"channel_names": ("post", "flair", "pre")}, "channel_names")],
)
def test_what_was_packed_for_another_recipe_is_refused(
    tmp_path: Path,
    data: Path,
    memory: str,
    change: dict[str, Any],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert pack.main(["tiny", "--data", str(data), "--output", memory]) == 0
    recipe = tiny()
    if "normalisation" in change:
        recipe = replace(recipe, resize=(32, 32), fit=replace(recipe.fit, augment=None))
    other = replace(recipe, **change)
    monkeypatch.setitem(RECIPES, "tiny", lambda: other)
    assert start(memory, tmp_path / "run") == 2  # type: ignore[arg-type]
    line = capsys.readouterr().err
    assert f"packed with {told}" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("source", ["memory://nowhere", "nothing-of-the-kind://lgg"])
def test_data_that_is_not_there_is_one_clear_line(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(source, tmp_path / "run") == 2  # type: ignore[arg-type]
    assert capsys.readouterr().err.count("\n") == 1


def test_shards_that_cannot_be_written_are_one_clear_line(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "open", full)
    assert start(data, tmp_path / "run", *LITTLE) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert not list((tmp_path / "run").rglob("*.bin"))


def test_of_two_processes_one_writes_and_both_stream(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    process = torchrun("-m", "tests.training.tiny_run", "tiny", "--data", str(data), "--output", str(folder),
                       "--threads", "1", "--epochs", "2", *LITTLE)  # fmt: skip
    with process:
        told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert told.count("streamed from") == 1
    assert len(json.loads((folder / "history.json").read_text())) == 2
    assert not (folder / "shards").exists()
