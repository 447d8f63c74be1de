"""What is painted at a place in the patient lies there in the saved file, whoever reads it."""

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import files

SHAPE = (9, 12, 7)
SPACING = (0.8, 1.3, 4.0)
VOXEL = (3, 8, 5)


def affine_of(codes, *, turn=0.0):
    """Affine of a file whose axes run as the codes say, the whole turned about two axes by an angle."""
    affine = np.zeros((4, 4))
    for axis, (target, flip) in enumerate(orientations.axcodes2ornt(tuple(codes))):
        affine[int(target), axis] = flip * SPACING[axis]
    affine[:, 3] = (-30, 17, 5, 1)
    c, s = np.cos(turn), np.sin(turn)
    about_z = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]])
    return about_x @ about_z @ affine


AFFINES = {
    "canonical": affine_of("RAS"),
    "LPS": affine_of("LPS"),
    "permuted": affine_of("SAR"),
    "permuted and flipped": affine_of("PIL"),
    "sagittal": affine_of("ASL"),
    "coronal": affine_of("RSA"),
    "oblique": affine_of("LAS", turn=0.3),
    "oblique and permuted": affine_of("PSR", turn=-0.25),
    "more than half a right angle": affine_of("RAS", turn=0.9),
}


def image_with(values, affine):
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    return image


def scan_in(folder, affine, mask=None, extension=".nii.gz"):
    """A file whose one bright voxel tells where it lies, and the scan."""
    values = np.zeros(SHAPE, np.int16)
    values[VOXEL] = 500
    nib.save(image_with(values, affine), folder / f"a{extension}")
    if mask is not None:
        nib.save(mask, folder / f"a_mask{extension}")
    (scan,) = files.open_cases(folder)
    return scan


def correct(scan, change):
    """Paint as the program does: on the axes of the volume, and encoded into the mask file."""
    (file,) = scan.mask_files()
    former = file.path if file.path.exists() else None
    labels = np.zeros(scan.read_shape(), np.uint8) if former is None else scan.decode_mask(file, former).copy()
    change(labels)
    file.path.write_bytes(scan.encode_mask(file, labels, former=former, original=former))
    np.testing.assert_array_equal(scan.decode_mask(file, file.path), labels)
    return file.path


def world_in_nibabel(path):
    image = nib.load(path)
    (index,) = np.argwhere(np.asanyarray(image.dataobj) > 0)
    return image.affine @ (*index, 1)


