"""Between napari's layers and the package's volumes: names, geometry, contrast, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.roles import guess_role
from napari_unet_seg.data.volume import Array, Mask, Volume, millilitres
from napari_unet_seg.errors import InputError
from napari_unet_seg.widgets.label_colours import LAST_LABEL, ground_truth_colormap
from napari_unet_seg.widgets.layer_geometry import affine_of_scan

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

SEGMENTATION = "Segmentation"
GROUND_TRUTH = "Ground truth"

_ENOUGH_PIXELS = 200_000
_COLOUR_NAMES = ("red", "green", "blue", "alpha")


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSource:
    """One channel of an open image layer."""

    layer: Image
    component: int | None = None
    """Index along the channel axis of a colour or four-dimensional layer; None where the layer is one channel."""

    @property
    def label(self) -> str:
        """What a combo box shows for it."""
        if self.component is None:
            return str(self.layer.name)
        name = _COLOUR_NAMES[self.component] if self.layer.rgb else f"channel {self.component}"
        return f"{self.layer.name} · {name}"

    def same_as(self, other: ImageSource | None) -> bool:
        """Whether both mean the same channel of the same layer."""
        return other is not None and self.layer is other.layer and self.component == other.component

    def pixels(self) -> Array:
        """The channel as ``(Z, Y, X)``; a two-dimensional image is one slice.

        Raises
        ------
        InputError
            If the layer has fewer or more axes than a scan has.
        """
        data: Any = self.layer.data[0] if self.layer.multiscale else self.layer.data
        if self.component is not None:
            data = data[..., self.component] if self.layer.rgb else data[self.component]
        if data.ndim not in (2, 3):
            raise InputError(
                f"layer {self.layer.name!r} has {data.ndim} axes; a scan has (Z, Y, X), or (Y, X) for one slice"
            )
        pixels = np.asarray(data)
        return pixels[None] if pixels.ndim == 2 else pixels


def sources_of(layer: Image) -> list[ImageSource]:
    """The channels a layer offers: one, or one for each colour or leading index of a four-dimensional layer."""
    if layer.rgb:
        # An alpha channel is transparency, no sequence.
        return [ImageSource(layer=layer, component=index) for index in range(3)]
    if layer.ndim == 4 and layer.data.shape[0] <= 8:
        return [ImageSource(layer=layer, component=index) for index in range(layer.data.shape[0])]
    return [ImageSource(layer=layer)]


def spacing_of(layer: Layer) -> tuple[float, float, float]:
    """Size of a voxel along ``(z, y, x)``, 1 along the missing axis of a two-dimensional layer.

    In mm where the layer's units are lengths, else as its scale has it.
    """
    scale, units = layer.scale[-3:], layer.units[-3:]
    if _in_lengths(layer):
        return voxel_size([(size * unit).m_as("mm") for size, unit in zip(scale, units, strict=True)])
    return voxel_size(scale)


def _in_lengths(layer: Layer) -> bool:
    return all(unit.is_compatible_with("mm") for unit in layer.units[-3:])


def voxel_size(scale: Sequence[float]) -> tuple[float, float, float]:
    """Size along ``(z, y, x)`` of a voxel on the last three axes of a scale; 1 along a missing axis, or one of 0."""
    lengths = [abs(float(value)) or 1.0 for value in scale[-3:]]
    z, y, x = [1.0] * (3 - len(lengths)) + lengths
    return z, y, x


def voxel_ml(layer: Layer) -> float | None:
    """Millilitres of a voxel; None where nobody has said how long a unit of the layer's scale is.

    That is known of a layer whose units are lengths, and of one that says so (see `origin_of`); a plain array has the
    units ``pixel`` and the scale 1.
    """
    of_lengths = layer.ndim > 2 and _in_lengths(layer)
    if not of_lengths and not layer.metadata.get("spacing_known", False):
        return None
    return millilitres(spacing_of(layer), affine=affine_of_scan(layer.metadata))


def reference_of(sources: Mapping[str, ImageSource]) -> Layer | None:
    """The layer whose grid a mask takes, FLAIR or else the first; None where no image is chosen."""
    source = sources.get("flair") or next(iter(sources.values()), None)
    return None if source is None else source.layer


def volume_from(sources: dict[str, ImageSource]) -> Volume:
    """A volume of open layers, with the spacing of the one whose grid a mask takes (see `reference_of`).

    That is known where the layer says so (see `origin_of`), or its units are lengths. Of another one a scale in the
    plane is taken for mm, as readers give it; pixels of size 1 are what a plain array has.

    Parameters
    ----------
    sources : dict
        Channel name to the layer that holds it; at least one.

    Raises
    ------
    InputError
        If none is given, the layers differ in shape, or one is no scan.
    """
    if not sources:
        raise InputError("choose the image layer that holds the FLAIR sequence (panel Data)")
    pixels = {role: source.pixels() for role, source in sources.items()}
    shapes = {role: array.shape for role, array in pixels.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{role} {shape}" for role, shape in shapes.items())
        raise InputError(f"the chosen layers differ in shape ({listed}); choose sequences of one scan on one grid")
    reference = reference_of(sources)
    assert reference is not None
    spacing = spacing_of(reference)
    return Volume(
        data=np.stack(list(pixels.values())),
        channel_names=tuple(pixels),
        spacing=spacing,
        spacing_known=reference.metadata.get("spacing_known", _in_lengths(reference) or spacing[1:] != (1, 1)),
    )


def contrast_limits(pixels: Array) -> tuple[float, float] | None:
    """The 0.5th and 99.8th percentile of the pixels, measured on a regular sample; None where nothing differs.

    Parameters
    ----------
    pixels : ndarray
        ``(Z, Y, X)``, any real type; NaN and infinities are left out.
    """
    step = max(1, int(np.ceil(np.sqrt(pixels.size / _ENOUGH_PIXELS))))
    sample = pixels[:, :: min(step, pixels.shape[1]), :: min(step, pixels.shape[2])].astype(np.float32)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.8)))
    if not low < high:
        low, high = float(sample.min()), float(sample.max())
    return (low, high) if low < high else None


def origin_of(volume: Volume) -> dict[str, Any]:
    """What a layer's metadata tells of the scan: by it a mask is saved where it belongs in space.

    Keys: ``spacing_known``; ``affine``, 4x4 from voxel ``(x, y, z)`` to right-anterior-superior mm; ``source``, the
    file or folder, where there is one.
    """
    source = {} if volume.source is None else {"source": str(volume.source)}
    return {"spacing_known": volume.spacing_known, "affine": volume.affine, **source}


def image_layers(volume: Volume) -> list[tuple[Array, dict[str, Any]]]:
    """A layer for each channel of a volume: its pixels ``(Z, Y, X)``, and the arguments of ``add_image``.

    FLAIR comes last: on top, and alone visible. Where no name tells it, the channels stay in their order, by which it
    is guessed then: one channel is visible, of three the second, which is what is taken for FLAIR.
    """
    names = [name or f"channel {index}" for index, name in enumerate(volume.channel_names)]
    flair = [index for index, name in enumerate(names) if "flair" in name.lower()][:1]
    (top,) = flair or [1 if len(names) == 3 and not any(map(guess_role, names)) else 0]
    layers = []
    for index in [i for i in range(len(names)) if i not in flair] + flair:
        pixels = volume.data[index]
        arguments: dict[str, Any] = {
            "name": "FLAIR" if names[index] == "flair" else names[index],
            "scale": volume.spacing,
            "colormap": "gray",
            "visible": index == top,
            "metadata": origin_of(volume),
        }
        limits = contrast_limits(pixels)
        if limits is not None:
            arguments["contrast_limits"] = limits
        # napari's textures take no float64 and no bool.
        shown = pixels.astype(np.float32 if pixels.dtype == np.float64 else np.uint8, copy=False)
        layers.append((shown if pixels.dtype in (bool, np.float64) else pixels, arguments))
    return layers


def truth_layer(
    truth: Mask, volume: Volume, *, labelled: NDArray[np.bool_] | None = None
) -> tuple[Mask, dict[str, Any]]:
    """The ground truth ``(Z, Y, X)`` with the arguments of a Labels layer on a volume's grid.

    `labelled`, ``(Z,)``, tells which slices it speaks of; it goes into the layer's metadata.
    """
    colormap = ground_truth_colormap()
    arguments: dict[str, Any] = {"name": GROUND_TRUTH, "scale": volume.spacing, "colormap": colormap, "opacity": 0.9}
    arguments["metadata"] = origin_of(volume)
    if labelled is not None and not labelled.all():
        arguments["metadata"]["labelled"] = labelled
    return np.ascontiguousarray(truth), arguments


def geometry_of(layer: Layer) -> dict[str, Any]:
    """Scale, translation, rotation, shear, affine and units of a layer, for another one on the same grid.

    Of a layer with a leading channel axis, that axis is left out, and with it any shear.
    """
    last = slice(-3, None)
    extra = layer.ndim > 3
    return {
        "scale": layer.scale[last],
        "translate": layer.translate[last],
        "rotate": layer.rotate[last, last],
        "shear": None if extra else layer.shear,
        "affine": layer.affine.set_slice(range(layer.ndim - 3, layer.ndim)) if extra else layer.affine,
        "units": layer.units[last],
    }


def as_bytes(mask: Array) -> Mask:
    """A copy of a mask's labels as they are saved, those above 255 as 255."""
    labels: Mask = np.minimum(mask, LAST_LABEL).astype(np.uint8)
    return labels


