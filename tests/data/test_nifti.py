import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.formats import nifti
from napari_unet_seg.data.volume import Volume, screen_affine
from napari_unet_seg.errors import InputError
from tests.data.read_masks import nifti_mask

SHAPE = (9, 10, 11)
LANDMARK = (2, 7, 3)
SPACING = (0.9, 1.1, 3.0)


def affine_with(codes, *, tilt=0.1):
    """Affine of a file whose axes run as the codes say, slightly tilted, as scanners do it."""
    orientation = orientations.axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (target, flip) in enumerate(orientation):
        affine[int(target), axis] = flip * SPACING[axis]
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]
    affine[:3, 3] = (-40, 12, 7)
    return turn @ affine


def save(path, values, affine=None, **header):
    image = nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)


CODES = ["RAS", "LPS", "LAS", "PSR", "ASL", "SPL", "IRP", "LIA"]


@pytest.mark.parametrize("codes", CODES)
def test_landmark_keeps_its_place(tmp_path, codes):
    values = np.zeros(SHAPE, np.int16)
    values[LANDMARK] = 99
    affine = affine_with(codes)
    save(tmp_path / "a.nii", values, affine)
    volume = nifti.read_image(tmp_path / "a.nii")
    assert volume.data.dtype == np.int16
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    (_, z, y, x) = np.argwhere(volume.data == 99)[0]
    np.testing.assert_allclose(volume.affine @ (x, y, z, 1), affine @ (*LANDMARK, 1), atol=1e-4)
    lengths = dict(zip("xyz", np.linalg.norm(volume.affine[:3, :3], axis=0), strict=True))
    assert volume.spacing == pytest.approx((lengths["z"], lengths["y"], lengths["x"]))
    assert volume.spacing_known
    assert volume.notes == ()


@pytest.mark.parametrize(("codes", "extension"), list(zip(CODES, [".nii", ".nii.gz"] * 4, strict=True)))
def test_mask_round_trip_is_exact(tmp_path, codes, extension):
    rng = np.random.default_rng(1)
    affine = affine_with(codes)
    save(tmp_path / f"a{extension}", rng.normal(size=SHAPE).astype(np.float32), affine)
    truth = rng.integers(0, 4, SHAPE, dtype=np.uint8)
    save(tmp_path / f"a_seg{extension}", truth, affine)
    case = open_dataset(tmp_path)["a"]
    written = case.write_prediction(case.read_mask(), tmp_path / "out")
    assert written == tmp_path / "out" / f"a_mask{extension}"
    image, result = nib.load(tmp_path / f"a{extension}"), nib.load(written)
    assert result.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), truth)
    np.testing.assert_array_equal(result.affine, image.affine)
    for key in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(result.header[key], image.header[key])


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_written_file_is_the_same_each_time(tmp_path, extension):
    save(tmp_path / "a.nii", np.ones(SHAPE, np.uint8))
    mask = np.ones(SHAPE[::-1], np.uint8)
    paths = [tmp_path / f"{name}{extension}" for name in ("one", "two")]
    for path in paths:
        nifti.write_mask(path, mask, like=tmp_path / "a.nii")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.nii", *(path.name for path in paths)])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 10), (1, 1, 10, 9)),
        ((9, 10, 1), (1, 1, 10, 9)),
        ((9, 10, 11, 1), (1, 11, 10, 9)),
        ((9, 10, 11, 3), (3, 11, 10, 9)),
        ((9, 10, 11, 1, 3), (3, 11, 10, 9)),
    ],
)
def test_numbers_of_axes(tmp_path, shape, expected):
    values = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    save(tmp_path / "a.nii", values)
    volume = nifti.read_image(tmp_path / "a.nii")
    assert volume.data.shape == expected
    spatial = values.reshape(*(*shape[:3], 1)[:3], -1)
    np.testing.assert_array_equal(volume.data, spatial.transpose(3, 2, 1, 0))
    mask = (volume.data[0] % 2).astype(np.uint8)
    nifti.write_mask(tmp_path / "a_mask.nii", mask, like=tmp_path / "a.nii")
    assert nib.load(tmp_path / "a_mask.nii").shape == shape[:3]
    np.testing.assert_array_equal(nifti_mask(tmp_path / "a_mask.nii", like=tmp_path / "a.nii"), mask)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32", "float64", ">i2", ">f4", "uint8"])
def test_number_types_are_kept(tmp_path, dtype):
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1]), header=header), tmp_path / "a.nii")
    data = nifti.read_image(tmp_path / "a.nii").data
    assert data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(data[0], values.T)


