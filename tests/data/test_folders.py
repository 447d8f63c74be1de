import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import folders
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError

Y, X = 12, 15


def plane(seed=0, *channels, high=256):
    return np.random.default_rng(seed).integers(0, high, (Y, X, *channels), dtype=np.uint8)


def truth(seed=0):
    return plane(seed, high=2) * np.uint8(255)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values)
    elif path.name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    else:
        Image.fromarray(values).save(path)
    return path


def cases(path):
    return {case.case_id: case for case in folders.open_cases(path)}


def labels(case):
    """What the mask files that exist hold, ``{slice: (Y, X)}``."""
    return {
        z: values
        for file in case.mask_files()
        if file.path.exists()
        for z, values in zip(file.slices, case.decode_mask(file, file.path), strict=True)
    }


class TestFinding:
    @pytest.mark.parametrize(
        ("images", "masks"),
        [
            ("images", "masks"),
            ("Images", "MASKS"),
            ("images", "labels"),
            ("imgs", "masks"),
            ("train", "train_mask"),
            ("train", "train_masks"),
            ("valid", "val_mask"),
            ("val", "valid_mask"),
            ("train/images", "train/masks"),
            ("images/train", "masks/train"),
            ("images/val", "labels/valid"),
        ],
    )
    def test_pairs_of_folders(self, tmp_path, images, masks):
        save(tmp_path / images / "a.png", plane())
        save(tmp_path / masks / "a.png", truth())
        assert folders.detect(tmp_path)
        case = cases(tmp_path)["a"]
        assert case.has_mask
        np.testing.assert_array_equal(labels(case)[0], truth())
        np.testing.assert_array_equal(case.read_image().data[0, 0], plane())

    @pytest.mark.parametrize(
        "names",
        [
            ["p1/p1_1.tif", "p1/p1_1_mask.tif"],
            ["train/p1/p1_1.tif", "train/p1/p1_1_mask.tif"],
            ["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "dataset.json"],
            ["p1/p1_flair.nii.gz", "p1/p1_seg.nii.gz"],
            ["train/p1/p1_flair.nii.gz", "train/p1/p1_seg.nii.gz"],
            ["images/a.tif", "images/a_mask.tif"],
            ["a.png", "a_mask.png"],
            ["images/readme.txt", "masks/readme.txt"],
        ],
    )
    def test_other_layouts_are_not_claimed(self, tmp_path, names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        assert not folders.detect(tmp_path)

    def test_a_file_is_not_claimed(self, tmp_path):
        assert not folders.detect(save(tmp_path / "a.png", plane()))

    def test_splits_with_the_same_name_are_told_apart(self, tmp_path):
        for split in ("train", "valid", "test"):
            save(tmp_path / split / "same.png", plane())
            save(tmp_path / split / f"{split}_only.png", plane())
        save(tmp_path / "train_mask" / "same.png", truth())
        expected = {"train/same", "valid/same", "test/same", "train_only", "valid_only", "test_only"}
        assert cases(tmp_path).keys() == expected
        assert [case_id for case_id, case in cases(tmp_path).items() if case.has_mask] == ["train/same"]

    def test_a_sub_folder_that_leads_elsewhere_in_the_dataset(self, tmp_path):
        for number in range(2):
            save(tmp_path / "raw" / "p1" / f"{number}.png", plane(number))
            save(tmp_path / "masks" / "p1" / f"{number}.png", truth(number))
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "p1").symlink_to("../raw/p1")
        (case,) = open_dataset(tmp_path)
        assert case.read_shape() == (2, Y, X)
        np.testing.assert_array_equal(case.read_mask(), np.stack([truth(0), truth(1)]) // 255)

    def test_dataset_without_masks(self, tmp_path):
        save(tmp_path / "images" / "a.png", plane())
        assert folders.detect(tmp_path)
        case = cases(tmp_path)["a"]
        assert not case.has_mask
        assert case.mask_files()[0].path == tmp_path / "masks" / "a.png"

    def test_text_labels_are_no_masks(self, tmp_path):
        save(tmp_path / "images" / "a.png", plane())
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
        assert cases(tmp_path)["a"].mask_files()[0].path == tmp_path / "masks" / "a.png"


class TestNames:
    @pytest.mark.parametrize(
        ("image", "mask"),
        [
            ("a.jpg", "a.png"),
            ("a.png", "A.PNG"),
            ("a.png", "a_mask.png"),
            ("a.jpg", "a_Seg.tif"),
            ("ä b'.png", "Ä b'.tif"),
        ],
    )
    def test_matched_by_stem(self, tmp_path, image, mask):
        save(tmp_path / "images" / image, plane())
        save(tmp_path / "masks" / mask, truth())
        (case,) = folders.open_cases(tmp_path)
        np.testing.assert_array_equal(labels(case)[0], truth())

    def test_a_new_mask_is_named_like_the_others(self, tmp_path):
        for name in ("a.jpg", "b.jpg", "c.tif"):
            save(tmp_path / "images" / name, plane())
        save(tmp_path / "masks" / "a_seg.jpg", truth())
        found = {case_id: case.mask_files()[0].path.name for case_id, case in cases(tmp_path).items()}
        assert found == {"a": "a_seg.jpg", "b": "b_seg.png", "c": "c_seg.tif"}

    def test_mask_without_an_image_is_said(self, tmp_path):
        save(tmp_path / "images" / "a.png", plane())
        save(tmp_path / "masks" / "lost.png", truth())
        assert any(
            "belong to no image" in note and "lost.png" in note for note in cases(tmp_path)["a"].read_image().notes
        )

    def test_images_of_one_stem_share_no_mask(self, tmp_path):
        for name in ("a.jpg", "a.png"):
            save(tmp_path / "images" / name, plane())
        save(tmp_path / "masks" / "a.png", truth())
        found = cases(tmp_path)
        assert {case_id: case.has_mask for case_id, case in found.items()} == {"a.jpg": False, "a.png": True}
        new = found["a.jpg"].mask_files()[0].path
        save(new, 255 - truth())
        again = cases(tmp_path)
        np.testing.assert_array_equal(labels(again["a.jpg"])[0], 255 - truth())
        np.testing.assert_array_equal(labels(again["a.png"])[0], truth())

    def test_two_masks_of_an_image(self, tmp_path):
        save(tmp_path / "images" / "a.png", plane())
        save(tmp_path / "masks" / "a.png", truth())
        save(tmp_path / "masks" / "a_mask.png", 255 - truth())
        case = cases(tmp_path)["a"]
        np.testing.assert_array_equal(labels(case)[0], truth())
        assert any("a_mask.png" in note for note in case.read_image().notes)


class TestSlices:
    def test_sub_folder_is_a_case(self, tmp_path):
        for number in (9, 10, 11):
            save(tmp_path / "images" / "p" / f"{number}.png", plane(number))
        save(tmp_path / "masks" / "p" / "10.png", truth())
        case = cases(tmp_path)["p"]
        assert case.read_shape() == (3, Y, X)
        volume = case.read_image()
        np.testing.assert_array_equal(volume.data[0], [plane(number) for number in (9, 10, 11)])
        assert volume.notes == ("p gives no distance between slices; 1 mm is assumed",)
        assert list(labels(case)) == [1]
        assert [file.path.name for file in case.mask_files()] == ["9.png", "10.png", "11.png"]

    def test_gray_slice_among_coloured_ones(self, tmp_path):
        save(tmp_path / "images" / "p" / "1.png", np.zeros((Y, X, 3), np.uint8))
        save(tmp_path / "images" / "p" / "2.png", plane(0, 3))
        volume = cases(tmp_path)["p"].read_image()
        assert volume.channel_names == ("red", "green", "blue")
        np.testing.assert_array_equal(volume.data[:, 1], np.moveaxis(plane(0, 3), -1, 0))

    def test_sizes_that_differ_are_refused(self, tmp_path):
        save(tmp_path / "images" / "p" / "1.png", plane())
        save(tmp_path / "images" / "p" / "2.png", plane()[:-1])
        with pytest.raises(InputError, match=r"2\.png: has shape \(1, 11, 15\) but 1\.png"):
            cases(tmp_path)["p"].read_image()

    def test_stack_in_a_file(self, tmp_path):
        stack = np.stack([truth(seed) for seed in range(7)])
        save(tmp_path / "images" / "a.tif", stack)
        save(tmp_path / "masks" / "a.tif", stack)
        case = cases(tmp_path)["a"]
        assert case.mask_files()[0].slices == tuple(range(7))
        np.testing.assert_array_equal(list(labels(case).values()), stack)

    def test_nifti_files_of_a_sub_folder_are_cases(self, tmp_path):
        for name in ("a", "b"):
            save(tmp_path / "images" / "site" / f"{name}.nii.gz", np.zeros((X, Y, 3), np.uint8))
        save(tmp_path / "masks" / "site" / "a.nii.gz", np.ones((X, Y, 3), np.uint8))
        found = cases(tmp_path)
        assert {case_id: case.has_mask for case_id, case in found.items()} == {"site/a": True, "site/b": False}
        assert found["site/b"].foreground == 1
        assert labels(found["site/a"])[2].min() == 1


class TestWriting:
    @pytest.mark.parametrize(("image", "mask"), [("a.jpg", "a.png"), ("a.png", "a.tif"), ("a.tif", "a.tif")])
    def test_mask_is_replaced(self, tmp_path, image, mask):
        save(tmp_path / "images" / image, plane())
        path = save(tmp_path / "masks" / mask, truth())
        case = cases(tmp_path)["a"]
        (file,) = case.mask_files()
        path.write_bytes(case.encode_mask(file, 255 - truth()[np.newaxis], former=path, original=path))
        np.testing.assert_array_equal(labels(case)[0], 255 - truth())

    @pytest.mark.parametrize("image", ["a.jpg", "a.png", "a.tif"])
    def test_mask_is_made(self, tmp_path, image):
        save(tmp_path / "images" / image, plane())
        case = cases(tmp_path)["a"]
        (file,) = case.mask_files()
        payload = case.encode_mask(file, truth()[np.newaxis], former=None, original=None)
        file.path.parent.mkdir()
        file.path.write_bytes(payload)
        np.testing.assert_array_equal(labels(cases(tmp_path)["a"])[0], truth())

    def test_prediction(self, tmp_path):
        for name in ("p/1.png", "p/2.png", "a.jpg"):
            save(tmp_path / "images" / name, plane())
        found = cases(tmp_path)
        mask = np.ones((2, Y, X), np.uint8)
        mask[1] = 0
        assert found["p"].write_prediction(mask, tmp_path / "out") == tmp_path / "out" / "p"
        assert np.asarray(Image.open(tmp_path / "out" / "p" / "1_mask.png")).min() == 255
        assert found["a"].write_prediction(mask[:1], tmp_path / "out") == tmp_path / "out" / "a_mask.png"
        with pytest.raises(InputError, match="the mask has shape"):
            found["a"].write_prediction(mask, tmp_path / "out")

    def test_prediction_never_replaces_a_mask(self, tmp_path):
        save(tmp_path / "images" / "a.png", plane())
        save(tmp_path / "masks" / "a_mask.png", truth())
        with pytest.raises(InputError, match="would replace what is read"):
            cases(tmp_path)["a"].write_prediction(np.zeros((1, Y, X), np.uint8), tmp_path / "masks")


class TestConverting:
    @pytest.mark.parametrize(
        ("kind", "channels", "extension"),
        [
            (np.uint8, 1, ".png"),
            (np.uint16, 1, ".png"),
            (np.uint8, 3, ".png"),
            (np.int16, 1, ".tif"),
            (np.float32, 3, ".tif"),
            (np.uint8, 2, ".tif"),
            (np.uint16, 3, ".tif"),
            (np.float64, 5, ".tif"),
        ],
    )
    @pytest.mark.parametrize("slices", [1, 3])
    def test_pixels_survive(self, tmp_path, kind, channels, extension, slices):
        data = np.random.default_rng(0).uniform(0, 255, (channels, slices, Y, X)).astype(kind)
        volume = Volume(data=data, channel_names=("",) * channels)
        mask = np.random.default_rng(1).integers(0, 2, (slices, Y, X), dtype=np.uint8)
        labelled = np.arange(slices) != 1
        writer = folders.create(tmp_path / "new")
        writer.add("a", volume, mask, labelled)
        writer.add("b", volume, None, np.zeros(slices, bool))
        writer.close()
        found = cases(tmp_path / "new")
        assert {case_id: case.has_mask for case_id, case in found.items()} == {"a": True, "b": False}
        np.testing.assert_array_equal(found["a"].read_image().data, data)
        assert found["a"].images[0].suffix == extension
        stored = labels(found["a"])
        assert list(stored) == list(np.flatnonzero(labelled))
        for z, values in stored.items():
            np.testing.assert_array_equal(values, mask[z] * 255)
        assert any("distance between slices" in note for note in writer.notes)

    def test_equal_channels_stay_three(self, tmp_path):
        data = np.repeat(plane()[np.newaxis, np.newaxis], 3, axis=0)
        writer = folders.create(tmp_path)
        writer.add("a", Volume(data=data, channel_names=("pre", "flair", "post")), None, np.zeros(1, bool))
        np.testing.assert_array_equal(cases(tmp_path)["a"].read_image().data, data)
        assert "image files have no names for the channels" in writer.notes

    def test_classes_are_kept(self, tmp_path):
        mask = plane(0, high=4)[np.newaxis]
        writer = folders.create(tmp_path)
        writer.add("a", Volume(data=mask[np.newaxis], channel_names=("",)), mask, np.ones(1, bool))
        np.testing.assert_array_equal(labels(cases(tmp_path)["a"])[0], mask[0])

    def test_names_that_no_file_can_have(self, tmp_path):
        volume = Volume(data=plane()[np.newaxis, np.newaxis], channel_names=("",))
        writer = folders.create(tmp_path)
        writer.add("train/a", volume, None, np.zeros(1, bool))
        assert cases(tmp_path).keys() == {"train_a"}
        with pytest.raises(InputError, match="there is another one called train_a"):
            writer.add("train_a", volume, None, np.zeros(1, bool))
        with pytest.raises(InputError, match="taken for a split"):
            writer.add("train", volume, None, np.zeros(1, bool))
