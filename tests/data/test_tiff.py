import io
import logging

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_seg.data.formats import tiff
from napari_unet_seg.data.formats.inverse import inverse
from napari_unet_seg.errors import InputError
from tests.data.read_masks import tiff_mask

Z, Y, X = 6, 20, 24
CZYX = {"axes": "CZYX"}
IMAGEJ_MM = {"axes": "ZYX", "spacing": 3, "unit": "mm"}
IMAGEJ_UM = {"axes": "ZYX", "spacing": 3000, "unit": "um"}
OME = {
    "axes": "ZYX",
    "PhysicalSizeX": 0.5,
    "PhysicalSizeXUnit": "mm",
    "PhysicalSizeY": 500.0,
    "PhysicalSizeZ": 0.2,
    "PhysicalSizeZUnit": "cm",
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pixels(rng, *shape):
    return rng.integers(1, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "options", "expected", "order"),
    [
        ((Y, X), {}, (1, 1, Y, X), (0, 1)),
        ((Z, Y, X), {}, (1, Z, Y, X), (0, 1, 2)),
        ((Z, Y, X), {"metadata": None}, (1, Z, Y, X), (0, 1, 2)),
        ((Y, X, 3), {}, (3, 1, Y, X), (2, 0, 1)),
        ((Z, Y, X, 3), {}, (3, Z, Y, X), (3, 0, 1, 2)),
        ((Z, Y, X, 3), {"photometric": "minisblack"}, (3, Z, Y, X), (3, 0, 1, 2)),
        ((2, Y, X, 3), {"photometric": "minisblack"}, (3, 2, Y, X), (3, 0, 1, 2)),
        ((Y, X, 3), {"photometric": "minisblack"}, (3, 1, Y, X), (2, 0, 1)),
        ((3, Z, Y, X), {}, (3, Z, Y, X), (0, 1, 2, 3)),
        ((Z, 3, Y, X), {"metadata": {"axes": "ZCYX"}, "photometric": "minisblack"}, (3, Z, Y, X), (1, 0, 2, 3)),
        ((Z, 3, Y, X), {"photometric": "rgb"}, (3, Z, Y, X), (1, 0, 2, 3)),
        ((2, 3, Y, X), {"metadata": {"axes": "ZCYX"}, "photometric": "minisblack"}, (3, 2, Y, X), (1, 0, 2, 3)),
        ((3, 2, Y, X), {"metadata": {"axes": "ZCYX"}, "photometric": "minisblack"}, (2, 3, Y, X), (1, 0, 2, 3)),
        ((Z, 1, Y, X), {"photometric": "minisblack"}, (1, Z, Y, X), (1, 0, 2, 3)),
        ((1, 1, Y, X), {"photometric": "minisblack"}, (1, 1, Y, X), (0, 1, 2, 3)),
        ((Z, Y, X), {"imagej": True}, (1, Z, Y, X), (0, 1, 2)),
        ((Z, Y, X), {"imagej": True, "metadata": {"axes": "TYX"}}, (1, Z, Y, X), (0, 1, 2)),
        ((Z, 3, Y, X), {"imagej": True, "metadata": {"axes": "ZCYX"}}, (3, Z, Y, X), (1, 0, 2, 3)),
        ((3, Z, Y, X), {"ome": True, "photometric": "minisblack"}, (3, Z, Y, X), (0, 1, 2, 3)),
        ((3, Z, Y, X), {"ome": True, "photometric": "minisblack", "metadata": CZYX}, (3, Z, Y, X), (0, 1, 2, 3)),
        ((5, Y, X), {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}, (5, 1, Y, X), (0, 1, 2)),
    ],
)
def test_axes_are_found(tmp_path, rng, shape, options, expected, order):
    values = pixels(rng, *shape)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    volume = tiff.read_image(tmp_path / "a.tif")
    assert volume.data.shape == expected
    np.testing.assert_array_equal(volume.data, values.transpose(order).reshape(expected))
    assert tiff.read_shape(tmp_path / "a.tif") == expected[1:]