def shown_mask(layer: Labels) -> Any:
    """A Labels layer's data as ``(Z, Y, X)``: a view, so edits are seen; one slice for a two-dimensional layer."""
    return layer.data[None] if layer.ndim == 2 else layer.data


def shape_of(layer: Layer) -> tuple[int, int, int]:
    """``(Z, Y, X)`` of a mask on a layer's grid: without channels, be they colours at the end or in front."""
    z, y, x = (1, 1, *layer.data.shape[: layer.ndim])[-3:]
    return int(z), int(y), int(x)


def slice_of(layer: Layer, point: tuple[float, ...]) -> int:
    """The slice of a layer, along its own first of three axes, that is nearest to a point of the viewer.

    Parameters
    ----------
    layer : Layer
        ``(Z, Y, X)`` or ``(Y, X)``; the latter has one slice, 0.
    point : tuple of float
        World coordinates (``viewer.dims.point``).
    """
    return min(max(_slice_at(layer, point), 0), shape_of(layer)[0] - 1)


def slice_in_view(layer: Layer, point: tuple[float, ...]) -> int | None:
    """As `slice_of`, but None where the point lies beyond the first or the last slice: napari shows none there."""
    z = _slice_at(layer, point)
    return z if 0 <= z < shape_of(layer)[0] else None


def place_of_slice(layer: Layer, z: int) -> float:
    """Where along the viewer's axis of a layer's slices one comes into view, in world units."""
    if layer.ndim < 3:
        return 0.0
    first, second = _index_at(layer, 0.0), _index_at(layer, 1.0)
    return (z - first) / (second - first)


def _slice_at(layer: Layer, point: tuple[float, ...]) -> int:
    # Half-way between two slices it is the even one, as in napari.
    # With the last layer gone but not yet told of, the viewer has two axes.
    return 0 if layer.ndim < 3 or len(point) < 3 else round(_index_at(layer, point[-3]))


def _index_at(layer: Layer, place: float) -> float:
    # Of a layer that lies askew napari shows what is there at the origin of the axes in view, wherever one looks.
    return float(layer.world_to_data((place, 0.0, 0.0))[-3])
