"""Random changes of a batch of slices, made on the device the batch lies on."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from napari_unet_seg.engine.config import AugmentConfig, KerasAugmentConfig
from napari_unet_seg.engine.keras_augment import keras_augment
from napari_unet_seg.engine.normalise import CLIP
from napari_unet_seg.engine.sampling import Part


def uniform(low: float, high: float, *shape: int, part: Part, generator: torch.Generator) -> Tensor:
    """Uniform random numbers between ``low`` and ``high``, `shape` of them for each sample of a part."""
    return low + (high - low) * part.draw(torch.rand, *shape, generator=generator)


def sampling_grid(
    config: AugmentConfig,
    *,
    centre: Tensor,
    size: tuple[int, int],
    patch: tuple[int, int],
    generator: torch.Generator,
    part: Part | None = None,
) -> Tensor:
    """Where each pixel of a patch is taken from: an affine map and, half of the time, a smooth displacement.

    Parameters
    ----------
    config : AugmentConfig
        The ranges.
    centre : Tensor
        ``(B, 2)`` row and column in the slice that the patch is laid around; the grid lies on its device.
    size, patch : (int, int)
        Height and width of the slices and of the patch.
    generator : torch.Generator
        On the CPU.
    part : Part, optional
        Of which batch, and which of its samples, the centres are; by default all of theirs.

    Returns
    -------
    Tensor
        ``(B, *patch, 2)`` as `torch.nn.functional.grid_sample` wants it with ``align_corners=False``.
    """
    part, device = part or Part(len(centre)), centre.device

    def each(low: float, high: float, *shape: int) -> Tensor:
        return uniform(low, high, *shape, part=part, generator=generator).to(device)

    angle = torch.deg2rad(each(-config.rotation, config.rotation))
    zoom = torch.exp(each(-1, 1) * math.log1p(config.scale))
    stretch = torch.exp(each(-1, 1) * math.log1p(config.stretch))
    flip = torch.where(part.draw(torch.rand, generator=generator).to(device) < config.flip, -1.0, 1.0)
    shift = each(-config.shift, config.shift, 2) * torch.tensor(patch, device=device)
    rows = torch.arange(patch[0], device=device) - (patch[0] - 1) / 2
    columns = torch.arange(patch[1], device=device) - (patch[1] - 1) / 2
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    x = x * (flip * zoom * stretch)[:, None, None]
    y = y * (zoom / stretch)[:, None, None]
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    middle = (centre + shift)[:, :, None, None]
    row = middle[:, 0] + sine * x + cosine * y
    column = middle[:, 1] + cosine * x - sine * y
    if config.elastic and torch.rand((), generator=generator) < 0.5:
        coarse = (part.draw(torch.randn, 2, 5, 5, generator=generator) * config.elastic).to(device)
        field = functional.interpolate(coarse, size=patch, mode="bicubic", align_corners=True)
        row, column = row + field[:, 0], column + field[:, 1]
    return torch.stack([(2 * column + 1) / size[1] - 1, (2 * row + 1) / size[0] - 1], dim=-1)


def _noise(part: Part, *shape: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Normal noise; on a graphics card it is drawn there, as a pixel each is too much to send."""
    if device.type == "cuda":
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(device).manual_seed(seed)
    return part.draw(torch.randn, *shape, generator=generator).to(device)


