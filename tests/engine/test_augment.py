import pytest
import torch

from napari_unet_seg.engine.augment import augment
from napari_unet_seg.engine.config import AugmentConfig, KerasAugmentConfig
from napari_unet_seg.engine.sampling import Part

STILL = AugmentConfig(
    rotation=0,
    scale=0,
    stretch=0,
    shift=0,
    flip=0,
    elastic=0,
    contrast=0,
    brightness=0,
    gamma=0,
    bias_field=0,
    noise=0,
    missing_sequence=0,
    missing_neighbours=0,
)


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 3, 32, 32)
    mask = torch.zeros(2, 1, 32, 32)
    mask[:, :, 10:20, 12:18] = 1
    return image, mask, torch.tensor([[15.5, 15.5], [15.5, 15.5]])


def run(config: AugmentConfig, *, coarse: bool = False, patch: tuple[int, int] = (32, 32), flair: int | None = None):
    image, mask, centre = scene()
    generator = torch.Generator().manual_seed(3)
    return augment(
        image, mask, centre=centre, patch=patch, coarse=coarse, flair=flair, config=config, generator=generator
    )


def test_no_change_asked_for_is_no_change() -> None:
    image, mask, _ = scene()
    changed, changed_mask = run(STILL)
    torch.testing.assert_close(changed, image.flatten(1, 2), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(changed_mask, mask)


def test_a_flip_moves_image_and_mask_alike() -> None:
    from dataclasses import replace

    image, mask, _ = scene()
    changed, changed_mask = run(replace(STILL, flip=1))
    torch.testing.assert_close(changed, image.flatten(1, 2).flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(changed_mask, mask.flip(-1))


def test_half_resolution_covers_the_same_field() -> None:
    image, mask, _ = scene()
    changed, changed_mask = run(STILL, coarse=True)
    assert changed.shape == (2, 9, 16, 16)
    torch.testing.assert_close(changed, torch.nn.functional.avg_pool2d(image.flatten(1, 2), 2), atol=1e-4, rtol=1e-4)
    assert changed_mask.sum() * 4 == mask.sum()


def test_the_mask_stays_binary_and_in_place_under_all_changes() -> None:
    image, mask = run(AugmentConfig(), patch=(24, 28), flair=1)
    assert image.shape == (2, 9, 24, 28)
    assert mask.shape == (2, 1, 24, 28)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert mask.any()
    assert torch.isfinite(image).all()


def test_missing_sequences_and_neighbours_are_copies() -> None:
    from dataclasses import replace

    image, _ = run(replace(STILL, missing_sequence=1, missing_neighbours=1), flair=1)
    same = image.reshape(2, 3, 3, 32, 32)
    torch.testing.assert_close(same[:, :, 0], same[:, :, 1])
    torch.testing.assert_close(same[:, 0], same[:, 2])


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(
    "config", [AugmentConfig(), KerasAugmentConfig(rotation=15, shift=0.1, shear=5, zoom=0.1, elastic=3), None]
)
def test_a_part_comes_out_as_it_does_in_the_whole_batch(
    config: AugmentConfig | KerasAugmentConfig | None, coarse: bool
) -> None:
    scene = torch.Generator().manual_seed(0)
    image = torch.randn((5, 3, 3, 32, 32), generator=scene)
    mask = (torch.rand((5, 1, 32, 32), generator=scene) < 0.3).float()
    centre = 14 + 3 * torch.rand((5, 2), generator=scene)

    def made(part: Part | None, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        rows = part.rows if part is not None else slice(None)
        found = augment(
            image[rows], mask[rows], centre=centre[rows], patch=(28, 24), coarse=coarse, flair=1, config=config,
            generator=generator, soft=True, part=part,
        )  # fmt: skip
        return *found, generator.get_state()

    # Elastic, bias field and noise are for half of the batches each: these seeds have them all, and none.
    for seed in range(12):
        whole_image, whole_mask, state = made(None, seed)
        for rows in (slice(0, 2), slice(2, 4), slice(4, 5), slice(0, 5)):
            part_image, part_mask, after = made(Part(5, rows), seed)
            torch.testing.assert_close(part_image, whole_image[rows], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(part_mask, whole_mask[rows], atol=1e-5, rtol=1e-5)
            assert after.equal(state)