@pytest.mark.parametrize("shape", [(3, 3, Y, X), (1, 3, Y, X), (3, 1, Y, X), (7, 8, Y, X), (7, 3, 2, X)])
def test_ambiguous_shape_is_refused(tmp_path, rng, shape):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, *shape), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif: cannot tell slices from channels in shape .*'axes'"):
        tiff.read_image(tmp_path / "a.tif")


def test_time_series_is_refused(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, 2, 5, Y, X), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match="series over time"):
        tiff.read_image(tmp_path / "a.tif")


def test_assumptions_are_noted(tmp_path, rng):
    tifffile.imwrite(tmp_path / "grey.tif", pixels(rng, 3, Y, X), photometric="minisblack")
    tifffile.imwrite(tmp_path / "planar.tif", pixels(rng, 3, Y, X), photometric="rgb")
    grey, planar = tiff.read_image(tmp_path / "grey.tif"), tiff.read_image(tmp_path / "planar.tif")
    assert grey.data.shape == (1, 3, Y, X)
    assert "read as slices" in grey.notes[0]
    assert planar.data.shape == (3, 1, Y, X)
    assert "read as channels" in planar.notes[0]


@pytest.mark.parametrize(("channels", "names"), [(3, ("red", "green", "blue")), (4, ("red", "green", "blue", "alpha"))])
def test_colours_are_named(tmp_path, rng, channels, names):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Y, X, channels), photometric="rgb")
    assert tiff.read_image(tmp_path / "a.tif").channel_names == names


def test_ome_channel_names(tmp_path, rng):
    metadata = {"axes": "CZYX", "Channel": {"Name": ["T1", "FLAIR", "T1ce"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels(rng, 3, Z, Y, X), photometric="minisblack", metadata=metadata)
    assert tiff.read_image(tmp_path / "a.ome.tif").channel_names == ("T1", "FLAIR", "T1ce")


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint16", ">u2", ">i2", "float32", ">f4", "float64", "int32"])
def test_number_types(tmp_path, rng, dtype):
    values = rng.integers(0, 2, (Z, Y, X)).astype(dtype)
    byteorder = ">" if dtype.startswith(">") else None
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byteorder)
    data = tiff.read_image(tmp_path / "a.tif").data
    assert data.dtype.isnative
    assert data.dtype == (np.uint8 if dtype == "bool" else np.dtype(dtype).newbyteorder("="))
    np.testing.assert_array_equal(data[0], values)


def test_one_slice_has_a_thickness_that_is_not_known(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Y, X), resolution=(20, 10), resolutionunit="CENTIMETER")
    volume = tiff.read_image(tmp_path / "a.tif")
    assert (volume.spacing, volume.spacing_known, volume.pixel_size_known) == (pytest.approx((1, 1, 0.5)), False, True)
    assert volume.notes == ("a.tif gives no distance between slices; 1 mm is assumed",)


@pytest.mark.parametrize(
    ("options", "spacing", "known"),
    [
        ({}, (1, 1, 1), False),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, (1, 1, 1), False),
        ({"resolution": (20, 10), "resolutionunit": "CENTIMETER"}, (1, 1, 0.5), False),
        ({"resolution": (2, 2), "imagej": True, "metadata": IMAGEJ_MM}, (3, 0.5, 0.5), True),
        ({"resolution": (0.002,) * 2, "imagej": True, "metadata": IMAGEJ_UM}, (3, 0.5, 0.5), True),
        ({"ome": True, "metadata": OME}, (2, 0.5, 0.5), True),
    ],
)
def test_spacing(tmp_path, rng, options, spacing, known):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Z, Y, X), **options)
    volume = tiff.read_image(tmp_path / "a.tif")
    assert volume.spacing == pytest.approx(spacing)
    assert volume.spacing_known is known
    assert known != any("1 mm is assumed" in note for note in volume.notes)
    np.testing.assert_allclose(np.diag(volume.affine), (-spacing[2], -spacing[1], spacing[0], 1), rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"metadata": None}, {"imagej": True}, {"ome": True}])
