import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine.config import AugmentConfig, FitConfig, UNetConfig
from napari_unet_seg.engine.events import EpochDone, FitFinished, StepDone
from napari_unet_seg.engine.fit import LossNotFinite, fit
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SMALL = UNetConfig(context=1, features=(4, 8, 12), convolutions=(1, 1, 1))
PLAIN = AugmentConfig(elastic=0, contrast=0, brightness=0, gamma=0, bias_field=0, noise=0, missing_sequence=0)
QUICK = FitConfig(steps=6, batch_size=4, patch=(48, 48), steps_per_epoch=3, coarse_fraction=0.5)


def labelled(*, seed: int = 0, size: int = 48) -> LabelledVolume:
    volume, mask = make_phantom(slices=8, size=size, seed=seed)
    return LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool))


def test_events_come_in_order_and_the_weights_move() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    before = copy.deepcopy(network.state_dict())
    events = list(fit(network, SliceStore([labelled()], device=CPU), QUICK, flair=1))
    assert [type(event) for event in events] == [StepDone] * 3 + [EpochDone] + [StepDone] * 3 + [EpochDone, FitFinished]
    assert isinstance(events[-1], FitFinished)
    assert (events[-1].steps, events[-1].stopped) == (6, False)
    assert any(not torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_loss_of_an_epoch_is_the_mean_over_its_own_steps() -> None:
    events = list(fit(UNet(SMALL), SliceStore([labelled()], device=CPU), QUICK))
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    epochs = [event.loss for event in events if isinstance(event, EpochDone)]
    assert epochs == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:])])


def test_a_gradient_is_cut_to_its_longest() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    # Far below what Adam adds to the size of a gradient before it divides by that: nothing is left of a step.
    config = replace(QUICK, clip_norm=1e-13, weight_decay=0.0, ema_decay=0.0)
    list(fit(network, SliceStore([labelled()], device=CPU), config))
    for then, now in zip(before, network.parameters(), strict=True):
        torch.testing.assert_close(now.detach(), then, rtol=0, atol=1e-6)