def test_scaled_values_are_float32(tmp_path):
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    payload = bytearray(image.to_bytes())
    payload[112:120] = np.array([0.5, 3], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(payload)
    data = nifti.read_image(tmp_path / "a.nii").data
    assert data.dtype == np.float32
    assert data.max() == 0.5 * (np.prod(SHAPE) - 1) + 3


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_void_slope_keeps_integers(tmp_path, slope):
    payload = bytearray(nib.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4)).to_bytes())
    payload[112:120] = np.array([slope, 0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(payload)
    assert nifti.read_image(tmp_path / "a.nii").data.dtype == np.int16


@pytest.mark.parametrize(("unit", "scale"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1), ("unknown", 1)])
def test_units_become_millimetres(tmp_path, unit, scale):
    image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([-2 / scale, -3 / scale, 4 / scale, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    volume = nifti.read_image(tmp_path / "a.nii")
    assert volume.spacing == pytest.approx((4, 3, 2))
    np.testing.assert_allclose(np.diag(volume.affine), (-2, -3, 4, 1), rtol=1e-6)


def test_header_without_orientation(tmp_path):
    image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), None)
    image.header.set_zooms((0.5, 0.6, 4))
    nib.save(image, tmp_path / "a.nii")
    volume = nifti.read_image(tmp_path / "a.nii")
    assert volume.spacing == pytest.approx((4, 0.6, 0.5))
    assert "does not say how the patient lay" in volume.notes[0]


def test_the_qform_counts_where_the_sform_is_of_no_use(tmp_path):
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    image = nib.Nifti1Image(values, affine_with("RAS"))
    image.set_qform(affine_with("RAS"), code=1)
    nib.save(image, tmp_path / "a.nii")
    payload = bytearray((tmp_path / "a.nii").read_bytes())
    payload[280:328] = bytes(48)  # srow_x to srow_z
    (tmp_path / "b.nii").write_bytes(payload)
    good, volume = nifti.read_image(tmp_path / "a.nii"), nifti.read_image(tmp_path / "b.nii")
    np.testing.assert_allclose(volume.affine, good.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.data, good.data)
    assert volume.notes == ()
    mask = (good.data[0] % 7 == 0).astype(np.uint8)
    nifti.write_mask(tmp_path / "m.nii", mask, like=tmp_path / "b.nii")
    np.testing.assert_array_equal(nifti.read_labels(tmp_path / "m.nii", like=tmp_path / "a.nii"), mask)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_damaged_files_are_refused_quietly(tmp_path, capfd, name):
    path = tmp_path / name
    rng = np.random.default_rng(0)
    save(path, rng.integers(0, 999, SHAPE, dtype=np.int16))
    whole = path.read_bytes()
    for payload in (whole[: len(whole) // 2], whole[:-40], rng.bytes(5000), b"", whole[:200], gzip.compress(b"text")):
        path.write_bytes(payload)
        with pytest.raises(InputError, match=r"a\.nii(\.gz)?: (this|the file is empty)"):
            nifti.read_image(path)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        nifti.read_image(path)
    assert capfd.readouterr().err == ""


def test_a_flipped_bit_is_not_read_as_other_voxels(tmp_path):
    path = tmp_path / "a.nii.gz"
    save(path, np.random.default_rng(0).integers(0, 999, SHAPE, dtype=np.int16))
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    # Nothing but the checksum tells of it.
    assert not np.array_equal(nib.load(path).dataobj, np.random.default_rng(0).integers(0, 999, SHAPE))
    for read in (nifti.read_image, lambda path: nifti.read_labels(path, like=path)):
        with pytest.raises(InputError, match=r"a\.nii\.gz: this NIfTI file is damaged"):
            read(path)


def test_members_in_a_row_are_one_file(tmp_path):
    # As bgzip writes them.
    save(tmp_path / "a.nii", np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    payload = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(payload[:1000]) + gzip.compress(payload[1000:]))
    read, plain = nifti.read_image(tmp_path / "a.nii.gz"), nifti.read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(read.data, plain.data)


def test_colours_are_refused(tmp_path):
    dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, dtype), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="colours"):
        nifti.read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".NII", ".Nii", ".Nii.Gz", ".nii.GZ"])
def test_an_ending_may_be_in_any_letters(tmp_path, ending):
    rng = np.random.default_rng(0)
    values, truth = rng.integers(0, 99, SHAPE).astype(np.int16), rng.integers(0, 2, SHAPE, dtype=np.uint8)
    for name, array in (("a", values), ("a_Mask", truth)):
        save(tmp_path / "plain.nii", array, affine_with("LPS"))
        payload = (tmp_path / "plain.nii").read_bytes()
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(payload) if ending[-2:].lower() == "gz" else payload)
    (tmp_path / "plain.nii").unlink()
    dataset = open_dataset(tmp_path)
    case = dataset["a"]
    mask = case.read_mask()
    np.testing.assert_array_equal(mask, truth.T)
    mask[3] = 1
    dataset.save_correction("a", mask, [3])
    np.testing.assert_array_equal(open_dataset(tmp_path)["a"].read_mask(), mask)