@pytest.mark.parametrize("kept", [0.9, 0.6, 0.2, 0.05])
def test_truncated_file_is_refused_quietly(tmp_path, rng, capfd, options, kept):
    payload = io.BytesIO()
    tifffile.imwrite(payload, pixels(rng, 12, 32, 40), **options)
    (tmp_path / "a.tif").write_bytes(payload.getvalue()[: int(kept * len(payload.getvalue()))])
    with pytest.raises(InputError, match=r"a\.tif: this (TIFF is damaged|is not a TIFF)"):
        tiff.read_image(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""
    assert [type(handler) for handler in logging.getLogger("tifffile").handlers] == [logging.NullHandler]


@pytest.mark.parametrize(
    ("payload", "problem"), [(b"", "empty"), (b"no image at all" * 9, "not a TIFF"), (b"II*\0", "TIFF")]
)
def test_other_bytes_are_refused(tmp_path, payload, problem):
    (tmp_path / "a.tif").write_bytes(payload)
    with pytest.raises(InputError, match=problem):
        tiff.read_image(tmp_path / "a.tif")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        tiff.read_image(tmp_path / "a.tif")


def test_pages_of_two_sizes_are_refused(tmp_path, rng):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels(rng, Y, X))
        writer.write(pixels(rng, 30, X))
    with pytest.raises(InputError, match="2 images of different sizes"):
        tiff.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("imagej", [True, False])
def test_mask_is_written_like_the_image(tmp_path, rng, imagej):
    options = {"metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "mm"}, "imagej": imagej}
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Z, Y, X), resolution=(2, 4), **options)
    mask = rng.integers(0, 2, (Z, Y, X), dtype=np.uint8)
    tiff.write_mask(tmp_path / "a_mask.tif", mask, like=tmp_path / "a.tif")
    written = tifffile.imread(tmp_path / "a_mask.tif")
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, mask * 255)
    for name in ("a.tif", "a_mask.tif"):
        assert tiff.read_image(tmp_path / name).spacing == (3, 0.25, 0.5)
    np.testing.assert_array_equal(tiff_mask(tmp_path / "a_mask.tif", like=tmp_path / "a.tif"), mask)


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_short_mask_comes_back(tmp_path, rng, slices):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, slices, Y, X, 3), metadata={"axes": "ZYXS"})
    mask = rng.integers(0, 3, (slices, Y, X), dtype=np.uint8)
    tiff.write_mask(tmp_path / "a_mask.tif", mask, like=tmp_path / "a.tif")
    np.testing.assert_array_equal(tiff_mask(tmp_path / "a_mask.tif", like=tmp_path / "a.tif"), mask)
    # Written by another program, three slices look like three colours.
    tifffile.imwrite(tmp_path / "b_mask.tif", mask, photometric="rgb" if slices == 3 else None)
    np.testing.assert_array_equal(tiff_mask(tmp_path / "b_mask.tif", like=tmp_path / "a.tif"), mask)


@pytest.mark.parametrize("axes", ["ZYX", "ZXY", "YXZ", "XYZ"])
@pytest.mark.parametrize("side", [16, 20])
def test_mask_of_square_slices_has_the_axes_that_it_states(tmp_path, rng, axes, side):
    order = ["ZYX".index(letter) for letter in axes]
    stack, mask = pixels(rng, 16, side, side), rng.integers(0, 2, (16, side, side), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack.transpose(order), metadata={"axes": axes})
    path = tmp_path / "a_mask.tif"
    tifffile.imwrite(path, mask.transpose(order) * np.uint8(255), metadata={"axes": axes})
    np.testing.assert_array_equal(tiff.read_image(tmp_path / "a.tif").data[0], stack)
    np.testing.assert_array_equal(tiff_mask(path, like=tmp_path / "a.tif"), mask)
    edited = np.roll(mask, 1, axis=1)
    path.write_bytes(tiff.encode_mask(edited, former=path, like=tmp_path / "a.tif"))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), edited)
    np.testing.assert_array_equal(tifffile.imread(path), edited.transpose(order))