def world_in_simpleitk(path):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    (index,) = np.argwhere(sitk.GetArrayFromImage(image) > 0)
    left, posterior, superior = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
    return np.array([-left, -posterior, superior, 1])


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", AFFINES)
def test_painted_place_is_found(tmp_path, kind, extension):
    affine = AFFINES[kind]
    scan = scan_in(tmp_path, affine, extension=extension)
    volume = scan.read_image()
    world = affine @ (*VOXEL, 1)
    x, y, z = np.rint(np.linalg.inv(volume.affine) @ world)[:3].astype(int)
    assert volume.data[0, z, y, x] == 500

    def paint(labels):
        labels[z, y, x] = 1

    path = correct(scan, paint)
    assert path.name == f"a_mask{extension}"
    np.testing.assert_allclose(world_in_nibabel(path), world, atol=1e-4)
    np.testing.assert_allclose(world_in_simpleitk(path), world, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", ">i2"])
def test_mask_keeps_header_and_type(tmp_path, dtype):
    affine = AFFINES["oblique and permuted"]
    before = np.random.default_rng(0).integers(0, 2, SHAPE).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    mask = nib.Nifti1Image(before, affine, header=header)
    mask.set_sform(affine, 4)
    mask.set_qform(affine, 2)
    mask.header["descrip"] = b"drawn by hand"
    mask.header["cal_max"] = 3
    mask.header["intent_name"] = b"tumour"
    mask.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a note of theirs"))
    scan = scan_in(tmp_path, affine, mask)
    former = nib.load(tmp_path / "a_mask.nii.gz")
    values = np.asanyarray(former.dataobj)

    def paint(labels):
        labels[2] = 1 - labels[2]

    after = nib.load(correct(scan, paint))
    assert after.get_data_dtype() == former.get_data_dtype()
    assert after.header.endianness == former.header.endianness
    assert after.header.extensions == former.header.extensions
    for key in former.header:
        if key not in ("scl_slope", "scl_inter", "vox_offset"):
            np.testing.assert_array_equal(after.header[key], former.header[key], err_msg=key)
    changed = np.asanyarray(after.dataobj) != values
    (along,) = (axis for axis, target in enumerate(nib.io_orientation(affine)[:, 0]) if target == 2)
    assert changed.any(axis=tuple({0, 1, 2} - {along})).sum() == 1
    assert changed.sum() == changed.size // SHAPE[along]


def test_mask_in_another_orientation_than_its_image(tmp_path):
    affine = AFFINES["canonical"]
    turned = image_with(np.zeros(SHAPE, np.uint8), affine).as_reoriented(orientations.axcodes2ornt(("S", "L", "P")))
    scan = scan_in(tmp_path, affine, turned)
    volume = scan.read_image()
    z, y, x = np.argwhere(volume.data[0] == 500)[0]

    def paint(labels):
        labels[z, y, x] = 1

    path = correct(scan, paint)
    assert nib.aff2axcodes(nib.load(path).affine) == nib.aff2axcodes(turned.affine)
    np.testing.assert_allclose(world_in_nibabel(path), affine @ (*VOXEL, 1), atol=1e-4)


def test_type_grows_where_it_has_to(tmp_path):
    scan = scan_in(tmp_path, AFFINES["LPS"], image_with(np.ones(SHAPE, np.int8), AFFINES["LPS"]))

    def paint(labels):
        labels[0, 0, 0] = 127

    assert nib.load(correct(scan, paint)).get_data_dtype() == np.int8
    (file,) = scan.mask_files()
    labels = scan.decode_mask(file, file.path).astype(np.int16)
    labels[0, 0, 0] = 200
    file.path.write_bytes(scan.encode_mask(file, labels, former=file.path, original=None))
    assert nib.load(file.path).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(scan.decode_mask(file, file.path), labels)


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_copy_is_read_under_any_name(tmp_path, extension, kind):
    mask = np.random.default_rng(0).integers(0, 2, SHAPE, dtype=np.uint8)
    scan = scan_in(tmp_path, AFFINES["LPS"], kind(mask, AFFINES["LPS"]), extension)
    (file,) = scan.mask_files()
    copy = tmp_path / "0f3a9c"
    copy.write_bytes(file.path.read_bytes())
    labels = scan.decode_mask(file, file.path)
    np.testing.assert_array_equal(scan.decode_mask(file, copy), labels)
    again = scan.encode_mask(file, labels, former=copy, original=copy)
    file.path.write_bytes(again)
    assert type(nib.load(file.path)) is kind
    np.testing.assert_array_equal(scan.decode_mask(file, file.path), labels)


def lay_out(root, layout, affine):
    """The image in a layout, without a mask; returns where its mask will be."""
    image = image_with(np.zeros(SHAPE, np.int16), affine)
    if layout == "files":
        names = ["a.nii.gz"]
    elif layout == "sequences":
        names = ["a/a_flair.nii.gz", "a/a_t1.nii.gz"]
    else:
        names = ["imagesTr/a_0000.nii.gz"]
        (root / "dataset.json").write_text(
            '{"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "tumour": 1}}'
        )
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        nib.save(image, root / name)
    return root / {"files": "a_mask.nii.gz", "sequences": "a/a_mask.nii.gz", "nnunet": "labelsTr/a.nii.gz"}[layout]


@pytest.mark.parametrize("layout", ["files", "sequences", "nnunet"])
@pytest.mark.parametrize("kind", ["canonical", "oblique and permuted", "coronal"])
def test_saved_correction_lies_where_it_was_painted(tmp_path, kind, layout):
    affine = AFFINES[kind]
    path = lay_out(tmp_path, layout, affine)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == layout
    volume = dataset["a"].read_image()
    world = affine @ (*VOXEL, 1)
    x, y, z = np.rint(np.linalg.inv(volume.affine) @ world)[:3].astype(int)
    mask = np.zeros(volume.shape, np.uint8)
    mask[z, y, x] = 1
    dataset.save_correction("a", mask, slices=[z])
    np.testing.assert_allclose(world_in_nibabel(path), world, atol=1e-4)
    np.testing.assert_allclose(world_in_simpleitk(path), world, atol=1e-3)
    again = open_dataset(tmp_path)["a"]
    np.testing.assert_array_equal(again.read_mask(), mask)
    assert np.flatnonzero(again.labelled_slices()).tolist() == [z]


def test_scaled_mask(tmp_path):
    affine = AFFINES["LPS"]
    values = np.random.default_rng(0).integers(0, 2, SHAPE, dtype=np.uint8)
    scan = scan_in(tmp_path, affine, image_with(values * np.uint8(255), affine), ".nii")
    (file,) = scan.mask_files()
    payload = bytearray(file.path.read_bytes())
    payload[112:120] = np.array([1 / 255, 0], "<f4").tobytes()
    file.path.write_bytes(payload)
    np.testing.assert_array_equal(np.unique(scan.decode_mask(file, file.path)), [0, 1])

    def paint(labels):
        labels[1] = 1 - labels[1]

    correct(scan, paint)
