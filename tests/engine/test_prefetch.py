import copy
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import FitConfig, UNetConfig
from napari_unet_seg.engine.events import StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.prefetch import ReadAhead, in_order
from napari_unet_seg.engine.prepared_case import prepare
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.shard_store import ShardStore
from napari_unet_seg.engine.shards import write_shards
from napari_unet_seg.engine.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread", "nothing_is_left")

CPU = torch.device("cpu")
NETWORK = UNetConfig(features=(4, 8), convolutions=(1, 1), context=1)
QUICK = FitConfig(steps=9, batch_size=3, patch=(32, 32), steps_per_epoch=4, loss="weighted bce+dice")
EPOCHS = replace(QUICK, sampling="epochs")


def case() -> LabelledVolume:
    volume, mask = make_phantom(slices=8, size=32, seed=0)
    return LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool))


@pytest.fixture
def streamed(tmp_path: Path) -> ShardStore:
    how: Any = {"normalisation": "head-zscore", "resize": None}
    write_shards([("a", prepare(case()))], tmp_path, channel_names=("pre", "flair", "post"), fingerprint=str, **how)
    return ShardStore(tmp_path, device=CPU, cache_bytes=20_000)


def losses(store: Any, config: FitConfig, **more: Any) -> list[float]:
    torch.manual_seed(1)
    events = fit(UNet(NETWORK), store, config, flair=1, **more)
    return [event.loss for event in events if isinstance(event, StepDone)]


def test_passes_over_streamed_slices_have_the_losses_of_those_in_memory(streamed: ShardStore) -> None:
    assert losses(streamed, EPOCHS) == losses(SliceStore([case()], device=CPU), EPOCHS)


def test_draws_from_streamed_slices_are_known_ahead(streamed: ShardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, wanted, main = ReadAhead.batch, [], threading.get_ident()

    def watched(self: ReadAhead, index: Any, upcoming: Any = ()) -> Any:
        wanted.append((len(upcoming), [tuple(one.tolist()) for one in upcoming], tuple(index.tolist())))
        return batch(self, index, upcoming)

    readers = set()
    read = ShardStore.batch
    monkeypatch.setattr(
        ShardStore,
        "batch",
        lambda self, index, **more: (readers.add(threading.get_ident()), read(self, index, **more))[1],
    )
    monkeypatch.setattr(ReadAhead, "batch", watched)
    losses(streamed, QUICK)
    assert [count for count, _, _ in wanted] == [3] * 9
    assert all(now[1][0] == then[2] for now, then in pairwise(wanted))
    assert len({index for _, _, index in wanted}) > 5
    assert main not in readers


@pytest.mark.parametrize("config", [QUICK, EPOCHS], ids=["drawn", "epochs"])
@pytest.mark.parametrize("stop", [4, 5])
def test_a_resumed_training_goes_on_with_the_batches_not_consumed(
    streamed: ShardStore, config: FitConfig, stop: int
) -> None:
    states: list[Any] = []
    asked = iter([False] * stop + [True])
    first = losses(
        streamed,
        config,
        should_stop=lambda: next(asked),
        save_state=lambda state: states.append(copy.deepcopy(state)),
    )
    assert len(first) == stop
    assert first + losses(streamed, config, state=states[-1]) == losses(streamed, config)


def test_a_training_drawn_in_memory_can_go_on_streamed(streamed: ShardStore) -> None:
    states: list[Any] = []
    asked = iter([False, True])
    losses(SliceStore([case()], device=CPU), QUICK, should_stop=lambda: next(asked), save_state=states.append)
    assert len(losses(streamed, QUICK, state=states[-1])) == 8


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_no_reader_outlives_a_training_that_is_let_go(streamed: ShardStore) -> None:
    with closing(fit(UNet(NETWORK), streamed, QUICK, flair=1)) as events:
        next(events)
        assert len(readers()) == 1
    assert readers() == []


def fail_from(number: int) -> Callable[..., Any]:
    batch, read = ShardStore.batch, []

    def failing(self: ShardStore, index: Any, *, context: int) -> Any:
        read.append(index)
        if len(read) >= number:
            raise OSError("the connection is gone")
        return batch(self, index, context=context)

    return failing


def test_what_goes_wrong_while_reading_ahead_is_raised_where_the_batch_is_wanted(
    streamed: ShardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardStore, "batch", fail_from(4))
    events = fit(UNet(NETWORK), streamed, QUICK, flair=1)
    assert [next(events).step for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="connection is gone"):
        next(events)
    assert readers() == []


def test_no_more_than_the_depth_is_read_ahead(streamed: ShardStore) -> None:
    batches = [torch.tensor([number]) for number in range(8)]
    with ReadAhead(streamed, context=0, depth=2) as reader:
        for place, index in enumerate(batches[:5]):
            image, _, _ = reader.batch(index, batches[place + 1 :])
            assert image.equal(streamed.batch(index, context=0)[0])
            assert len(reader._ahead) == 2
        # Another one than was announced.
        assert reader.batch(batches[0])[0].equal(streamed.batch(batches[0], context=0)[0])
    assert readers() == []


def test_a_store_in_memory_has_no_reader() -> None:
    with ReadAhead(SliceStore([case()], device=CPU), context=0) as reader:
        reader.batch(torch.tensor([0]), [torch.tensor([1])])
        assert readers() == []
        assert reader.depth == 0


def test_slices_in_order_come_in_batches(streamed: ShardStore) -> None:
    found = list(in_order(streamed, torch.arange(8), size=3, context=1))
    assert [index.tolist() for index, _ in found] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    for index, (image, mask, _) in found:
        expected = streamed.batch(index, context=1)
        assert image.equal(expected[0])
        assert mask.equal(expected[1])