def test_mask_values(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Y, X))
    mask = rng.integers(0, 2, (Y, X))
    for name, values in {"bool": mask.astype(bool), "colour": np.stack([mask * 255] * 3, -1).astype(np.uint8)}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
        np.testing.assert_array_equal(tiff_mask(tmp_path / f"{name}.tif", like=tmp_path / "a.tif")[0], mask)
    tifffile.imwrite(tmp_path / "float.tif", mask * np.float32(0.5))
    with pytest.raises(InputError, match=r"float\.tif: the mask holds fractions"):
        tiff_mask(tmp_path / "float.tif", like=tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "red.tif", np.stack([mask * 255, mask * 0, mask * 0], -1).astype(np.uint8))
    with pytest.raises(InputError, match="colour image"):
        tiff_mask(tmp_path / "red.tif", like=tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "wide.tif", np.zeros((Y, X + 1), np.uint8))
    with pytest.raises(InputError, match=r"wide\.tif: the mask has shape \(1, 20, 25\) but its image \(1, 20, 24\)"):
        tiff_mask(tmp_path / "wide.tif", like=tmp_path / "a.tif")


KINDS = {
    "plain": {},
    "page by page": {"metadata": None},
    "described": {"metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "mm", "annotator": "me"}},
    "ImageJ": {
        "imagej": True,
        "metadata": {"axes": "ZYX", "spacing": 3.0, "unit": "mm", "Info": "by hand", "min": 0.0},
    },
    "OME": {"ome": True, "metadata": OME},
    "resolution": {"resolution": (20, 10), "resolutionunit": "CENTIMETER"},
    "deflate": {"compression": "zlib"},
    "lzw with predictor": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "tiles": {"tile": (16, 16), "compression": "zlib"},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "white is zero": {"photometric": "miniswhite"},
    "words": {"description": "drawn by hand", "software": "theirs", "datetime": "2024:01:02 03:04:05"},
    "tags of their own": {"extratags": [(65000, "s", 0, "scanner 3", True), (65001, "I", 2, (7, 8), True)]},
}
OF_THE_PIXELS = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts", "RowsPerStrip"}


@pytest.mark.parametrize("kind", KINDS)
def test_replaced_mask_keeps_its_tags(tmp_path, rng, kind):
    path = tmp_path / "a_mask.tif"
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Z, Y, X))
    tifffile.imwrite(path, (pixels(rng, Z, Y, X) > 99) * np.uint8(255), **KINDS[kind])
    with tifffile.TiffFile(path) as tif:
        before = {tag.name: tag.value for tag in tif.pages[0].tags if tag.name not in OF_THE_PIXELS}
        described, ome, order = tif.imagej_metadata, tif.ome_metadata, (tif.byteorder, tif.is_bigtiff)
    labels = tiff.read_labels(path, shape=(Z, Y, X)).copy()
    labels[2, 3:9, 4:8] = 255 - labels[2, 3:9, 4:8]
    path.write_bytes(tiff.encode_mask(labels, former=path, like=tmp_path / "a.tif"))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(Z, Y, X)), labels)
    with tifffile.TiffFile(path) as tif:
        assert {tag.name: tag.value for tag in tif.pages[0].tags if tag.name not in OF_THE_PIXELS} == before
        assert (tif.imagej_metadata, tif.ome_metadata, (tif.byteorder, tif.is_bigtiff)) == (described, ome, order)
        assert tif.series[0].shape == (Z, Y, X)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", ">u2", "float32", "int32"])
def test_replaced_mask_keeps_its_type(tmp_path, rng, dtype):
    path = tmp_path / "a_mask.tif"
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Y, X))
    mask = rng.integers(0, 2, (1, Y, X)).astype(dtype)
    tifffile.imwrite(path, mask[0], byteorder=">" if dtype.startswith(">") else None)
    with tifffile.TiffFile(path) as tif:
        former = tif.series[0].dtype
    labels = 1 - tiff.read_labels(path, shape=(1, Y, X))
    path.write_bytes(tiff.encode_mask(labels, former=path, like=tmp_path / "a.tif"))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(1, Y, X)), labels)
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].dtype == former
    labels = labels * 200
    labels[0, 0, 0] = 200
    path.write_bytes(tiff.encode_mask(labels.astype(np.uint8), former=path, like=tmp_path / "a.tif"))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(1, Y, X)), labels)


