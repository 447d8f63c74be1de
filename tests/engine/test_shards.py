import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.prepared_case import PreparedCase, prepare
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.shard_index import ShardIndex
from napari_unet_seg.engine.shard_store import RecentSlices, ShardStore
from napari_unet_seg.engine.shards import holds_shards, read_index, write_shards
from napari_unet_seg.errors import InputError

CPU = torch.device("cpu")
HOW: dict[str, Any] = {"normalisation": "head-zscore", "resize": None, "channel_names": ("pre", "flair", "post")}


def labelled(*, size: int = 32, seed: int = 0, dtype: str = "uint8", soft: bool = False) -> LabelledVolume:
    volume, mask = make_phantom(slices=4, size=size, seed=seed)
    data = volume.data if dtype == "uint8" else (volume.data * 3.7 - 50).astype(dtype)
    return LabelledVolume(
        volume=replace(volume, data=data),
        mask=mask,
        labelled=np.arange(4) != seed,
        soft=0.7 * mask.astype(np.float32) if soft else None,
        weight=np.full(4, 0.3, np.float32) if seed else None,
    )


def prepared(cases: list[LabelledVolume], **how: Any) -> Iterator[tuple[str, PreparedCase]]:
    for number, case in enumerate(cases):
        yield f"case {number}", prepare(case, **how)


def pack(cases: list[LabelledVolume], url: str | Path, **changes: Any) -> ShardIndex:
    how = HOW | {key: value for key, value in changes.items() if key in HOW}
    kept = {key: how[key] for key in ("normalisation", "resize")}
    more = {key: value for key, value in changes.items() if key not in HOW}
    return write_shards(prepared(cases, **kept), url, fingerprint=lambda: "f" * 64, **how, **more)


def store(url: str | Path, *, cache_bytes: int = 10**6) -> ShardStore:
    return ShardStore(url, device=CPU, cache_bytes=cache_bytes)


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://shards"
    fsspec.filesystem("memory").rm("/shards", recursive=True)


CASES = {
    "bytes": [labelled(size=32), labelled(size=48, seed=1)],
    "float16": [labelled(size=48, dtype="float32"), labelled(size=32, seed=1, dtype="int16")],
    "both": [labelled(size=32), labelled(size=48, seed=1, dtype="float32"), labelled(size=40, seed=2, soft=True)],
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_batches_are_those_of_the_store_in_memory(memory: str, kind: str, cache_bytes: int) -> None:
    pack(CASES[kind], memory, shard_bytes=1)
    held, streamed = SliceStore(CASES[kind], device=CPU), store(memory, cache_bytes=cache_bytes)
    for name in ("labelled", "tumour", "empty", "weights"):
        assert getattr(held, name).equal(getattr(streamed, name)), name
    assert held.soft == streamed.soft
    for index in ([0, 1, 2, 3, 4], [7, 0, 0, 3], [5], [7, 0, 0, 3]):
        for context in (0, 1):
            expected = held.batch(torch.tensor(index), context=context)
            for one, other in zip(expected, streamed.batch(torch.tensor(index), context=context), strict=True):
                assert one.dtype == other.dtype
                assert one.equal(other)


def test_whole_slices_are_those_of_the_store_in_memory(tmp_path: Path) -> None:
    how: dict[str, Any] = {"normalisation": "unit", "resize": (20, 24)}
    pack(CASES["bytes"], tmp_path, **how)
    held, streamed = SliceStore(CASES["bytes"], device=CPU, **how), store(tmp_path)
    expected = held.batch(held.labelled, context=0)
    for one, other in zip(expected, streamed.batch(held.labelled, context=0), strict=True):
        assert one.equal(other)


def test_a_shard_is_ended_when_it_is_long_enough(tmp_path: Path) -> None:
    case = 4 * (32 * 32 * 3 + 32 * 32)
    index = pack([labelled(), labelled(seed=1), labelled(seed=2)], tmp_path, shard_bytes=case + 1)
    assert index.shards == (2 * case, case)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.json", "shard-00000.bin", "shard-00001.bin"]
    found = read_index(tmp_path)
    assert [case.case_id for case in found.cases] == ["case 0", "case 1", "case 2"]
    assert (found.fingerprint, found.normalisation, found.resize) == ("f" * 64, "head-zscore", None)


def test_neighbours_are_fetched_in_one_request_and_those_used_last_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(CASES["bytes"], tmp_path)
    streamed, asked = store(tmp_path), []
    fetch = streamed._fs.cat_ranges
    monkeypatch.setattr(
        streamed._fs, "cat_ranges", lambda *ranges, **more: (asked.append(len(ranges[0])), fetch(*ranges, **more))[1]
    )
    streamed.batch(torch.tensor([1, 6]), context=1)
    assert asked == [2]
    streamed.batch(torch.tensor([1, 5, 6]), context=0)
    assert asked == [2]


def test_what_was_not_used_for_longest_is_let_go() -> None:
    recent = RecentSlices(10)
    recent.put({1: b"1234", 2: b"1234"})
    recent.get([1])
    recent.put({3: b"1234"})
    assert recent.get([1, 2, 3]).keys() == {1, 3}
    assert recent.size == 8
    recent.put({4: b"more than fits"})
    assert recent.get([1, 3, 4]) == {}


def broken(cases: list[LabelledVolume]) -> Iterator[tuple[str, PreparedCase]]:
    yield from prepared(cases)
    raise InputError("this case cannot be read")


def test_nothing_is_left_of_a_packing_that_fails(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        write_shards(broken([labelled()]), tmp_path, fingerprint=str, **HOW)
    assert list(tmp_path.iterdir()) == []


def test_shards_are_never_replaced_but_unfinished_ones_are(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"shard-0000{number}.bin").write_bytes(b"begun")
    assert holds_shards(tmp_path)
    with pytest.raises(InputError, match="never finished"):
        store(tmp_path)
    pack([labelled()], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputError, match="shards already"):
        pack([labelled()], tmp_path)
    assert len(store(tmp_path).labelled) == 3


def cut(folder: Path) -> None:
    shard = folder / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])


