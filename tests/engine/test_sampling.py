from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from napari_unet_seg.engine.sampling import epoch_length, make_sampler

BALANCED = FitConfig(batch_size=4, sampling="balanced epochs")


def store(*, tumour: int, empty: int) -> SliceStore:
    """Slices with tumour first, and one at the end that has no mask at all."""
    depth = tumour + empty + 1
    data = np.random.default_rng(0).integers(1, 255, (1, depth, 8, 8), np.uint8)
    mask = np.zeros((depth, 8, 8), np.uint8)
    mask[:tumour, 2, 2] = 1
    volume = Volume(data=data, channel_names=("flair",), spacing=(1, 1, 1))
    labelled = np.arange(depth) < tumour + empty
    return SliceStore([LabelledVolume(volume=volume, mask=mask, labelled=labelled)], device=torch.device("cpu"))


def one_pass(slices: SliceStore, config: FitConfig, generator: torch.Generator) -> list[int]:
    sampler = make_sampler(slices, config)
    batches = [sampler.batch(config.batch_size, generator) for _ in range(epoch_length(config, slices))]
    return torch.cat(batches).tolist()


@pytest.mark.parametrize(("tumour", "empty"), [(2, 7), (7, 2), (3, 3), (1, 6)])
def test_a_balanced_pass_has_as_many_of_both(tumour: int, empty: int) -> None:
    found = one_pass(store(tumour=tumour, empty=empty), BALANCED, torch.Generator().manual_seed(0))
    times = np.bincount(found, minlength=tumour + empty)
    with_tumour, without = times[:tumour], times[tumour : tumour + empty]
    assert len(times) == tumour + empty
    assert with_tumour.sum() == without.sum() == max(tumour, empty)
    for kind in (with_tumour, without):
        # Each comes, and none more than once oftener than another.
        assert kind.min() >= 1
        assert np.ptp(kind) <= 1


@pytest.mark.parametrize(("tumour", "empty"), [(5, 0), (0, 5)])
def test_of_one_kind_alone_every_slice_comes_once(tumour: int, empty: int) -> None:
    found = one_pass(store(tumour=tumour, empty=empty), BALANCED, torch.Generator().manual_seed(0))
    assert sorted(found) == list(range(5))


def test_a_plain_pass_takes_every_slice_once() -> None:
    config = replace(BALANCED, sampling="epochs")
    found = one_pass(store(tumour=2, empty=7), config, torch.Generator().manual_seed(0))
    assert sorted(found) == list(range(9))


def test_a_balanced_pass_goes_on_where_it_was() -> None:
    slices, generator = store(tumour=2, empty=7), torch.Generator().manual_seed(0)
    sampler = make_sampler(slices, BALANCED)
    sampler.batch(4, generator)
    again = make_sampler(slices, BALANCED)
    again.load_state_dict(sampler.state_dict())
    state = generator.get_state()
    rest = [sampler.batch(4, generator).tolist() for _ in range(5)]
    generator.set_state(state)
    assert [again.batch(4, generator).tolist() for _ in range(5)] == rest


class Streamed(SliceStore):
    """As if it lay elsewhere."""

    streamed: ClassVar[bool] = True


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("kind", [SliceStore, Streamed])
def test_draws_are_the_same_wherever_the_slices_lie_and_however_many_are_known_ahead(
    kind: type[SliceStore], ahead: int
) -> None:
    config, slices = FitConfig(batch_size=4), store(tumour=5, empty=9)
    generator = torch.Generator().manual_seed(0)
    plain = make_sampler(slices, config)
    expected = [plain.batch(4, generator).tolist() for _ in range(6)]
    slices.__class__ = kind
    sampler, found = make_sampler(slices, config), []
    for _ in range(6):
        # The augmentation takes numbers of the training's own generator in between.
        torch.rand(3, generator=generator)
        found.append(sampler.batch(4, generator).tolist())
        assert len(sampler.upcoming(4, ahead)) == ahead
    assert found == expected


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1, 2**40 + 5, -3])
def test_draws_do_not_follow_from_the_numbers_of_the_augmentation(seed: int) -> None:
    config, slices = FitConfig(batch_size=64, seed=seed), store(tumour=0, empty=50)
    drawn = make_sampler(slices, config).batch(64, torch.Generator())
    same_numbers = slices.draw(64, tumour_fraction=0.5, generator=torch.Generator().manual_seed(seed))
    assert not drawn.equal(same_numbers)
    again = make_sampler(slices, replace(config, seed=seed + 1)).batch(64, torch.Generator())
    assert not drawn.equal(again)


def test_of_a_draw_of_the_caller_nothing_is_known_ahead() -> None:
    slices = store(tumour=2, empty=7)
    sampler = make_sampler(slices, BALANCED, lambda count, _: torch.arange(count))
    assert list(sampler.upcoming(4, 3)) == []
    assert sampler.batch(3, torch.Generator()).tolist() == [0, 1, 2]
