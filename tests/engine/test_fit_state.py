import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import FitConfig, UNetConfig
from napari_unet_seg.engine.events import EpochDone, FitEvent, FitFinished, StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.fit_state import read_state, write_state
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = UNetConfig(features=(4, 8), convolutions=(1, 1), dropout=0.3)
# The one loss that does not load MONAI.
QUICK = FitConfig(steps=9, batch_size=3, patch=(32, 32), steps_per_epoch=4, loss="weighted bce+dice")


@pytest.fixture(scope="module")
def store() -> SliceStore:
    volume, mask = make_phantom(slices=8, size=32, seed=0)
    return SliceStore([LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool))], device=torch.device("cpu"))


def network() -> UNet:
    torch.manual_seed(1)
    return UNet(SMALL)


def run(store: SliceStore, config: FitConfig, net: UNet | None = None, **more: Any) -> list[FitEvent]:
    return list(fit(net or network(), store, config, flair=1, **more))


def losses(events: list[FitEvent]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def stop_after(steps: int) -> Callable[[], bool]:
    asked = iter([False] * steps + [True])
    return lambda: next(asked)


def falling(values: list[float]) -> Callable[[nn.Module], Mapping[str, float]]:
    coming = iter(values)
    return lambda _: {"loss": next(coming)}


@pytest.mark.parametrize(
    "config",
    [
        QUICK,
        replace(QUICK, sampling="epochs", optimiser="adam", schedule="cosine", ema_decay=0),
        replace(QUICK, sampling="epochs", schedule="plateau", plateau_patience=1),
        replace(QUICK, anchor=0.1, travel=0.01, frozen_statistics=True, precision="bfloat16"),
    ],
    ids=["default", "epochs", "plateau", "anchor"],
)
@pytest.mark.parametrize("interrupted_after", [4, 5])
def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(
    tmp_path: Path, store: SliceStore, config: FitConfig, interrupted_after: int
) -> None:
    """Exactly: the interruption falls at the end of an epoch and into the middle of one."""
    validate = {"validate": lambda _: {"loss": 1.0}}
    whole = network()
    expected = run(store, config, whole, **validate)
    file, again = tmp_path / "state.pt", network()
    first = run(
        store,
        config,
        should_stop=stop_after(interrupted_after),
        save_state=lambda state: write_state(file, state),
        **validate,
    )
    assert len(losses(first)) == interrupted_after
    torch.manual_seed(99)
    second = run(store, config, again, state=read_state(file), **validate)
    assert losses(first) + losses(second) == losses(expected)
    assert all(value.equal(again.state_dict()[name]) for name, value in whole.state_dict().items())
    told = [(event.epoch, event.loss) for event in first + second if isinstance(event, EpochDone)]
    assert told == [(event.epoch, event.loss) for event in expected if isinstance(event, EpochDone)]


def test_a_state_is_not_changed_by_the_training_that_goes_on_from_it(store: SliceStore) -> None:
    states: list[Any] = []
    run(store, QUICK, should_stop=stop_after(4), save_state=lambda state: states.append(copy.deepcopy(state)))
    assert losses(run(store, QUICK, state=states[-1])) == losses(run(store, QUICK, state=states[-1]))


def test_a_finished_training_has_nothing_left_to_do(store: SliceStore) -> None:
    states: list[Any] = []
    done, again = network(), network()
    run(store, QUICK, done, save_state=lambda state: states.append(copy.deepcopy(state)))
    assert [state["progress"]["step"] for state in states] == [4, 8, 9]
    assert [state["progress"]["finished"] for state in states] == [False, False, True]
    (only,) = run(store, QUICK, again, state=states[-1])
    assert isinstance(only, FitFinished)
    assert all(value.equal(again.state_dict()[name]) for name, value in done.state_dict().items())


def test_a_state_of_another_training_is_refused(store: SliceStore) -> None:
    states: list[Any] = []
    run(store, QUICK, should_stop=stop_after(1), save_state=states.append)
    with pytest.raises(ValueError, match="another batch_size, learning_rate"):
        run(store, replace(QUICK, batch_size=2, learning_rate=0.5), state=states[-1])


@pytest.mark.parametrize("content", [b"", b"no state", None])
def test_a_file_that_holds_no_state_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "state.pt"
    if content is None:
        torch.save({"format": "another"}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match="delete it to begin anew"):
        read_state(file)


class Code:
    """Something that a pickle would build."""


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": "napari-unet-seg-fit/1", "code": Code()}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="damaged"):
        read_state(tmp_path / "state.pt")


def test_a_pass_takes_every_slice_once(store: SliceStore) -> None:
    seen: list[int] = []
    counted = copy.copy(store)
    counted.batch = lambda index, **more: (seen.append(index.tolist()), store.batch(index, **more))[1]
    events = run(counted, replace(QUICK, sampling="epochs", steps=6))
    assert [len(batch) for batch in seen] == [3, 3, 2] * 2
    first, second = [*chain(*seen[:3])], [*chain(*seen[3:])]
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    assert [event.step for event in events if isinstance(event, EpochDone)] == [3, 6]


def test_validation_sees_the_weights_that_are_kept(store: SliceStore) -> None:
    net, seen = network(), []

    def validate(kept: nn.Module) -> dict[str, float]:
        seen.append(copy.deepcopy(kept.state_dict()))
        assert not kept.training
        return {"loss": 2.0, "dice": 0.5}

    config = replace(QUICK, steps=4)
    epochs = [event for event in run(store, config, net, validate=validate) if isinstance(event, EpochDone)]
    assert [epoch.validation for epoch in epochs] == [{"loss": 2.0, "dice": 0.5}]
    assert all(value.equal(net.state_dict()[name]) for name, value in seen[0].items())


def test_without_an_average_the_last_weights_are_kept(store: SliceStore) -> None:
    states: list[Any] = []
    net = network()
    run(store, replace(QUICK, ema_decay=0, steps=3), net, save_state=states.append)
    assert all(value.equal(net.state_dict()[name]) for name, value in states[-1]["learner"].items())


def test_a_plateau_cuts_the_rate_of_the_next_epoch(store: SliceStore) -> None:
    config = replace(QUICK, steps=8, steps_per_epoch=2, schedule="plateau", plateau_patience=1, learning_rate=0.01)
    events = run(store, config, validate=falling([1.0, 1.0, 0.5, 0.6]))
    assert [event.learning_rate for event in events if isinstance(event, EpochDone)] == [0.01, 0.01, 0.005, 0.005]


def test_early_stopping_ends_it_and_a_resumed_one_ends_at_once(store: SliceStore) -> None:
    config = replace(QUICK, steps=20, steps_per_epoch=2, early_stopping=2)
    states: list[Any] = []
    events = run(store, config, validate=falling([1.0, 0.5, 0.6, 0.7]), save_state=states.append)
    assert len(losses(events)) == 8
    assert isinstance(events[-1], FitFinished)
    assert not events[-1].stopped
    assert losses(run(store, config, validate=falling([]), state=states[-1])) == []


@pytest.mark.parametrize("change", [{"schedule": "plateau"}, {"early_stopping": 3}])
def test_what_waits_for_a_validation_needs_one(store: SliceStore, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need a validation"):
        run(store, replace(QUICK, **change))
