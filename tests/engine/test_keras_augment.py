from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch

from napari_unet_seg.engine.augment import augment
from napari_unet_seg.engine.config import AugmentConfig, KerasAugmentConfig
from napari_unet_seg.engine.keras_augment import affine_matrices, draw_matrices, keras_augment, resample
from napari_unet_seg.engine.sampling import Part

STILL = KerasAugmentConfig(flip=0)
ROWS = torch.arange(5.0)[:, None].expand(5, 5)
COLUMNS = torch.arange(5.0)[None].expand(5, 5)


def moved(image: torch.Tensor, **numbers: float) -> torch.Tensor:
    """A single plane ``(Y, X)`` after an affine map with these numbers, the others neutral."""
    neutral = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0, "flip": 0.0}
    values = {name: torch.tensor([value]) for name, value in (neutral | numbers).items()}
    matrices = affine_matrices(**(values | {"flip": values["flip"] > 0}))
    return resample(image[None, None].float(), image[None, None].float(), matrices)[0][0, 0]


def close(found: torch.Tensor, expected: list[list[float]] | torch.Tensor) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float32), atol=1e-5, rtol=1e-5)


def test_a_quarter_turn() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    close(moved(image, theta=90), [[6, 3, 0], [7, 4, 1], [8, 5, 2]])


def test_a_turn_is_about_the_middle_of_the_image() -> None:
    image = torch.arange(16.0).reshape(4, 4)
    close(moved(image, theta=180), image.flip(0, 1))


def test_shifts_are_along_rows_and_columns_and_repeat_the_border() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    close(moved(image, tx=1), [[3, 4, 5], [6, 7, 8], [6, 7, 8]])
    close(moved(image, ty=-1), [[0, 0, 1], [3, 3, 4], [6, 6, 7]])


def test_shear_is_in_degrees() -> None:
    # sin 30 = 1/2: the source's row falls by half a pixel a column; cos 30 = 0.8660: columns come closer together.
    close(moved(ROWS, shear=30)[2], [3.0, 2.5, 2.0, 1.5, 1.0])
    close(moved(COLUMNS, shear=30)[2], [2 - 1.7320508, 2 - 0.8660254, 2, 2.8660254, 3.7320508])


def test_zoom_above_one_shrinks_each_axis_by_itself() -> None:
    close(moved(ROWS, zx=2)[:, 0], [0, 0, 2, 4, 4])
    close(moved(COLUMNS, zx=2), COLUMNS)
    close(moved(COLUMNS, zy=0.5)[0], [1, 1.5, 2, 2.5, 3])


def test_a_flip_exchanges_left_and_right_after_everything_else() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    close(moved(image, flip=1), [[2, 1, 0], [5, 4, 3], [8, 7, 6]])
    close(moved(image, flip=1, ty=1), [[2, 2, 1], [5, 5, 4], [8, 8, 7]])


def test_all_together_are_composed_as_keras_composes_them() -> None:
    theta, tx, ty, shear, zx, zy = 12.0, 1.3, -2.1, 7.0, 1.1, 0.85
    t, s = np.deg2rad(theta), np.deg2rad(shear)
    rotation = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    shift = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    shearing = np.array([[1, -np.sin(s), 0], [0, np.cos(s), 0], [0, 0, 1]])
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (11.5, 15.5), (-11.5, -15.5)
    whole = there @ rotation @ shift @ shearing @ np.diag([zx, zy, 1]) @ back
    image = np.random.default_rng(0).random((24, 32), dtype=np.float32)
    expected = scipy.ndimage.affine_transform(image, whole[:2, :2], whole[:2, 2], order=1, mode="nearest")
    found = moved(torch.from_numpy(image), theta=theta, tx=tx, ty=ty, shear=shear, zx=zx, zy=zy)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


def test_the_mask_takes_the_nearest_pixel_where_the_image_is_interpolated() -> None:
    image = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
    zero, one = torch.zeros(1), torch.ones(1)
    matrices = affine_matrices(
        theta=zero, tx=zero, ty=torch.tensor([0.4]), shear=zero, zx=one, zy=one, flip=torch.tensor([False])
    )
    changed, mask = resample(image, image, matrices)
    close(changed[0, 0], [[0, 0.4, 1, 1]])
    close(mask[0, 0], [[0, 0, 1, 1]])


