import io
import warnings

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.formats import picture
from napari_unet_seg.errors import InputError

Y, X = 12, 15
SHAPE = (1, Y, X)
ORIENTATION = 0x0112


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def gray(rng):
    return rng.integers(0, 256, (Y, X), dtype=np.uint8)


@pytest.fixture
def truth(rng):
    return rng.integers(0, 2, SHAPE, dtype=np.uint8) * np.uint8(255)


def save(path, values, mode=None, **options):
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode, dither=Image.Dither.NONE)).save(path, **options)
    return path


def with_palette(path, labels, palette, **options):
    image = Image.frombytes("P", labels.shape[::-1], labels.astype(np.uint8).tobytes())
    image.putpalette(palette)
    image.save(path, **options)
    return path


def in_alpha(labels, colour):
    """A mask ``(1, Y, X)`` as the transparency of a colour."""
    values = np.empty((Y, X, len(colour) + 1), np.uint8)
    values[..., :-1], values[..., -1] = colour, labels[0]
    return values


def replace(path, labels):
    payload = picture.encode_mask(labels, former=path, like=path)
    path.write_bytes(payload)
    np.testing.assert_array_equal(picture.read_labels(path, shape=labels.shape), labels)
    return Image.open(io.BytesIO(payload))


class TestImage:
    def test_gray(self, tmp_path, gray):
        volume = picture.read_image(save(tmp_path / "a.png", gray))
        np.testing.assert_array_equal(volume.data, gray[np.newaxis, np.newaxis])
        assert volume.channel_names == ("",)
        assert not volume.spacing_known
        assert volume.notes == ("a.png gives no spacing; 1 mm is assumed",)
        assert picture.read_shape(tmp_path / "a.png") == SHAPE

    def test_sixteen_bits_are_kept(self, tmp_path, rng):
        values = rng.integers(0, 65536, (Y, X), dtype=np.uint16)
        volume = picture.read_image(save(tmp_path / "a.png", values))
        assert volume.data.dtype == np.uint16
        np.testing.assert_array_equal(volume.data[0, 0], values)

    def test_sixteen_bits_a_colour_are_kept(self, tmp_path, rng):
        values = rng.integers(0, 65536, (Y, X, 3), dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
        volume = picture.read_image(tmp_path / "a.png")
        np.testing.assert_array_equal(volume.data[:, 0], np.moveaxis(values, -1, 0))

    def test_colours_are_channels(self, tmp_path, rng):
        values = rng.integers(0, 256, (Y, X, 3), dtype=np.uint8)
        volume = picture.read_image(save(tmp_path / "a.png", values))
        np.testing.assert_array_equal(volume.data[:, 0], np.moveaxis(values, -1, 0))
        assert volume.channel_names == ("red", "green", "blue")

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
    def test_equal_colours_are_one_channel(self, tmp_path, gray, mode):
        volume = picture.read_image(save(tmp_path / "a.png", gray, mode))
        np.testing.assert_array_equal(volume.data, gray[np.newaxis, np.newaxis])

    def test_varying_alpha_of_colours_is_a_channel(self, tmp_path, rng):
        values = rng.integers(0, 255, (Y, X, 4), dtype=np.uint8)
        volume = picture.read_image(save(tmp_path / "a.png", values))
        assert volume.channel_names == ("red", "green", "blue", "alpha")

    def test_transparency_of_gray_is_dropped_and_said(self, tmp_path, gray):
        volume = picture.read_image(save(tmp_path / "a.png", np.stack([gray, gray // 2], axis=-1)))
        np.testing.assert_array_equal(volume.data[0, 0], gray)
        assert "the transparency of a.png is not used" in volume.notes

    def test_one_bit(self, tmp_path, truth):
        volume = picture.read_image(save(tmp_path / "a.png", truth[0], "1"))
        np.testing.assert_array_equal(volume.data[0], truth)

    def test_palette_shows_its_colours(self, tmp_path):
        with_palette(tmp_path / "a.png", np.eye(Y), [0, 0, 0, 200, 10, 0])
        volume = picture.read_image(tmp_path / "a.png")
        assert volume.data[:, 0, 0, 0].tolist() == [200, 10, 0]

    def test_gray_jpeg_in_colours_is_one_channel(self, tmp_path, gray):
        smooth = np.sort(gray, axis=None).reshape(Y, X)
        volume = picture.read_image(save(tmp_path / "a.jpg", smooth, "RGB", quality=90))
        assert volume.data.shape == (1, 1, Y, X)
        assert np.abs(volume.data[0, 0].astype(int) - smooth).mean() < 4

    def test_coloured_jpeg_keeps_its_channels(self, tmp_path):
        values = np.zeros((16, 16, 3), np.uint8)
        values[:, 8:, 0] = 200
        assert len(picture.read_image(save(tmp_path / "a.jpg", values)).data) == 3

    def test_cmyk_jpeg(self, tmp_path, gray):
        assert picture.read_image(save(tmp_path / "a.jpg", gray, "CMYK")).shape == SHAPE

    def test_exif_orientation_is_honoured(self, tmp_path, gray):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        path = save(tmp_path / "a.png", gray, exif=exif)
        volume = picture.read_image(path)
        np.testing.assert_array_equal(volume.data[0, 0], np.rot90(gray, -1))
        assert picture.read_shape(path) == volume.shape == (1, X, Y)
        assert any("EXIF" in note for note in volume.notes)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_truncated(self, tmp_path, rng, name):
        path = save(tmp_path / name, rng.integers(0, 256, (64, 64), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:-900])
        with pytest.raises(InputError, match=rf"{name}: .*damaged or cut short"):
            picture.read_image(path)

    @pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"text" * 9, "not a PNG or JPEG")])
    def test_no_picture(self, tmp_path, content, said):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.png: .*{said}"):
            picture.read_image(tmp_path / "a.png")

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"a\.png: there is no such file"):
            picture.read_shape(tmp_path / "a.png")

    @pytest.mark.parametrize("side", [10_500, 60_000])
    def test_decompression_bomb(self, tmp_path, gray, side):
        path = save(tmp_path / "a.png", gray)
        content = bytearray(path.read_bytes())
        content[16:24] = np.array([side, side], ">u4").tobytes()
        content[29:33] = int(imagecodecs.zlib_crc32(bytes(content[12:29]))).to_bytes(4, "big")
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.png: has .* pixels, at most"):
            picture.read_image(path)

    def test_warnings_do_not_leak(self, tmp_path, gray):
        path = save(tmp_path / "a.jpg", gray, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            picture.read_image(path)
        assert not caught


class TestLabels:
    @pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA"])
    def test_modes_of_0_and_255(self, tmp_path, truth, mode):
        path = save(tmp_path / "a.png", truth[0], mode)
        np.testing.assert_array_equal(picture.read_labels(path, shape=SHAPE), truth)

    def test_indices_of_a_palette_are_labels(self, tmp_path, rng):
        labels = rng.integers(0, 3, (Y, X))
        path = with_palette(tmp_path / "a.png", labels, [0, 0, 0, 255, 0, 0, 0, 255, 0])
        np.testing.assert_array_equal(picture.read_labels(path, shape=SHAPE)[0], labels)

    def test_palette_of_black_and_white_gives_colours(self, tmp_path, truth):
        path = with_palette(tmp_path / "a.png", truth[0] == 0, [255, 255, 255, 0, 0, 0])
        np.testing.assert_array_equal(picture.read_labels(path, shape=SHAPE), truth)

    @pytest.mark.parametrize("colour", [(255,), (0,), (0, 0, 0), (255, 0, 0)])
    def test_shape_in_the_transparency(self, tmp_path, truth, colour):
        path = save(tmp_path / "a.png", in_alpha(truth, colour))
        np.testing.assert_array_equal(picture.read_labels(path, shape=SHAPE), truth)

    def test_nothing_to_be_seen_is_an_empty_mask(self, tmp_path, truth):
        path = save(tmp_path / "a.png", in_alpha(truth * 0, (255, 255, 255)))
        assert not picture.read_labels(path, shape=SHAPE).any()

    def test_transparency_of_a_shape_is_not_looked_at(self, tmp_path, truth, gray):
        path = save(tmp_path / "a.png", np.stack([truth[0], gray], axis=-1))
        np.testing.assert_array_equal(picture.read_labels(path, shape=SHAPE), truth)

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_jpeg_is_thresholded(self, tmp_path, mode):
        truth = np.zeros((1, 32, 32), np.uint8)
        truth[0, 9:23, 5:21] = 255
        path = save(tmp_path / "a.jpg", truth[0], mode, quality=60)
        np.testing.assert_array_equal(picture.read_labels(path, shape=truth.shape), truth)

    @pytest.mark.parametrize("quality", [10, 40, 75, 100])
    def test_jpeg_that_is_black_is_empty(self, tmp_path, quality):
        empty = np.zeros((1, 32, 32), np.uint8)
        path = save(tmp_path / "a.jpg", empty[0], quality=quality)
        np.testing.assert_array_equal(picture.read_labels(path, shape=empty.shape), empty)

    def test_jpeg_of_small_labels_is_refused(self, tmp_path, truth):
        path = save(tmp_path / "a.jpg", truth[0] // 255, quality=100)
        with pytest.raises(InputError, match=r"a\.jpg: this JPEG mask has no value above"):
            picture.read_labels(path, shape=SHAPE)

    def test_colours_are_refused(self, tmp_path, rng):
        path = save(tmp_path / "a.png", rng.integers(0, 256, (Y, X, 3), dtype=np.uint8))
        with pytest.raises(InputError, match=r"a\.png: the mask is a colour image"):
            picture.read_labels(path, shape=SHAPE)

    def test_other_shape_is_refused(self, tmp_path, gray):
        path = save(tmp_path / "a.png", gray)
        with pytest.raises(InputError, match=r"a\.png: the mask has shape \(1, 12, 15\) but its image \(1, 9, 9\)"):
            picture.read_labels(path, shape=(1, 9, 9))


class TestEncode:
    @pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA"])
    def test_mode_is_kept(self, tmp_path, truth, mode):
        path = save(tmp_path / "a.png", truth[0], mode, dpi=(254, 254))
        image = replace(path, 255 - truth)
        assert image.mode == mode
        assert image.info["dpi"] == pytest.approx((254, 254))

    @pytest.mark.parametrize("colour", [(255,), (0,), (0, 0, 0), (255, 0, 0)])
    def test_shape_stays_in_the_transparency(self, tmp_path, truth, colour):
        path = save(tmp_path / "a.png", in_alpha(truth, colour), dpi=(254, 254))
        for labels in (255 - truth, truth * 0, truth):
            image = replace(path, labels)
            np.testing.assert_array_equal(np.asarray(image), in_alpha(labels, colour))
        assert image.info["dpi"] == pytest.approx((254, 254))
        replace(path, truth * 0 + 255)

    def test_correction_in_the_transparency_is_reverted(self, tmp_path, gray, truth):
        save(tmp_path / "a.png", gray)
        path = save(tmp_path / "a_mask.png", in_alpha(truth, (0, 0, 0)))
        before = path.read_bytes()
        dataset = open_dataset(tmp_path)
        edited = 1 - dataset["a"].read_mask()
        line = dataset.save_correction("a", edited)
        np.testing.assert_array_equal(open_dataset(tmp_path)["a"].read_mask(), edited)
        np.testing.assert_array_equal(Image.open(path).getchannel("A"), 255 * edited[0])
        dataset.revert(line.id)
        assert path.read_bytes() == before

    def test_sixteen_bits_are_kept(self, tmp_path, truth):
        path = save(tmp_path / "a.png", truth[0].astype(np.uint16))
        assert replace(path, 255 - truth).mode.startswith("I")

    def test_palette_and_bits_are_kept(self, tmp_path, rng):
        labels = rng.integers(0, 3, SHAPE, dtype=np.uint8)
        palette = [0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 9, 9]
        path = with_palette(tmp_path / "a.png", labels[0], palette)
        image = replace(path, labels[:, ::-1])
        assert image.mode == "P"
        assert image.getpalette("RGB") == palette
        assert path.read_bytes()[24] == 2

    def test_black_and_white_palette_is_kept(self, tmp_path, truth):
        path = with_palette(tmp_path / "a.png", truth[0] == 0, [255, 255, 255, 0, 0, 0])
        assert replace(path, 255 - truth).mode == "P"

    def test_transparent_palette_is_kept(self, tmp_path, truth):
        path = with_palette(tmp_path / "a.png", truth[0] > 0, [0, 0, 0, 255, 0, 0], transparency=b"\x00\xff")
        assert replace(path, truth // 255).info["transparency"] == 0

    @pytest.mark.parametrize("high", [2, 300])
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
    def test_mode_that_cannot_hold_the_labels_gives_way(self, tmp_path, truth, mode, high):
        labels = (truth // 255).astype(np.uint16) * np.uint16(high)
        replace(save(tmp_path / "a.png", truth[0], mode), labels)

    def test_turned_mask_comes_back_upright(self, tmp_path, truth):
        exif = Image.Exif()
        exif[ORIENTATION] = 5
        path = save(tmp_path / "a.png", truth[0], "RGBA", exif=exif)
        replace(path, np.ascontiguousarray(truth.swapaxes(1, 2)))

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_jpeg_is_exact(self, tmp_path, truth, mode):
        path = save(tmp_path / "a.jpg", truth[0], mode)
        image = replace(path, 255 - truth)
        assert (image.format, image.mode) == ("JPEG", mode)

    def test_jpeg_of_labels_is_refused(self, tmp_path, truth):
        path = save(tmp_path / "a.jpg", truth[0])
        with pytest.raises(InputError, match=r"a\.jpg: is a JPEG, .*save the masks as PNG"):
            picture.encode_mask(truth // 255, former=path, like=path)

    def test_too_many_labels_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"a\.png: labels up to 70000 do not fit"):
            picture.encode_mask(np.full(SHAPE, 70_000), former=None, like=tmp_path / "a.png")

    @given(
        arrays(
            np.uint16,
            st.tuples(st.just(1), st.integers(1, 9), st.integers(1, 9)),
            elements=st.sampled_from([0, 1, 2, 7, 255, 256, 65535]),
        ),
        st.sampled_from(["1", "L", "P", "RGB", "RGBA", "LA", "I;16"]),
    )
    def test_any_mask_comes_back(self, tmp_path_factory, labels, mode):
        path = tmp_path_factory.mktemp("any") / "a.png"
        save(path, np.zeros(labels.shape[1:], np.uint16 if mode == "I;16" else np.uint8), mode)
        path.write_bytes(picture.encode_mask(labels, former=path, like=path))
        np.testing.assert_array_equal(picture.read_labels(path, shape=labels.shape), labels)
        path.write_bytes(picture.encode_mask(labels, former=None, like=path))
        np.testing.assert_array_equal(picture.read_labels(path, shape=labels.shape), labels)