def test_lossy_mask_becomes_lossless(tmp_path, rng):
    path = tmp_path / "a_mask.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), compression="jpeg")
    labels = rng.integers(0, 2, (1, 32, 32), dtype=np.uint8) * np.uint8(255)
    path.write_bytes(tiff.encode_mask(labels, former=path, like=path))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(1, 32, 32)), labels)


def test_colours_coded_as_jpeg_become_plain_ones(tmp_path):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((32, 32), np.uint8)
    mask[9:21, 5:15] = 255
    tifffile.imwrite(path, np.stack([mask] * 3, -1), photometric="rgb", compression="jpeg")
    labels = 255 - tiff.read_labels(path, shape=(1, 32, 32))
    path.write_bytes(tiff.encode_mask(labels, former=path, like=path))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(1, 32, 32)), labels)


def test_palette_is_kept(tmp_path, rng):
    path = tmp_path / "a_mask.tif"
    colours = rng.integers(0, 65535, (3, 256)).astype(np.uint16)
    tifffile.imwrite(path, rng.integers(0, 3, (Y, X), dtype=np.uint8), photometric="palette", colormap=colours)
    labels = rng.integers(0, 3, (1, Y, X), dtype=np.uint8)
    path.write_bytes(tiff.encode_mask(labels, former=path, like=path))
    with tifffile.TiffFile(path) as tif:
        np.testing.assert_array_equal(tif.pages[0].colormap, colours)
        np.testing.assert_array_equal(tif.asarray(), labels[0])


@pytest.mark.parametrize(("channels", "planar"), [(3, "contig"), (3, "separate"), (4, "contig")])
def test_colour_mask_stays_one(tmp_path, rng, channels, planar):
    path = tmp_path / "a_mask.tif"
    tifffile.imwrite(tmp_path / "a.tif", pixels(rng, Y, X))
    mask = rng.integers(0, 2, (Y, X), dtype=np.uint8) * np.uint8(255)
    colours = np.stack([mask] * 3 + [np.full((Y, X), 200, np.uint8)] * (channels - 3), -1)
    colours = np.moveaxis(colours, -1, 0) if planar == "separate" else colours
    extra = ["unassalpha"] if channels == 4 else None
    tifffile.imwrite(path, colours, photometric="rgb", planarconfig=planar, extrasamples=extra)
    labels = 255 - tiff.read_labels(path, shape=(1, Y, X))
    path.write_bytes(tiff.encode_mask(labels, former=path, like=tmp_path / "a.tif"))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=(1, Y, X)), labels)
    after = tifffile.imread(path)
    assert after.shape == colours.shape
    if channels == 4:
        assert (after[..., 3] == 200).all()


def test_new_mask_of_an_ome_image(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels(rng, Z, Y, X), metadata=OME)
    (tmp_path / "a_mask.tif").write_bytes(
        tiff.encode_mask(np.zeros((Z, Y, X), np.uint8), former=None, like=tmp_path / "a.ome.tif")
    )
    assert tiff.read_image(tmp_path / "a_mask.tif").spacing == pytest.approx((2, 0.5, 0.5))


def test_a_mask_coded_as_jpeg_is_cut_at_the_middle(tmp_path):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 10:33, 7:50] = 255
    tifffile.imwrite(path, mask[0], compression="jpeg", compressionargs={"level": 60})
    assert len(np.unique(tifffile.imread(path))) > 2
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), mask)
    tifffile.imwrite(path, mask[0] // 85, compression="jpeg")
    with pytest.raises(InputError, match=r"a_mask\.tif: this JPEG mask has no value above .; save masks of labels"):
        tiff.read_labels(path, shape=mask.shape)


def test_lossless_jpeg_keeps_labels(tmp_path):
    path = tmp_path / "a_mask.tif"
    mask = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) // 16
    tifffile.imwrite(path, mask[0], compression="jpeg", compressionargs={"lossless": True})
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), mask)


WHITE_IS_ZERO = {"bits": "1", "fax": "1", "bytes": "L"}