def test_each_number_is_drawn_uniformly_and_on_its_own() -> None:
    def draw(**ranges: float) -> torch.Tensor:
        config = replace(STILL, **ranges)
        return draw_matrices(config, part=Part(2000), size=(100, 200), generator=torch.Generator().manual_seed(0))

    angles = torch.rad2deg(torch.atan2(draw(rotation=15)[:, 1, 0], draw(rotation=15)[:, 0, 0]))
    shear = torch.rad2deg(torch.asin(-draw(shear=8)[:, 0, 1]))
    rows, columns = draw(shift=0.05)[:, :, 2].T
    zoom_rows, zoom_columns = draw(zoom=0.1).diagonal(dim1=1, dim2=2).T
    reaches = [
        (angles, 15.0),
        (shear, 8.0),
        (rows, 5.0),
        (columns, 10.0),
        (zoom_rows - 1, 0.1),
        (zoom_columns - 1, 0.1),
    ]
    for values, reach in reaches:
        assert values.abs().max() <= reach * 1.001
        assert values.abs().max() > reach * 0.99
        assert values.std() == pytest.approx(reach / 3**0.5, rel=0.05)
    for one, other in ((rows, columns), (zoom_rows, zoom_columns)):
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.1
    mirrored = draw(flip=0.3)[:, 1, 1] < 0
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.05)


def test_matrices_of_a_part_are_those_of_the_whole_batch() -> None:
    config = KerasAugmentConfig(rotation=15, shift=0.1, shear=5, zoom=0.1)
    parts = [
        draw_matrices(config, part=part, size=(100, 200), generator=torch.Generator().manual_seed(0))
        for part in (Part(7), Part(7, slice(0, 4)), Part(7, slice(4, 7)))
    ]
    assert len(parts[2].unique(dim=0)) == 3
    torch.testing.assert_close(torch.cat(parts[1:]), parts[0])


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(4, 3, 3, 32, 40, generator=generator)
    mask = torch.zeros(4, 1, 32, 40)
    mask[:, :, 10:20, 12:18] = 1
    return image, mask


def run(config: AugmentConfig | KerasAugmentConfig | None, *, coarse: bool = False, soft: bool = False):
    image, mask = scene()
    return augment(
        image,
        mask * (0.4 if soft else 1),
        centre=torch.zeros(4, 2),
        patch=(16, 16),
        coarse=coarse,
        flair=1,
        config=config,
        generator=torch.Generator().manual_seed(3),
        soft=soft,
    )


@pytest.mark.parametrize("config", [None, STILL], ids=["none", "no change"])
def test_whole_slices_stay_as_they_are(config: KerasAugmentConfig | None) -> None:
    image, mask = scene()
    changed, changed_mask = run(config)
    torch.testing.assert_close(changed, image.flatten(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(changed_mask, mask)
    assert run(config, coarse=True)[0].shape == (4, 9, 16, 20)


def test_every_channel_and_the_mask_move_alike() -> None:
    image, mask = scene()
    image[:] = mask[:, :, None]
    config = KerasAugmentConfig(rotation=20, shift=0.1, shear=10, zoom=0.2)
    changed, changed_mask = keras_augment(
        image.flatten(1, 2), mask, config=config, generator=torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(changed, changed[:, :1].expand_as(changed))
    assert set(changed_mask.unique().tolist()) == {0.0, 1.0}
    assert ((changed[:, :1] > 0.5).float() - changed_mask).abs().mean() < 0.01
    assert not torch.equal(changed_mask[0], changed_mask[1])


def test_soft_masks_keep_their_probabilities() -> None:
    _, mask = run(KerasAugmentConfig(rotation=20), soft=True)
    assert sorted(mask.unique().tolist()) == pytest.approx([0, 0.4])


def test_elastic_displacements_are_smooth_and_of_the_size_asked_for() -> None:
    columns = torch.arange(64.0).expand(50, 1, 64, 64)
    config = replace(STILL, elastic=2.0)
    changed, _ = keras_augment(columns, columns, config=config, generator=torch.Generator().manual_seed(0))
    field = (changed - columns)[:, 0, 8:56, 8:56]
    assert field.std() == pytest.approx(2.0, rel=0.4)
    assert field.diff(dim=2).abs().max() < 1.5


@pytest.mark.parametrize(
    "changes", [{"rotation": -1}, {"shift": 1}, {"zoom": 1.5}, {"shear": 90}, {"flip": 1.1}, {"elastic": -0.1}]
)
def test_ranges_that_make_no_sense(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        KerasAugmentConfig(**changes)
