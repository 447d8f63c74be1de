import numpy as np
import pytest

from napari_unet_seg.data.checks import check_usable
from napari_unet_seg.data.roles import ROLES, arrange_channels, guess_role, role_suffix
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError


def volume_of(*names, values=None):
    """A volume whose channel number n holds values around 10 n."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 9, (len(names), 2, 9, 9)).astype(np.int16)
    data += 10 * np.arange(len(names), dtype=np.int16)[:, None, None, None]
    for index, value in (values or {}).items():
        data[index] = value
    return Volume(data=data, channel_names=names)


def order_of(volume):
    return [int(channel.min()) // 10 for channel in volume.data]


@pytest.mark.parametrize(
    ("role", "names"),
    list(
        {
            "pre": [
                "t1",
                "T1w",
                "t1n",
                "t1pre",
                "T1 pre",
                "pre",
                "pre-contrast",
                "T1-weighted",
                "Ax T1 FLAIR",
                "T1FLAIR",
                "pre-op T1",
            ],
            "post": [
                "t1ce",
                "T1Gd",
                "t1c",
                "t1post",
                "t1+c",
                "post",
                "T1 post contrast",
                "ce-gadolinium_T1w",
                "T1_CE",
                "T1 FLAIR +C",
                "post-op T1 post",
                "pre-op T1ce",
            ],
            "flair": ["FLAIR", "t2flair", "t2_flair", "t2f", "post flair", "T2 FLAIR", "FLAIR to T1", "t1 t2 flair"],
            "t2": ["t2", "T2w", "post-op T2", "T2 pre surgery", "pät2 t2", "患者_t2"],
            None: ["", "red", "c", "seg", "alpha", "dwi", "ct1x", "post-op", "pät2", "Müt1", "Mu\u0308t1", "M\udcfct1"],
        }.items()
    ),
)
def test_roles_are_guessed(role, names):
    assert {name: guess_role(name) for name in names} == dict.fromkeys(names, role)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("BraTS19_01_1_t1ce", ("BraTS19_01_1", "t1ce")),
        ("BraTS-GLI-00000-000-t2f", ("BraTS-GLI-00000-000", "t2f")),
        ("sub-01_ce-gadolinium_T1w", ("sub-01", "ce-gadolinium_t1w")),
        ("p_t1+c", ("p", "t1+c")),
        ("pt-c_flair", ("pt-c", "flair")),
        ("FLAIR", ("", "flair")),
        ("case_seg", ("case_seg", "")),
        ("contrast", ("contrast", "")),
        ("Ax_T1_FLAIR", ("Ax", "t1_flair")),
        ("p_post-op_T2", ("p_post-op", "t2")),
        ("sät1", ("sät1", "")),
        ("sa\u0308t1", ("sa\u0308t1", "")),
        ("Mu\u0308ller_t1", ("Mu\u0308ller", "t1")),
    ],
)
def test_role_at_the_end_of_a_stem(stem, expected):
    assert role_suffix(stem) == expected


@pytest.mark.parametrize(
    ("names", "order", "note"),
    [
        (("pre", "flair", "post"), [0, 1, 2], None),
        (("FLAIR", "T1", "T1ce", "T2"), [1, 0, 2], "channel T2 not used"),
        (("red", "green", "blue"), [0, 1, 2], "red, green and blue are taken"),
        (("", "", ""), [0, 1, 2], "the three channels are taken"),
        (("",), [0, 0, 0], "taken for FLAIR"),
        (("flair", "t1"), [1, 0, 0], "post-contrast T1 is missing; a copy of FLAIR"),
        (("t1ce", "flair"), [1, 1, 0], "pre-contrast T1 is missing; a copy of FLAIR"),
    ],
)
def test_channels_are_arranged(names, order, note):
    arranged, notes = arrange_channels(volume_of(*names), ROLES)
    assert order_of(arranged) == order
    assert arranged.channel_names == ROLES
    assert any(note in each for each in notes) if note else notes == ()


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("red", "green", "blue", "alpha"), r"4 channels \(red, green, blue, alpha\).*save it as RGB with"),
        (("", ""), "the image has 2 channels, the model expects 3"),
        (("",) * 5, "the image has 5 channels, the model expects 3"),
        (("t1", "t2"), "FLAIR is needed"),
        (("t2",), "FLAIR is needed"),
        (("flair", "t1", "t1w"), "'t1' and 't1w' both look like pre-contrast T1"),
    ],
)
def test_channels_that_cannot_be_told_apart(names, problem):
    with pytest.raises(InputError, match=problem):
        arrange_channels(volume_of(*names), ROLES)


def test_constant_sequence_counts_as_missing():
    arranged, notes = arrange_channels(volume_of("pre", "flair", "post", values={2: 0}), ROLES)
    np.testing.assert_array_equal(arranged.data[2], arranged.data[1])
    assert notes == ("post-contrast T1 is constant; a copy of FLAIR stands in for it",)
    with pytest.raises(InputError, match="FLAIR is needed, but it is constant"):
        arrange_channels(volume_of("pre", "flair", "post", values={1: 7}), ROLES)


def test_models_with_other_channels():
    by_name, notes = arrange_channels(volume_of("b", "x", "A"), ("a", "b"))
    assert order_of(by_name) == [2, 0]
    assert notes == ()
    by_place, notes = arrange_channels(volume_of("u", "v"), ("a", "b"))
    assert order_of(by_place) == [0, 1]
    assert notes == ("channels are taken in order for a, b",)
    with pytest.raises(InputError, match=r"the image has 1 channel, the model expects 2 \(a, b\)"):
        arrange_channels(volume_of(""), ("a", "b"))


def test_arranging_in_place_copies_nothing():
    volume = volume_of("pre", "flair", "post")
    assert arrange_channels(volume, ROLES)[0].data is volume.data


def float_volume(shape=(1, 2, 9, 9), names=None):
    data = np.random.default_rng(0).normal(size=shape)
    return Volume(data=data, channel_names=names or ("",) * shape[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(value):
    volume = float_volume((2, 2, 9, 9), ("t1", "flair"))
    volume.data[1, 0, 0, :3] = value
    with pytest.raises(InputError, match="3 voxels are NaN or infinite in channel flair"):
        check_usable(volume)


@pytest.mark.parametrize(("shape", "size"), [((1, 1, 1, 1), "1x1"), ((1, 9, 7, 30), "7x30")])
def test_tiny_slices(shape, size):
    with pytest.raises(InputError, match=f"slices of {size} pixels are too small"):
        check_usable(float_volume(shape))


def test_constant_image():
    with pytest.raises(InputError, match=r"every pixel has the same value \(4\)"):
        check_usable(volume_of("", values={0: 4}))
    with pytest.raises(InputError, match="every channel is constant"):
        check_usable(volume_of("a", "b", values={0: 4, 1: 0}))
    check_usable(volume_of("a", "b", values={0: 4}))


def test_other_number_types():
    volume = float_volume()
    volume.data[:] = 9 * (volume.data > 0)
    for dtype in (bool, np.uint8, np.int16, np.float16, np.float32, np.int64):
        check_usable(Volume(data=volume.data.astype(dtype), channel_names=("",)))
    with pytest.raises(InputError, match="type complex64"):
        check_usable(Volume(data=volume.data.astype(np.complex64), channel_names=("",)))
    with pytest.raises(InputError, match="exceed what float32 can hold"):
        check_usable(Volume(data=volume.data * 1e300, channel_names=("",)))
