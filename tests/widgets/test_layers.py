import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError
from napari_unet_seg.widgets.layers import (
    ImageSource,
    contrast_limits,
    geometry_of,
    image_layers,
    place_of_slice,
    slice_in_view,
    slice_of,
    sources_of,
    spacing_of,
    volume_from,
)


def image(*shape: int, **kwargs: object) -> Image:
    return Image(np.zeros(shape, np.float32), **kwargs)


def test_flair_comes_last_and_alone_visible() -> None:
    volume, _ = make_phantom(slices=3, size=16)
    layers = image_layers(volume)
    assert [arguments["name"] for _, arguments in layers] == ["pre", "post", "FLAIR"]
    assert [arguments["visible"] for _, arguments in layers] == [False, False, True]
    assert np.shares_memory(layers[2][0], volume.data)


@pytest.mark.parametrize(
    ("names", "visible"), [(("red", "green", "blue"), 1), (("", "", ""), 1), (("t1", "t2", "x"), 0), (("a", "b"), 0)]
)
def test_channels_whose_names_tell_no_flair_stay_in_their_order(names: tuple[str, ...], visible: int) -> None:
    data = np.zeros((len(names), 2, 9, 9), np.uint8)
    layers = [arguments for _, arguments in image_layers(Volume(data=data, channel_names=names))]
    assert [layer["name"] for layer in layers] == [name or f"channel {z}" for z, name in enumerate(names)]
    assert [z for z, layer in enumerate(layers) if layer["visible"]] == [visible]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "float32", "float64", ">i2"])
def test_any_number_type_can_be_shown(dtype: str) -> None:
    data = (np.arange(2 * 9 * 9).reshape(1, 2, 9, 9) % 5).astype(dtype)
    (pixels, arguments), *_ = image_layers(Volume(data=data, channel_names=("",)))
    layer = Image(pixels, **arguments)
    assert layer.name == "channel 0"
    assert layer.dtype != np.float64


def test_contrast_limits_leave_out_what_is_not_finite() -> None:
    pixels = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    pixels[0, 0, :2] = np.nan, np.inf
    low, high = contrast_limits(pixels)
    assert 2 <= low < 5
    assert 95 < high <= 99
    assert contrast_limits(np.full((1, 4, 4), np.nan)) is None
    assert contrast_limits(np.ones((1, 4, 4))) is None
    assert contrast_limits(np.eye(300)[None]) == (0, 1)


def test_a_colour_layer_offers_its_components_and_no_alpha() -> None:
    layer = Image(np.zeros((3, 8, 8, 4), np.uint8), name="scan", rgb=True)
    sources = sources_of(layer)
    assert [source.label for source in sources] == ["scan · red", "scan · green", "scan · blue"]
    assert sources[1].pixels().shape == (3, 8, 8)


def test_a_four_dimensional_layer_offers_its_leading_axis() -> None:
    layer = image(2, 3, 8, 8, name="scan")
    assert [source.label for source in sources_of(layer)] == ["scan · channel 0", "scan · channel 1"]
    assert sources_of(layer)[1].pixels().shape == (3, 8, 8)


def test_layers_become_a_volume() -> None:
    flair, post = image(2, 8, 9, scale=(4, 0.5, 0.5)), Image(dask.array.ones((2, 8, 9)))
    volume = volume_from({"flair": ImageSource(layer=flair), "post": ImageSource(layer=post)})
    assert volume.data.shape == (2, 2, 8, 9)
    assert volume.channel_names == ("flair", "post")
    assert volume.spacing == (4, 0.5, 0.5)