def take_away(folder: Path) -> None:
    (folder / "shard-00000.bin").unlink()


def spoil_index(folder: Path) -> None:
    (folder / "index.json").write_text((folder / "index.json").read_text()[:-20])


def spoil_start(folder: Path) -> None:
    (folder / "index.json").write_text("{")


def drop_entry(folder: Path) -> None:
    content = json.loads((folder / "index.json").read_text())
    del content["cases"][0]["table"]["centre"]
    (folder / "index.json").write_text(json.dumps(content))


def other_version(folder: Path) -> None:
    file = folder / "index.json"
    file.write_text(file.read_text().replace("napari-unet-seg-shards/1", "napari-unet-seg-shards/9"))


@pytest.mark.parametrize("damage", [cut, take_away, spoil_index, spoil_start, drop_entry, other_version])
def test_damage_is_one_clear_line(tmp_path: Path, damage: Any) -> None:
    pack([labelled()], tmp_path)
    damage(tmp_path)
    assert holds_shards(tmp_path)
    with pytest.raises(InputError, match="pack it again") as raised:
        store(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_damaged_slice_is_found_when_it_is_read(tmp_path: Path) -> None:
    pack([labelled()], tmp_path)
    shard = tmp_path / "shard-00000.bin"
    content = bytearray(shard.read_bytes())
    content[32 * 32 * 4 + 7] ^= 1
    shard.write_bytes(content)
    streamed = store(tmp_path)
    streamed.batch(torch.tensor([0, 2]), context=0)
    with pytest.raises(InputError, match="slice 1 of case 0 is damaged"):
        streamed.batch(torch.tensor([1]), context=0)


def test_shards_that_vanish_are_one_clear_line(tmp_path: Path) -> None:
    pack([labelled()], tmp_path)
    streamed = store(tmp_path)
    take_away(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        streamed.batch(torch.tensor([1]), context=0)


@pytest.mark.parametrize("change", [{"normalisation": "unit"}, {"resize": (32, 32)}, {"channel_names": ("flair",)}])
def test_what_was_prepared_in_another_way_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    index = pack([labelled()], tmp_path)
    index.check(str(tmp_path), **HOW)
    with pytest.raises(InputError, match=f"packed with {next(iter(change))}"):
        index.check(str(tmp_path), **HOW | change)


@pytest.mark.parametrize("url", ["hdfs://host/lgg", "nothing-of-the-kind://lgg", "memory://not/there"])
def test_a_place_that_cannot_be_reached_is_one_clear_line(url: str) -> None:
    with pytest.raises(InputError) as raised:
        store(url)
    assert str(raised.value).startswith(url)
    assert "\n" not in str(raised.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"^s3://bucket/lgg: a package .*Install s3fs"):
        holds_shards("s3://bucket/lgg")


def test_a_folder_of_scans_holds_no_shards(tmp_path: Path) -> None:
    assert not holds_shards(tmp_path / "nothing")
    (tmp_path / "index.json").write_text("{}")
    assert not holds_shards(tmp_path)


def test_shards_without_a_labelled_slice_are_refused(tmp_path: Path) -> None:
    pack([replace(labelled(), labelled=np.zeros(4, bool))], tmp_path)
    with pytest.raises(ValueError, match="no labelled slice"):
        store(tmp_path)