def change_intensity(
    image: Tensor, config: AugmentConfig, *, flair: int | None, generator: torch.Generator, part: Part | None = None
) -> Tensor:
    """Contrast, brightness, gamma, bias field, noise, and sequences or neighbours that are missing.

    Parameters
    ----------
    image : Tensor
        ``(B, S, C, Y, X)`` normalised; S neighbouring slices, the middle one to be segmented.
    config : AugmentConfig
        The ranges.
    flair : int or None
        The channel that stands in for missing sequences; None switches that off.
    generator : torch.Generator
        On the CPU.
    part : Part, optional
        Of which batch, and which of its samples, the slices are; by default all of theirs.

    Returns
    -------
    Tensor
        The same shape.
    """
    _, neighbours, channels, height, width = image.shape
    part, device = part or Part(len(image)), image.device

    def each(low: float, high: float) -> Tensor:
        return uniform(low, high, 1, channels, 1, 1, part=part, generator=generator).to(device)

    if flair is not None:
        copied = (part.draw(torch.rand, generator=generator) < config.missing_sequence).to(device)
        image = torch.where(copied[:, None, None, None, None], image[:, :, flair : flair + 1], image)
    if neighbours > 1:
        single = (part.draw(torch.rand, generator=generator) < config.missing_neighbours).to(device)
        middle = image[:, neighbours // 2 : neighbours // 2 + 1]
        image = torch.where(single[:, None, None, None, None], middle, image)
    # Gamma on the range of the head, about -2.5 to 2.5, mapped to 0..1; outside of it nothing changes. In place where
    # nobody else has the array: on a processor, fetching the memory for another one takes longer than the sum.
    unit = image.add(2.5).div_(5).clamp_(0, 1)
    brighter = unit.pow(torch.exp(each(-1, 1) * math.log1p(config.gamma))).sub_(unit).mul_(5)
    image = brighter.add_(image)
    image.mul_(torch.exp(each(-1, 1) * math.log1p(config.contrast))).add_(each(-config.brightness, config.brightness))
    if config.bias_field and torch.rand((), generator=generator) < 0.5:
        coarse = (part.draw(torch.randn, channels, 3, 3, generator=generator) * config.bias_field).to(device)
        field = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
        image.add_(field[:, None])
    if config.noise and torch.rand((), generator=generator) < 0.5:
        strength = uniform(0, config.noise, 1, 1, 1, 1, part=part, generator=generator).to(device)
        image.add_(_noise(part, *image.shape[1:], device=device, generator=generator).mul_(strength))
    return image.clamp_(-CLIP, CLIP)


def augment(
    image: Tensor,
    mask: Tensor,
    *,
    centre: Tensor,
    patch: tuple[int, int],
    coarse: bool,
    flair: int | None,
    config: AugmentConfig | KerasAugmentConfig | None,
    generator: torch.Generator,
    soft: bool = False,
    part: Part | None = None,
) -> tuple[Tensor, Tensor]:
    """A batch, or a part of one, as the network is trained on it.

    Parameters
    ----------
    image : Tensor
        ``(B, S, C, Y, X)`` normalised.
    mask : Tensor
        ``(B, 1, Y, X)`` in 0..1.
    centre : Tensor
        ``(B, 2)`` row and column of the head's middle.
    patch : (int, int)
        Height and width of what is cut out around the centre, by an `AugmentConfig` alone.
    coarse : bool
        Halve the resolution of the patch.
    flair : int or None
        See `change_intensity`; for an `AugmentConfig` alone.
    config : AugmentConfig, KerasAugmentConfig or None
        The ranges. Keras' changes, and None for no change, leave the slices whole.
    generator : torch.Generator
        On the CPU.
    soft : bool
        Leave the masks as they are after interpolation, not cut to 0 and 1.
    part : Part, optional
        Of which batch, and which of its samples, these are: they come out as they do in the whole batch, and the
        generator moves on as for it. By default they are all there is.

    Returns
    -------
    image : Tensor
        ``(B, S * C, *patch)``, or half that size; of whole slices ``(B, S * C, Y, X)``.
    mask : Tensor
        ``(B, 1, *patch)``, or half that size, or ``(B, 1, Y, X)``; 0 or 1, or where `soft` in 0..1.
    """
    count, neighbours, channels, height, width = image.shape
    flat = image.reshape(count, neighbours * channels, height, width)
    if coarse:
        flat, mask, centre = functional.avg_pool2d(flat, 2), functional.avg_pool2d(mask, 2), (centre - 0.5) / 2
        height, width, patch = height // 2, width // 2, (patch[0] // 2, patch[1] // 2)
        config = replace(config, elastic=config.elastic / 2) if config is not None else None
    if not isinstance(config, AugmentConfig):
        if config is not None:
            flat, mask = keras_augment(flat, mask, config=config, generator=generator, part=part)
        flat = flat.clamp(-CLIP, CLIP).contiguous(memory_format=torch.channels_last)
        return flat, mask if soft else (mask > 0.5).float()
    grid = sampling_grid(config, centre=centre, size=(height, width), patch=patch, generator=generator, part=part)
    flat = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mask = functional.grid_sample(mask, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    image = flat.reshape(count, neighbours, channels, *flat.shape[-2:])
    image = change_intensity(image, config, flair=flair, generator=generator, part=part)
    image = image.flatten(1, 2).contiguous(memory_format=torch.channels_last)
    return image, mask if soft else (mask > 0.5).float()
