import json

import nibabel as nib
import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.formats import nifti
from napari_unet_seg.data.layouts import nnunet
from napari_unet_seg.errors import InputError

SHAPE = (9, 10, 5)
AFFINE = np.array([[0, 0, 3.0, -5], [-1.0, 0, 0, 7], [0, 1.5, 0, 2], [0, 0, 0, 1]])
V2 = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "tumour": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def make(root, *, cases=("c1",), part="Tr", channels=2, description=V2, truth=None):
    """A dataset whose channels have their number as value."""
    for case in cases:
        for channel in range(channels):
            save(root / f"images{part}" / f"{case}_{channel:04}.nii.gz", np.full(SHAPE, channel, np.int16))
        if truth is not None:
            save(root / f"labels{part}" / f"{case}.nii.gz", truth)
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def truth_with(*, ignore=None, slices=()):
    truth = np.random.default_rng(0).integers(0, 2, SHAPE, dtype=np.uint8)
    for z in slices:
        truth[:, :, z] = ignore
    return truth


def scan_of(root):
    (scan,) = nnunet.open_cases(root)
    return scan


def encoded(scan, labels, *, former):
    (file,) = scan.mask_files()
    file.path.parent.mkdir(exist_ok=True)
    file.path.write_bytes(scan.encode_mask(file, labels, former=former, original=None))
    return scan.decode_mask(file, file.path)


def decoded(scan):
    (file,) = scan.mask_files()
    return scan.decode_mask(file, file.path)


def test_channels_have_the_names_of_the_description(tmp_path):
    make(tmp_path, cases=("c10", "c9"), truth=truth_with())
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "nnunet"
    assert [case.case_id for case in dataset] == ["c9", "c10"]
    volume = dataset["c9"].read_image()
    assert volume.channel_names == ("T1", "FLAIR")
    assert volume.data[:, 0, 0, 0].tolist() == [0, 1]
    assert volume.spacing == pytest.approx((1.5, 1, 3))
    assert dataset["c9"].has_mask


@pytest.mark.parametrize(
    ("without", "noted"), [((0, 1, 2), ["c1_0000.nii.gz"]), ((1, 2), []), ((0,), ["c1_0000.nii.gz"])]
)
def test_the_spacing_is_that_of_the_first_channel(tmp_path, without, noted):
    make(tmp_path, channels=3, description=V2 | {"channel_names": {"0": "T1", "1": "FLAIR", "2": "T1CE"}})
    for channel in without:
        path = tmp_path / "imagesTr" / f"c1_{channel:04}.nii.gz"
        image = nib.load(path)
        image.header["descrip"] = nifti._NO_SPACING
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), AFFINE, image.header), path)
    notes = scan_of(tmp_path).read_image().notes
    assert list(notes) == [f"{name} gives no spacing; 1 mm is assumed" for name in noted]


def test_description_of_the_first_version(tmp_path):
    description = {"modality": {"1": "T2", "0": "FLAIR"}, "labels": {"0": "background", "2": "tumour"}}
    make(tmp_path, description=description)
    scan = scan_of(tmp_path)
    assert scan.read_image().channel_names == ("FLAIR", "T2")
    assert scan.foreground == 2


def test_one_file_with_all_channels(tmp_path):
    save(tmp_path / "imagesTr" / "BRATS_0012.nii.gz", np.zeros((*SHAPE, 2), np.int16))
    save(tmp_path / "labelsTr" / "BRATS_0012.nii.gz", truth_with())
    (tmp_path / "dataset.json").write_text(json.dumps(V2))
    scan = scan_of(tmp_path)
    assert (scan.case_id, scan.has_mask) == ("BRATS_0012", True)
    assert scan.read_image().channel_names == ("T1", "FLAIR")


def test_test_cases_are_cases_too(tmp_path):
    make(tmp_path, truth=truth_with())
    make(tmp_path, cases=("c1", "c2"), part="Ts")
    scans = {scan.case_id: scan for scan in nnunet.open_cases(tmp_path)}
    assert {name: scan.has_mask for name, scan in scans.items()} == {"c1": True, "c1Ts": False, "c2": False}
    assert scans["c2"].mask_files()[0].path == tmp_path / "labelsTs" / "c2.nii.gz"