@pytest.mark.parametrize("kind", WHITE_IS_ZERO)
def test_where_0_is_white_the_mask_is_not_read_inside_out(tmp_path, kind):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((1, 16, 24), np.uint8)
    mask[0, 3:7, 5:12] = 255
    # Pillow turns the values as the tag asks; tifffile, which shows them here, does not.
    picture = Image.fromarray(mask[0]).convert(WHITE_IS_ZERO[kind], dither=Image.Dither.NONE)
    picture.save(path, tiffinfo={262: 0}, compression="group4" if kind == "fax" else None)
    assert (tifffile.imread(path) > 0).sum() == 16 * 24 - 4 * 7
    labels = tiff.read_labels(path, shape=mask.shape)
    np.testing.assert_array_equal(labels > 0, mask > 0)
    np.testing.assert_array_equal(tiff.read_image(path).data[0] > 0, mask > 0)
    edited = labels[:, ::-1]
    path.write_bytes(tiff.encode_mask(edited, former=path, like=path))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), edited)
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("L")) > 0, edited[0] > 0)
    edited = edited + np.uint8(40)
    path.write_bytes(tiff.encode_mask(edited, former=path, like=path))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), edited)


CLASSES = {"one": [0, 1], "two": [0, 1, 2], "high": [0, 2, 255], "none": [0]}


@pytest.mark.parametrize("options", [{}, {"metadata": None, "software": "theirs"}])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("labels", CLASSES.values(), ids=CLASSES)
def test_numbers_of_classes_are_kept_whatever_is_said_to_be_white(tmp_path, labels, kind, options):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((1, 16, 24), kind)
    mask[0].flat[: 4 * len(labels)] = np.repeat(labels, 4)
    tifffile.imwrite(path, mask[0], photometric="miniswhite", **options)
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), mask)
    for edited in (mask[:, ::-1], mask * 0, mask * 0 + 255, np.where(mask > 0, mask.dtype.type(255), 0)):
        path.write_bytes(tiff.encode_mask(edited, former=path, like=path))
        np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), edited)


@pytest.mark.parametrize("labels", [[0, 0], [255, 255], [0, 1], [1, 255], [0, 255]])
def test_where_0_is_white_any_correction_is_read_again(tmp_path, labels):
    path = tmp_path / "a_mask.tif"
    stored = np.full((16, 24), 255, np.uint8)
    stored[3:7, 5:12] = 0
    tifffile.imwrite(path, stored, photometric="miniswhite")
    edited = np.array(labels, np.uint8)[(stored > 0).astype(int)][np.newaxis]
    path.write_bytes(tiff.encode_mask(edited, former=path, like=path))
    np.testing.assert_array_equal(tiff.read_labels(path, shape=edited.shape), edited)


@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_where_0_is_white_a_blurred_mask_is_not_read_inside_out(tmp_path, compression):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((24, 32), np.uint8)
    mask[6:14, 10:24] = 255
    picture = Image.fromarray(mask).resize((64, 48), Image.Resampling.BICUBIC)
    tifffile.imwrite(path, 255 - np.asarray(picture), photometric="miniswhite", compression=compression)
    labels = tiff.read_labels(path, shape=(1, 48, 64))
    np.testing.assert_array_equal(labels[0] > 127, np.asarray(picture) > 127)


def test_the_inverse_of_few_bits():
    np.testing.assert_array_equal(inverse(np.array([0, 1, 15], np.uint8), bits=4), [15, 14, 0])
    np.testing.assert_array_equal(inverse(np.array([0, 1], np.uint16)), [65535, 65534])


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"software": False}])
def test_tifffile_says_that_0_is_white_of_masks_where_it_is_not(tmp_path, options):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((1, 16, 24), bool)
    mask[0, 3:7, 5:12] = True
    tifffile.imwrite(path, mask[0], **options)
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), mask)


def test_a_mask_that_imagej_shows_in_inverted_colours_is_as_it_was_drawn(tmp_path):
    path = tmp_path / "a_mask.tif"
    mask = np.zeros((1, 16, 24), np.uint8)
    mask[0, 3:7, 5:12] = 255
    tifffile.imwrite(path, mask[0], photometric="miniswhite", metadata=None, description="ImageJ=1.54f\n")
    np.testing.assert_array_equal(tiff.read_labels(path, shape=mask.shape), mask)