def test_it_learns_the_phantom() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    config = FitConfig(steps=60, batch_size=8, patch=(48, 48), learning_rate=1e-2, augment=PLAIN)
    losses = [e.loss for e in fit(network, SliceStore([labelled()], device=CPU), config) if isinstance(e, StepDone)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_targets_can_be_told_from_the_images_as_they_are_seen() -> None:
    store = SliceStore([labelled()], device=CPU)
    said = {}
    for value in (0.0, 1.0):
        seen = []

        def retarget(
            image: torch.Tensor, target: torch.Tensor, index: torch.Tensor, value: float = value, seen: list = seen
        ) -> torch.Tensor:
            seen.append((image.shape, target.shape, index.tolist()))
            return torch.full_like(target, value)

        torch.manual_seed(0)
        network = UNet(SMALL)
        config = replace(QUICK, steps=30, learning_rate=1e-2, coarse_fraction=0.0, loss="weighted bce+dice")
        list(fit(network, store, config, flair=1, retarget=retarget))
        assert len(seen) == 30
        assert all(image == (4, 9, 48, 48) and target == (4, 1, 48, 48) for image, target, _ in seen)
        assert {place for _, _, index in seen for place in index} <= set(range(8))
        image, _, _ = store.batch(torch.arange(8), context=1)
        with torch.no_grad():
            said[value] = network.eval()(image.flatten(1, 2)).sigmoid().mean().item()
    assert said[1.0] - said[0.0] > 0.2


def test_the_same_seed_gives_the_same_losses() -> None:
    store = SliceStore([labelled()], device=CPU)
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append([e.loss for e in fit(UNet(SMALL), store, QUICK, flair=1) if isinstance(e, StepDone)])
    assert runs[0] == runs[1]


def test_stopping_keeps_what_was_learned() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    before = copy.deepcopy(network.state_dict())
    asked = iter([False, False, True])
    events = list(fit(network, SliceStore([labelled()], device=CPU), QUICK, should_stop=lambda: next(asked)))
    finished = events[-1]
    assert isinstance(finished, FitFinished)
    assert (finished.steps, finished.stopped) == (2, True)
    assert any(not torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_loss_that_is_not_finite_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    store = SliceStore([labelled()], device=CPU)
    store.statistics[..., 0] = float("nan")
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(LossNotFinite, match="became nan at step 0"):
        list(fit(network, store, QUICK))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_slices_without_a_mask_are_never_drawn() -> None:
    case = labelled()
    only = np.zeros(8, bool)
    only[[2, 5]] = True
    store = SliceStore([LabelledVolume(volume=case.volume, mask=case.mask, labelled=only)], device=CPU)
    drawn = store.draw(200, tumour_fraction=0.5, generator=torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) <= {2, 5}


def test_neighbours_stay_within_their_scan() -> None:
    store = SliceStore([labelled(seed=0), labelled(seed=1)], device=CPU)
    image, _, _ = store.batch(torch.tensor([7, 8]), context=1)
    torch.testing.assert_close(image[0, 1], image[0, 2])
    torch.testing.assert_close(image[1, 0], image[1, 1])


def test_scans_of_several_sizes_and_types_share_a_store() -> None:
    small, large = labelled(size=40), labelled(size=48, seed=1)
    as_float = LabelledVolume(
        volume=type(large.volume)(
            data=large.volume.data.astype(np.float64) * 1e6, channel_names=large.volume.channel_names
        ),
        mask=large.mask,
        labelled=large.labelled,
    )
    store = SliceStore([small, as_float], device=CPU)
    image, mask, _ = store.batch(torch.arange(16), context=0)
    assert image.shape == (16, 1, 3, 48, 48)
    assert torch.isfinite(image).all()
    assert mask[:8, :, 40:].sum() == 0


def test_no_labelled_slice_is_refused() -> None:
    case = labelled()
    with pytest.raises(ValueError, match="no labelled slice"):
        SliceStore([LabelledVolume(volume=case.volume, mask=case.mask, labelled=np.zeros(8, bool))], device=CPU)


def statistics(network: UNet) -> list[torch.Tensor]:
    return [value.clone() for name, value in network.state_dict().items() if "running" in name]


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_stay(frozen: bool) -> None:
    torch.manual_seed(0)
    network = UNet(SMALL)
    before = statistics(network)
    list(fit(network, SliceStore([labelled()], device=CPU), replace(QUICK, frozen_statistics=frozen)))
    same = all(torch.equal(old, new) for old, new in zip(before, statistics(network), strict=True))
    assert same == frozen


def test_the_time_ends_it_and_the_rate_follows_the_time() -> None:
    config = replace(QUICK, steps=100_000, seconds=0.5, steps_per_epoch=1)
    events = list(fit(UNet(SMALL), SliceStore([labelled()], device=CPU), config))
    steps = [event for event in events if isinstance(event, StepDone)]
    assert 0 < len(steps) < 100_000
    assert [event.elapsed for event in steps] == sorted(event.elapsed for event in steps)
    assert isinstance(events[-1], FitFinished)
    assert not events[-1].stopped


def test_the_anchor_keeps_the_weights_near_their_start() -> None:
    moved = []
    for anchor in (0.0, 100.0):
        torch.manual_seed(0)
        network = UNet(SMALL)
        start = [parameter.detach().clone() for parameter in network.parameters()]
        config = replace(QUICK, steps=20, learning_rate=1e-2, weight_decay=0.0, anchor=anchor)
        list(fit(network, SliceStore([labelled()], device=CPU), config))
        moved.append(sum(((a - b) ** 2).sum().item() for a, b in zip(network.parameters(), start, strict=True)))
    assert moved[1] < 0.5 * moved[0]


def test_batches_come_from_the_callers_draw() -> None:
    drawn: list[int] = []

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        drawn.append(count)
        return torch.full((count,), 3)

    list(fit(UNet(SMALL), SliceStore([labelled()], device=CPU), QUICK, draw=draw))
    assert drawn == [QUICK.batch_size] * QUICK.steps