def test_file_ending_is_honoured(tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (5, 16, 18), dtype=np.uint8)
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    tifffile.imwrite(tmp_path / "imagesTr" / "c_0000.tif", stack)
    tifffile.imwrite(tmp_path / "labelsTr" / "c.tif", stack // 128)
    description = {**V2, "channel_names": {"0": "FLAIR"}, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    scan = scan_of(tmp_path)
    np.testing.assert_array_equal(scan.read_image().data[0], stack)
    np.testing.assert_array_equal(decoded(scan), stack // 128)


def test_slices_to_ignore_are_unlabelled(tmp_path):
    description = {**V2, "labels": {"background": 0, "whole": [1, 2], "ignore": 3}}
    affine = np.diag([-1.0, -1, 3, 1])
    make(tmp_path, description=description)
    truth = truth_with(ignore=3, slices=(1, 4))
    truth[0, 0, 2] = 3
    truth[:2, 1, 3] = 3
    save(tmp_path / "labelsTr" / "c1.nii.gz", truth, affine)
    for channel in range(2):
        save(tmp_path / "imagesTr" / f"c1_000{channel}.nii.gz", np.zeros(SHAPE, np.int16), affine)
    scan = scan_of(tmp_path)
    labels = decoded(scan)
    assert (labels < 0).all(axis=(1, 2)).tolist() == [False, True, False, False, True]
    assert labels[2, 0, 0] == 0
    labels[1], labels[3, 4, 4] = 0, 2
    labels[1, 5, 5] = 1
    labels[3, 1, 0] = 1
    np.testing.assert_array_equal(encoded(scan, labels, former=tmp_path / "labelsTr" / "c1.nii.gz"), labels)
    stored = np.asanyarray(nib.load(tmp_path / "labelsTr" / "c1.nii.gz").dataobj)
    assert stored.dtype == np.uint8
    assert (stored[:, :, 4] == 3).all()
    # A voxel to ignore stays one where nothing else is put: nobody has called it background.
    assert stored[0, 0, 2] == 3
    assert stored[:2, 1, 3].tolist() == [1, 3]
    # In a slice that nobody had labelled the correction labels all of it.
    assert not (stored[:, :, 1] == 3).any()
    np.testing.assert_array_equal(stored[:, :, 0], truth[:, :, 0])


@pytest.mark.parametrize("kind", [np.uint8, np.int16])
def test_some_voxels_to_ignore_leave_their_slice_labelled(tmp_path, kind):
    description = {**V2, "labels": {"background": 0, "tumour": 1, "ignore": 2}}
    truth = truth_with().astype(kind)
    truth[:2, 0, 1] = 2
    make(tmp_path, description=description, truth=truth)
    case = open_dataset(tmp_path)["c1"]
    assert case.labelled_slices().all()
    assert sorted(np.unique(case.read_mask())) == [0, 1]


def test_a_picture_to_ignore_throughout_is_unlabelled(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    for name, value in {"a": 1, "b": 2}.items():
        tifffile.imwrite(tmp_path / "imagesTr" / f"{name}_0000.tif", np.zeros((16, 18), np.uint8))
        tifffile.imwrite(tmp_path / "labelsTr" / f"{name}.tif", np.full((16, 18), value, np.uint8))
    description = {"labels": {"background": 0, "tumour": 1, "ignore": 2}, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = open_dataset(tmp_path)
    assert dataset["b"].read_mask() is None
    assert [case.labelled_slices().tolist() for case in dataset] == [[True], [False]]
    dataset.save_correction("b", np.zeros((1, 16, 18), np.uint8), [0])
    assert dataset["b"].labelled_slices().tolist() == [True]


@pytest.mark.parametrize(("ignore", "fill"), [({"ignore": 2}, 2), ({}, 0)])
def test_new_mask_marks_the_other_slices(tmp_path, ignore, fill):
    make(tmp_path, description={**V2, "labels": V2["labels"] | ignore})
    scan = scan_of(tmp_path)
    labels = np.full(scan.read_shape(), -1, np.int16)
    labels[2] = 0
    labels[2, 3, 3] = 1
    encoded(scan, labels, former=None)
    image = nib.load(tmp_path / "labelsTr" / "c1.nii.gz")
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, AFFINE)
    values, counts = np.unique(np.asanyarray(image.dataobj), return_counts=True)
    size = labels[2].size
    expected = {0: size - 1, 1: 1}
    expected[fill] = expected.get(fill, 0) + labels.size - size
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == expected


def test_prediction_has_the_case_s_name(tmp_path):
    make(tmp_path / "in", truth=truth_with())
    scan = scan_of(tmp_path / "in")
    mask = np.ones(scan.read_shape(), np.uint8)
    written = scan.write_prediction(mask, tmp_path / "out")
    assert written == tmp_path / "out" / "c1.nii.gz"
    np.testing.assert_array_equal(nib.load(written).affine, AFFINE)
    with pytest.raises(InputError, match="would replace"):
        scan.write_prediction(mask, tmp_path / "in" / "labelsTr")


@pytest.mark.parametrize(("tumour", "labels", "stored"), [(4, [0, 1], [0, 4]), (2, [0, 1, 3], [0, 2, 3])])
def test_prediction_has_the_class_of_the_description(tmp_path, tumour, labels, stored):
    make(tmp_path, description={**V2, "labels": {"background": 0, "tumour": tumour}})
    scan = scan_of(tmp_path)
    mask = np.resize(labels, scan.read_shape()).astype(np.uint8)
    written = scan.write_prediction(mask, tmp_path / "labelsTr")
    assert np.unique(np.asanyarray(nib.load(written).dataobj)).tolist() == stored
    np.testing.assert_array_equal(open_dataset(tmp_path)["c1"].read_mask(), mask)


def test_prediction_with_two_classes_of_one_number(tmp_path):
    make(tmp_path / "in", description={**V2, "labels": {"background": 0, "tumour": 4}})
    scan = scan_of(tmp_path / "in")
    mask = np.resize([0, 1, 4], scan.read_shape()).astype(np.uint8)
    with pytest.raises(InputError, match=r"4 stands for label 1 .*; give that class another label"):
        scan.write_prediction(mask, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"no valid JSON \(line 1: .*\); mend it"),
        ("", "no valid JSON"),
        ("[1]", "describes no dataset"),
        ("[" * 99999, "no valid JSON"),
        ('{"file_ending": ".mha"}', r"files ending in \.mha are not read"),
        ('{"file_ending": 3}', "files ending in 3 are not read"),
        ('{"channel_names": 3}', "each channel's name by its number"),
        ('{"channel_names": {"T1": "0"}}', "each channel's name by its number"),
        ('{"labels": ["tumour"]}', "each class's number by its name"),
        ('{"labels": {"tumour": "one"}}', "each class's number by its name"),
        ('{"file_ending": ".tif"}', r"no images ending in \.tif"),
    ],
)
def test_broken_description(tmp_path, content, problem):
    make(tmp_path)
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=rf"dataset\.json: .*{problem}") as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_description_that_is_no_text(tmp_path):
    make(tmp_path)
    (tmp_path / "dataset.json").write_bytes(b'{"name": "\xff"}')
    with pytest.raises(InputError, match="not UTF-8"):
        open_dataset(tmp_path)


def test_missing_channel(tmp_path):
    make(tmp_path, cases=("c1", "c2"))
    (tmp_path / "imagesTr" / "c1_0001.nii.gz").unlink()
    dataset = open_dataset(tmp_path)
    dataset["c2"].read_image()
    with pytest.raises(InputError, match=r"c1_0000\.nii\.gz: the channel c1_0001\.nii\.gz \(FLAIR\) is missing"):
        dataset["c1"].read_image()


def test_missing_first_channel(tmp_path):
    make(tmp_path)
    (tmp_path / "imagesTr" / "c1_0000.nii.gz").unlink()
    with pytest.raises(InputError, match=r"c1_0001\.nii\.gz: the channel c1_0000\.nii\.gz \(T1\) is missing"):
        open_dataset(tmp_path)["c1"].read_image()


def test_mask_without_image(tmp_path):
    make(tmp_path)
    save(tmp_path / "labelsTr" / "c2.nii.gz", truth_with())
    dataset = open_dataset(tmp_path)
    dataset["c1"].read_image()
    with pytest.raises(InputError, match=r"c2\.nii\.gz: there is no image for this mask; put c2_0000\.nii\.gz"):
        dataset["c2"].read_image()


def labelled(label, z=2):
    """A mask with a label in one slice."""
    mask = np.zeros((10, 9, 5), np.uint8)
    mask[z, :3] = label
    return mask


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "tumour": 1, "edema": 2},
        {"background": 0, "whole": [1, 2], "core": [2]},
        {"background": 0, "tumour": 1, "edema": 2, "ignore": 3},
        {"0": "background", "1": "tumour", "2": "edema"},
    ],
)
def test_a_correction_with_a_label_that_is_not_declared_is_refused(tmp_path, labels):
    root = make(tmp_path, description=V2 | {"labels": labels}, truth=np.full(SHAPE, 1, np.uint8))
    dataset = open_dataset(root)
    before = dataset["c1"].read_mask()
    for label in (3, 7):
        with pytest.raises(
            InputError, match=rf"label {label} in slice 2 of c1 is none that .* declares \(1, 2\); give"
        ):
            dataset.save_correction("c1", labelled(label))
        np.testing.assert_array_equal(open_dataset(root)["c1"].read_mask(), before)
    dataset.save_correction("c1", labelled(2))
    np.testing.assert_array_equal(open_dataset(root)["c1"].read_mask(), labelled(2))


@pytest.mark.parametrize("labels", [{}, {"background": 0}])
def test_where_no_class_is_declared_any_label_is_saved(tmp_path, labels):
    dataset = open_dataset(make(tmp_path, description=V2 | {"labels": labels}, truth=np.full(SHAPE, 1, np.uint8)))
    dataset.save_correction("c1", labelled(7))
    assert dataset["c1"].read_mask()[2, 0, 0] == 7


def test_labels_that_are_there_undeclared_stay_savable(tmp_path):
    truth = np.ones(SHAPE, np.uint8)
    truth[:, :, :2] = 7
    dataset = open_dataset(make(tmp_path, truth=truth))
    mask = dataset["c1"].read_mask()
    assert set(np.unique(mask)) == {1, 7}
    mask[1:4, :3] = 0
    dataset.save_correction("c1", mask)
    np.testing.assert_array_equal(dataset["c1"].read_mask(), mask)


def test_white_that_is_not_declared_stays_the_tumour(tmp_path):
    root = make(tmp_path, truth=np.full(SHAPE, 255, np.uint8))
    open_dataset(root).save_correction("c1", labelled(1))
    assert set(np.unique(nib.load(root / "labelsTr" / "c1.nii.gz").dataobj)) == {0, 255}