@pytest.mark.parametrize(
    ("scale", "units", "metadata", "spacing", "known"),
    [
        ((1, 1, 1), None, {}, (1, 1, 1), False),
        ((5, 1, 1), None, {}, (5, 1, 1), False),
        ((5, 0.5, 0.5), None, {}, (5, 0.5, 0.5), True),
        ((1, 1, 1), ("mm", "mm", "mm"), {}, (1, 1, 1), True),
        ((5000, 500, 500), ("µm", "µm", "µm"), {}, (5, 0.5, 0.5), True),
        ((5, 0.5, 0.5), None, {"spacing_known": False}, (5, 0.5, 0.5), False),
        ((1, 1, 1), None, {"spacing_known": True}, (1, 1, 1), True),
    ],
)
def test_the_spacing_is_known_where_a_layer_tells_it(
    scale: tuple[float, ...],
    units: tuple[str, ...] | None,
    metadata: dict[str, bool],
    spacing: tuple[float, ...],
    known: bool,
) -> None:
    flair, pre = image(2, 8, 9, scale=scale, units=units, metadata=metadata), image(2, 8, 9)
    volume = volume_from({"pre": ImageSource(layer=pre), "flair": ImageSource(layer=flair)})
    assert volume.spacing == pytest.approx(spacing)
    assert volume.spacing_known is known


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@pytest.mark.parametrize("degrees", [0, 5, 17])
def test_the_slice_of_a_layer_that_lies_askew_is_the_one_in_view(degrees: float) -> None:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    numbered = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None, None], (24, 96, 96))
    viewer = ViewerModel()
    layer = viewer.add_image(numbered, affine=[[5 * c, -s, 0, 3], [5 * s, c, 0, -40], [0, 0, 1, 0], [0, 0, 0, 1]])
    for z in (9, 12):
        viewer.dims.set_point(0, place_of_slice(layer, z))
        shown = set(np.unique(layer._slice.image.raw).tolist())
        assert slice_in_view(layer, viewer.dims.point) in shown
        assert abs(slice_in_view(layer, viewer.dims.point) - z) <= 1


def test_a_two_dimensional_layer_is_one_slice() -> None:
    assert volume_from({"flair": ImageSource(layer=image(8, 9, scale=(2, 3)))}).data.shape == (1, 1, 8, 9)
    assert spacing_of(image(8, 9, scale=(2, 3))) == (1, 2, 3)
    assert spacing_of(image(8, 9, scale=(2, 3), units=("cm", "mm"))) == (1, 20, 3)


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ({}, "choose the image layer"),
        ({"flair": image(2, 8, 8), "pre": image(3, 8, 8)}, r"differ in shape .*flair \(2, 8, 8\)"),
        ({"flair": image(9, 2, 2, 8, 8)}, "has 5 axes"),
    ],
)
def test_layers_that_are_no_scan_are_refused(layers: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        volume_from({role: ImageSource(layer=layer) for role, layer in layers.items()})


def test_the_mask_lies_where_the_image_lies() -> None:
    viewer = ViewerModel()
    affine, rotation = np.eye(4), np.eye(3)
    affine[0, 3] = 7
    # Within the slice: napari cannot show slices that lie askew.
    rotation[1:, 1:] = [[0.8, -0.6], [0.6, 0.8]]
    layer = viewer.add_image(np.zeros((3, 8, 9)), scale=(3, 1, 2), translate=(5, 6, 7), rotate=rotation, affine=affine)
    mask = viewer.add_labels(np.zeros((3, 8, 9), np.uint8), **geometry_of(layer))
    point = (1.0, 2.0, 3.0)
    np.testing.assert_allclose(mask.data_to_world(point), layer.data_to_world(point))


def test_the_mask_of_a_four_dimensional_layer_has_three_axes() -> None:
    layer = image(2, 3, 8, 9, scale=(1, 3, 1, 2), translate=(0, 5, 6, 7))
    geometry = geometry_of(layer)
    assert tuple(geometry["scale"]) == (3, 1, 2)
    assert tuple(geometry["translate"]) == (5, 6, 7)
    ViewerModel().add_labels(np.zeros((3, 8, 9), np.uint8), **geometry)


def test_the_slice_follows_the_layer_s_own_first_axis() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 8, 9)), scale=(3, 1, 1), translate=(6, 0, 0))
    viewer.dims.set_current_step(0, 3)
    assert slice_of(layer, viewer.dims.point) == 3
    viewer.dims.order = (1, 0, 2)
    assert slice_of(layer, viewer.dims.point) == 3
    viewer.add_image(np.zeros((2, 40, 8, 9)))
    assert slice_of(layer, viewer.dims.point) in range(5)
    assert slice_of(image(8, 9), (0.0, 0.0)) == 0


@pytest.mark.parametrize(
    ("position", "expected"),
    [(6.0, 0), (4.6, 0), (4.4, None), (10.6, 2), (18.0, 4), (19.4, 4), (19.6, None)],
)
def test_beyond_its_ends_no_slice_of_a_layer_is_in_view(position: float, expected: int | None) -> None:
    layer = ViewerModel().add_image(np.zeros((5, 8, 9)), scale=(3, 1, 1), translate=(6, 0, 0))
    assert slice_in_view(layer, (position, 0.0, 0.0)) == expected
