"""Random changes of whole slices as Keras' `ImageDataGenerator` makes them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet_seg.engine.config import KerasAugmentConfig
from napari_unet_seg.engine.sampling import Part


def affine_matrices(
    *, theta: Tensor, tx: Tensor, ty: Tensor, shear: Tensor, zx: Tensor, zy: Tensor, flip: Tensor
) -> Tensor:
    """Where each pixel is taken from, relative to the middle of the slice.

    Composed as in `keras.preprocessing.image.apply_affine_transform`: rotation, shift, shear, zoom; the flip comes
    after all of them. As there, x means rows and y columns.

    Parameters
    ----------
    theta, shear : Tensor
        ``(B,)`` degrees.
    tx, ty : Tensor
        ``(B,)`` shifts along rows and columns in pixels.
    zx, zy : Tensor
        ``(B,)`` factors along rows and columns; above 1 the content shrinks.
    flip : Tensor
        ``(B,)`` bool: exchange left and right.

    Returns
    -------
    Tensor
        ``(B, 2, 3)``: times ``(row, column, 1)`` of a pixel it gives row and column of its source.
    """
    theta, shear = torch.deg2rad(theta), torch.deg2rad(shear)
    rotation = _matrix([[theta.cos(), -theta.sin(), 0], [theta.sin(), theta.cos(), 0], [0, 0, 1]], like=theta)
    shift = _matrix([[1, 0, tx], [0, 1, ty], [0, 0, 1]], like=theta)
    shearing = _matrix([[1, -shear.sin(), 0], [0, shear.cos(), 0], [0, 0, 1]], like=theta)
    zoom = _matrix([[zx, 0, 0], [0, zy, 0], [0, 0, 1]], like=theta)
    mirror = _matrix([[1, 0, 0], [0, torch.where(flip, -1.0, 1.0), 0], [0, 0, 1]], like=theta)
    return (rotation @ shift @ shearing @ zoom @ mirror)[:, :2]


def _matrix(rows: list[list[Tensor | float]], *, like: Tensor) -> Tensor:
    return torch.stack(
        [torch.stack([torch.as_tensor(v, dtype=like.dtype).expand_as(like) for v in row], -1) for row in rows], -2
    )


def draw_matrices(
    config: KerasAugmentConfig, *, part: Part, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Random `affine_matrices` of a part of a batch, each number drawn on its own.

    Parameters
    ----------
    config : KerasAugmentConfig
        The ranges.
    part : Part
        The samples that matrices are wanted of.
    size : (int, int)
        Height and width of the slices.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor
        ``(b, 2, 3)`` for the b samples of the part.
    """

    def each(reach: float) -> Tensor:
        return (2 * part.draw(torch.rand, generator=generator) - 1) * reach

    return affine_matrices(
        theta=each(config.rotation),
        tx=each(config.shift * size[0]),
        ty=each(config.shift * size[1]),
        shear=each(config.shear),
        zx=1 + each(config.zoom),
        zy=1 + each(config.zoom),
        flip=part.draw(torch.rand, generator=generator) < config.flip,
    )


def resample(
    image: Tensor, mask: Tensor, matrices: Tensor, *, displacement: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Slices and masks with each pixel taken from where a matrix says.

    Parameters
    ----------
    image : Tensor
        ``(B, C, Y, X)``; between pixels it is interpolated linearly.
    mask : Tensor
        ``(B, 1, Y, X)``; the nearest pixel counts.
    matrices : Tensor
        ``(B, 2, 3)``, see `affine_matrices`.
    displacement : Tensor, optional
        ``(B, 2, Y, X)``: added to row and column of the sources, in pixels.

    Returns
    -------
    image, mask
        Of the same shapes. What would come from beyond the border is the border's.
    """
    height, width = image.shape[-2:]
    device = image.device
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2], device=device)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    y, x = torch.meshgrid(rows - middle[0], columns - middle[1], indexing="ij")
    places = torch.stack([y, x, torch.ones_like(y)]).flatten(1)
    source = (matrices.to(device) @ places).reshape(-1, 2, height, width) + middle[:, None, None]
    if displacement is not None:
        source = source + displacement.to(device)
    row, column = source[:, 0], source[:, 1]
    grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
    return (
        functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False),
        functional.grid_sample(mask, grid, mode="nearest", padding_mode="border", align_corners=False),
    )


def keras_augment(
    image: Tensor, mask: Tensor, *, config: KerasAugmentConfig, generator: torch.Generator, part: Part | None = None
) -> tuple[Tensor, Tensor]:
    """A batch in which each slice is changed at random.

    Parameters
    ----------
    image, mask : Tensor
        ``(B, C, Y, X)`` and ``(B, 1, Y, X)``.
    config : KerasAugmentConfig
        The ranges.
    generator : torch.Generator
        On the CPU.
    part : Part, optional
        Of which batch, and which of its samples, these are; by default all of theirs.

    Returns
    -------
    image, mask
        Of the same shapes; the mask holds no value that it did not hold before.
    """
    part, size = part or Part(len(image)), (image.shape[-2], image.shape[-1])
    matrices = draw_matrices(config, part=part, size=size, generator=generator)
    displacement = None
    if config.elastic:
        coarse = part.draw(torch.randn, 2, 5, 5, generator=generator) * config.elastic
        displacement = functional.interpolate(coarse.to(image.device), size=size, mode="bicubic", align_corners=True)
    return resample(image, mask, matrices, displacement=displacement)