def test_mask_on_another_grid(tmp_path):
    save(tmp_path / "a.nii", np.ones(SHAPE, np.int16), affine_with("LAS"))
    save(tmp_path / "shape.nii", np.ones((9, 10, 12), np.uint8), affine_with("LAS"))
    save(tmp_path / "moved.nii", np.ones(SHAPE, np.uint8), affine_with("LAS") + np.diag([0, 0, 0.5], k=1))
    with pytest.raises(InputError, match=r"shape\.nii: the mask has shape \(12, 10, 9\) but its image \(11, 10, 9\)"):
        nifti_mask(tmp_path / "shape.nii", like=tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"moved\.nii: the mask lies elsewhere"):
        nifti_mask(tmp_path / "moved.nii", like=tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("labels", [(0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 4)])
def test_labels_that_were_scaled_into_integers_are_whole_again(tmp_path, dtype, labels):
    save(tmp_path / "a.nii", np.ones(SHAPE, np.int16))
    values = np.resize(np.array(labels, np.float64), SHAPE)
    image = nib.Nifti1Image(values, nib.load(tmp_path / "a.nii").affine)
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "a_mask.nii")
    case = open_dataset(tmp_path)["a"]
    np.testing.assert_array_equal(case.read_mask(), values.transpose(2, 1, 0))


def test_a_probability_map_scaled_into_integers_is_no_mask(tmp_path):
    save(tmp_path / "a.nii", np.ones(SHAPE, np.int16))
    image = nib.Nifti1Image(np.linspace(0, 1, np.prod(SHAPE)).reshape(SHAPE), nib.load(tmp_path / "a.nii").affine)
    image.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "a_mask.nii")
    with pytest.raises(InputError, match="probability map"):
        open_dataset(tmp_path)["a"].read_mask()


def test_mask_without_orientation_follows_the_image(tmp_path):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2, SHAPE, dtype=np.uint8)
    save(tmp_path / "a.nii", values, affine_with("PSR"))
    nib.save(nib.Nifti1Image(values, None), tmp_path / "a_mask.nii")
    image = nifti.read_image(tmp_path / "a.nii").data[0]
    np.testing.assert_array_equal(nifti_mask(tmp_path / "a_mask.nii", like=tmp_path / "a.nii"), image)


def test_a_mask_cannot_be_laid_over_an_image_without_orientation(tmp_path):
    values = np.ones(SHAPE, np.uint8)
    nib.save(nib.Nifti1Image(values, None), tmp_path / "a.nii")
    save(tmp_path / "m.nii", values, affine_with("RAS"))
    said = r"m\.nii: the mask cannot be laid over a\.nii: only one of the two says how the patient lay; if they"
    with pytest.raises(InputError, match=said):
        nifti.read_labels(tmp_path / "m.nii", like=tmp_path / "a.nii")


def test_mended_header_is_not_printed(tmp_path, capfd):
    payload = bytearray(nib.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4)).to_bytes())
    payload[252:254] = np.array([999], "<i2").tobytes()  # qform_code
    payload[123] = 250  # xyzt_units
    (tmp_path / "a.nii").write_bytes(payload)
    nifti.read_image(tmp_path / "a.nii")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_header_that_claims_more_than_the_file_holds(tmp_path, name):
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), np.eye(4))
    payload = bytearray(image.to_bytes())
    payload[42:48] = np.array([30000, 30000, 3000], np.int16).tobytes()
    (tmp_path / name).write_bytes(gzip.compress(payload) if name.endswith(".gz") else payload)
    (case,) = open_dataset(tmp_path)
    for read in (case.read_image, case.read_mask, case.labelled_slices):
        with pytest.raises(InputError, match=rf"{name}: this NIfTI file is damaged or cut short"):
            read()


def test_a_constant_image_is_compressed_no_further(tmp_path):
    save(tmp_path / "a.nii", np.zeros((256, 256, 64), np.int16))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes(), 9))
    assert nifti.read_shape(tmp_path / "a.nii.gz") == (64, 256, 256)


@pytest.mark.parametrize(
    ("spacing", "missing"), [((1.0, 1.0, 1.0), "spacing"), ((1.0, 0.5, 0.5), "distance between slices")]
)
def test_what_is_not_known_of_the_spacing_is_not_known_of_what_is_written(tmp_path, spacing, missing):
    data = np.random.default_rng(0).integers(0, 200, (1, 4, 12, 10), dtype=np.uint8)
    affine = screen_affine(spacing)
    volume = Volume(data=data, channel_names=("",), spacing=spacing, affine=affine, spacing_known=False)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(nifti.encode_image(volume, volume.data, compressed=True))
    read = nifti.read_image(path)
    assert (read.spacing, read.spacing_known, read.notes) == (
        spacing,
        False,
        (f"a.nii.gz gives no {missing}; 1 mm is assumed",),
    )
    np.testing.assert_array_equal(read.data, data)
    # The mask of it takes the header over.
    nifti.write_mask(tmp_path / "a_mask.nii.gz", np.zeros((4, 12, 10), np.uint8), like=path)
    assert nifti.read_grid(tmp_path / "a_mask.nii.gz").spacing_known is False
    known = replace(volume, spacing_known=True)
    path.write_bytes(nifti.encode_image(known, known.data, compressed=True))
    assert nifti.read_image(path).spacing_known
    assert nifti.read_image(path).notes == ()
