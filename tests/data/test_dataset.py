import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import files
from napari_unet_seg.errors import InputError

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])


def make_patient(folder, *, slices=11, masks=True, name=None, start=1):
    """A patient as in the LGG dataset, with the slice's number as its value; returns the masks."""
    rng = np.random.default_rng(0)
    name = name or folder.name
    folder.mkdir(parents=True)
    truth = rng.integers(0, 2, (slices, 16, 18), dtype=np.uint8)
    truth[0] = 0
    for index in range(slices):
        number = start + index
        image = np.full((16, 18, 3), number, np.uint8) + np.arange(3, dtype=np.uint8) * 50
        tifffile.imwrite(folder / f"{name}_{number}.tif", image, photometric="rgb")
        if masks:
            tifffile.imwrite(folder / f"{name}_{number}_mask.tif", truth[index] * 255)
    return truth


def save_nifti(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def make_sequences(folder, *, suffixes=("flair", "t1", "t1ce", "t2"), name=None):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (9, 10, 5), dtype=np.uint8)
    for index, suffix in enumerate(suffixes):
        save_nifti(folder / f"{name or folder.name}_{suffix}.nii.gz", np.full(truth.shape, index, np.int16))
    save_nifti(folder / f"{name or folder.name}_seg.nii.gz", truth)
    return truth.T


def refuse_images(path, *_, **__):
    """In place of Path.open."""
    assert path.suffix != ".tif"
    return io.FileIO(path, "r")


class TestKaggle:
    def test_slices_are_in_order(self, tmp_path):
        truth = make_patient(tmp_path / "kaggle_3m" / "p10")
        make_patient(tmp_path / "kaggle_3m" / "p9", slices=2, masks=False)
        (tmp_path / "kaggle_3m" / "README.md").write_text("not a scan")
        dataset = open_dataset(str(tmp_path / "kaggle_3m"))
        assert dataset.layout == "kaggle"
        assert [case.case_id for case in dataset] == ["p9", "p10"]
        volume = dataset["p10"].read_image()
        assert volume.data.shape == (3, 11, 16, 18)
        assert volume.data.dtype == np.uint8
        assert volume.channel_names == ("pre", "flair", "post")
        assert volume.data[:, :, 0, 0].tolist() == [[n + c for n in range(1, 12)] for c in (0, 50, 100)]
        assert not volume.spacing_known
        np.testing.assert_array_equal(dataset["p10"].read_mask(), truth)
        assert dataset["p9"].read_mask() is None
        assert not dataset["p9"].has_mask
        assert not dataset["p9"].labelled_slices().any()

    @pytest.mark.parametrize("opened", ["", "kaggle_3m", "kaggle_3m/p1"])
    def test_opened_at_any_height(self, tmp_path, opened):
        make_patient(tmp_path / "kaggle_3m" / "p1", slices=2)
        dataset = open_dataset(tmp_path / opened)
        assert (dataset.layout, len(dataset)) == ("kaggle", 1)

    def test_opened_from_within(self, tmp_path, monkeypatch):
        make_patient(tmp_path / "p1", slices=2)
        monkeypatch.chdir(tmp_path / "p1")
        dataset = open_dataset(".")
        assert (dataset.layout, [case.case_id for case in dataset]) == ("kaggle", ["p1"])
        assert dataset.root == tmp_path / "p1"

    def test_renamed_folder_of_a_public_patient(self, tmp_path):
        make_patient(tmp_path / "mine", slices=2, name="TCGA_CS_4941_19960909")
        assert [case.case_id for case in open_dataset(tmp_path / "mine")] == ["TCGA_CS_4941_19960909"]

    def test_one_slice_as_a_file(self, tmp_path):
        truth = make_patient(tmp_path / "p1", slices=3)
        (case,) = open_dataset(tmp_path / "p1" / "p1_2.tif")
        assert case.read_image().data.shape == (3, 1, 16, 18)
        np.testing.assert_array_equal(case.read_mask(), truth[1:2])

    def test_slice_without_mask_is_unlabelled(self, tmp_path):
        truth = make_patient(tmp_path / "p1", slices=4)
        (tmp_path / "p1" / "p1_3_mask.tif").unlink()
        (case,) = open_dataset(tmp_path)
        assert case.labelled_slices().tolist() == [True, True, False, True]
        truth[2] = 0
        np.testing.assert_array_equal(case.read_mask(), truth)

    def test_gap_in_the_numbers_is_noted(self, tmp_path):
        make_patient(tmp_path / "p1", slices=4)
        (tmp_path / "p1" / "p1_3.tif").unlink()
        (case,) = open_dataset(tmp_path)
        volume = case.read_image()
        assert volume.shape[0] == 3
        assert "p1 lacks slice 3; the scan is shown without the gap" in volume.notes

    def test_slices_of_two_sizes(self, tmp_path):
        make_patient(tmp_path / "p1", slices=3)
        tifffile.imwrite(tmp_path / "p1" / "p1_2.tif", np.zeros((16, 20, 3), np.uint8), photometric="rgb")
        (case,) = open_dataset(tmp_path)
        with pytest.raises(InputError, match=r"p1_2\.tif: this slice has 3 channels of 16x20 pixels, .*16x18"):
            case.read_image()

    def test_mask_of_another_size(self, tmp_path):
        make_patient(tmp_path / "p1", slices=3)
        tifffile.imwrite(tmp_path / "p1" / "p1_2_mask.tif", np.zeros((16, 20), np.uint8))
        (case,) = open_dataset(tmp_path)
        assert case.labelled_slices().tolist() == [True, False, True]
        with pytest.raises(InputError, match=r"p1_2_mask\.tif: the mask has shape \(1, 16, 20\) but its image"):
            case.check_mask()

    def test_broken_case_leaves_the_others(self, tmp_path):
        make_patient(tmp_path / "p1", slices=2)
        make_patient(tmp_path / "p2", slices=2)
        (tmp_path / "p1" / "p1_2.tif").write_bytes(b"")
        dataset = open_dataset(tmp_path)
        dataset["p2"].read_image()
        with pytest.raises(InputError, match=r"p1_2\.tif: the file is empty"):
            dataset["p1"].read_image()

    def test_prediction(self, tmp_path):
        truth = make_patient(tmp_path / "in" / "p1", slices=11, start=3)
        (case,) = open_dataset(tmp_path / "in")
        written = case.write_prediction(truth, tmp_path / "new" / "out")
        assert written == tmp_path / "new" / "out" / "p1"
        assert len(list(written.iterdir())) == 11
        np.testing.assert_array_equal(tifffile.imread(written / "p1_13_mask.tif"), truth[10] * 255)
        with pytest.raises(InputError, match=r"would replace what is read"):
            case.write_prediction(truth, tmp_path / "in")
        with pytest.raises(InputError, match=r"the mask has shape \(10, 16, 18\) but the case \(11, 16, 18\)"):
            case.write_prediction(truth[1:], tmp_path / "out")

    def test_opening_reads_no_file(self, tmp_path, monkeypatch):
        for index in range(30):
            folder = tmp_path / f"p{index}"
            folder.mkdir()
            for number in range(5):
                (folder / f"p{index}_{number}.tif").write_bytes(b"")
        monkeypatch.setattr("tifffile.TiffFile", None)
        monkeypatch.setattr("pathlib.Path.open", refuse_images)
        assert len(open_dataset(tmp_path)) == 30


class TestFiles:
    def test_images_and_their_masks(self, tmp_path):
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 2, (5, 16, 18), dtype=np.uint8)
        stack = rng.integers(0, 255, (5, 3, 16, 18), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZCYX"}, photometric="minisblack")
        tifffile.imwrite(tmp_path / "a_mask.tif", truth * 255, metadata={"axes": "ZYX"})
        save_nifti(tmp_path / "b.nii.gz", np.ones((9, 10, 4), np.int16))
        save_nifti(tmp_path / "b_seg.nii.gz", np.ones((9, 10, 4), np.uint8))
        tifffile.imwrite(tmp_path / "c.tiff", stack[0, 0])
        dataset = open_dataset(tmp_path)
        assert dataset.layout == "files"
        assert [(case.case_id, case.has_mask) for case in dataset] == [("a", True), ("b", True), ("c", False)]
        np.testing.assert_array_equal(dataset["a"].read_image().data, stack.transpose(1, 0, 2, 3))
        np.testing.assert_array_equal(dataset["a"].read_mask(), truth)
        assert dataset["a"].labelled_slices().tolist() == [True] * 5
        assert dataset["b"].read_mask().shape == (4, 10, 9)
        assert dataset["c"].read_mask() is None
        assert dataset["c"].labelled_slices().tolist() == [False]

    def test_prediction_of_a_tiff(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tiff", np.ones((5, 16, 18), np.int16))
        (case,) = open_dataset(tmp_path / "a.tiff")
        mask = np.zeros((5, 16, 18), np.uint8)
        mask[2, 3:6, 4:9] = 1
        written = case.write_prediction(mask, tmp_path / "out")
        assert written == tmp_path / "out" / "a_mask.tif"
        np.testing.assert_array_equal(tifffile.imread(written), mask * 255)

    def test_nothing_of_the_dataset_is_replaced(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 18), np.int16))
        tifffile.imwrite(tmp_path / "a_mask.tif", np.ones((16, 18), np.uint8))
        (case,) = open_dataset(tmp_path)
        before = (tmp_path / "a_mask.tif").read_bytes()
        with pytest.raises(InputError, match=r"a_mask\.tif: writing here would replace"):
            case.write_prediction(np.zeros((1, 16, 18), np.uint8), tmp_path)
        assert (tmp_path / "a_mask.tif").read_bytes() == before

    def test_folder_that_cannot_be_written(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 18), np.int16))
        (tmp_path / "out").write_text("a file")
        (case,) = open_dataset(tmp_path)
        with pytest.raises(InputError, match="cannot be written"):
            case.write_prediction(np.zeros((1, 16, 18), np.uint8), tmp_path / "out")

    def test_name_of_the_sequence(self, tmp_path):
        save_nifti(tmp_path / "p_t1ce.nii", np.ones((9, 10, 4), np.int16))
        (case,) = open_dataset(tmp_path / "p_t1ce.nii")
        assert case.read_image().channel_names == ("t1ce",)

    def test_same_stem_twice(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 18), np.uint8))
        save_nifti(tmp_path / "a.nii", np.ones((9, 10, 4), np.int16))
        assert [case.case_id for case in open_dataset(tmp_path)] == ["a.nii", "a.tif"]

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (("A.tif", "a.tif", "A_mask.tif", "a_mask.tif"), {"A.tif": "A_mask.tif", "a.tif": "a_mask.tif"}),
            (("A.tif", "a.tif", "a_mask.tif"), {"A.tif": None, "a.tif": "a_mask.tif"}),
            (("a.tif", "A_mask.tif"), {"a.tif": "A_mask.tif"}),
            (("s.jpg", "s.png", "s_mask.png"), {"s.jpg": None, "s.png": "s_mask.png"}),
            (("s.jpg", "s.png", "s.jpg_mask.png"), {"s.jpg": "s.jpg_mask.png", "s.png": None}),
            (("a.nii", "a.nii.gz", "a_mask.nii.gz"), {"a.nii": None, "a.nii.gz": "a_mask.nii.gz"}),
            (("a.tif", "a.tiff", "a.TIF", "a_mask.TIF"), {"a.tif": None, "a.tiff": None, "a.TIF": "a_mask.TIF"}),
            (("a.png", "a.tif", "a_mask.tif", "a_seg.tif"), {"a.png": None, "a.tif": "a_mask.tif"}),
            (("a.tif", "a.tif.tif", "a.tif_mask.tif"), {"a.tif": None, "a.tif.tif": "a.tif_mask.tif"}),
        ],
    )
    def test_no_mask_is_that_of_two_images(self, tmp_path, names, expected):
        for name in names:
            (tmp_path / name).touch()
        found = {scan.image.name: scan for scan in files.open_cases(tmp_path)}
        assert {name: scan.mask.name if scan.has_mask else None for name, scan in found.items()} == expected
        # The new ones are found again as they were meant, whichever comes first.
        for name, scan in found.items():
            alone = {each.image.name: each for each in files.open_cases(tmp_path / name)}[name]
            assert alone.mask == scan.mask
            scan.mask.touch()
            again = {each.image.name: each.mask for each in files.open_cases(tmp_path)}
            assert again == {other: each.mask for other, each in found.items()}

    def test_corrections_of_images_of_one_stem(self, tmp_path):
        for name in ("a.jpg", "a.png"):
            Image.fromarray(np.eye(16, dtype=np.uint8)).save(tmp_path / name)
        dataset = open_dataset(tmp_path)
        masks = {"a.jpg": np.eye(16, dtype=np.uint8)[np.newaxis], "a.png": np.ones((1, 16, 16), np.uint8)}
        lines = [dataset.save_correction(name, mask) for name, mask in masks.items()]
        for name, mask in masks.items():
            np.testing.assert_array_equal(open_dataset(tmp_path)[name].read_mask(), mask)
        for line in lines:
            dataset.revert(line.id)
        assert sorted(path.name for path in tmp_path.glob("a*")) == ["a.jpg", "a.png"]

    def test_mask_of_the_whole_name_opened_as_an_image(self, tmp_path):
        for name in ("a.jpg", "a.png", "a.jpg_mask.png"):
            (tmp_path / name).touch()
        with pytest.raises(InputError, match=r"this is the mask of a\.jpg"):
            open_dataset(tmp_path / "a.jpg_mask.png")

    def test_mask_opened_as_an_image(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.ones((16, 18), np.uint8))
        tifffile.imwrite(tmp_path / "a_mask.tif", np.ones((16, 18), np.uint8))
        with pytest.raises(InputError, match=r"this is the mask of a\.tif"):
            open_dataset(tmp_path / "a_mask.tif")


class TestSequences:
    @pytest.mark.parametrize("opened", ["", "case1"])
    def test_sequences_are_channels(self, tmp_path, opened):
        truth = make_sequences(tmp_path / "case1")
        dataset = open_dataset(tmp_path / opened)
        assert (dataset.layout, len(dataset)) == ("sequences", 1)
        case = dataset["case1"]
        volume = case.read_image()
        assert volume.channel_names == ("t1", "flair", "t1ce", "t2")
        assert volume.data[:, 0, 0, 0].tolist() == [1, 0, 2, 3]
        assert volume.spacing == (3, 1, 1)
        np.testing.assert_array_equal(case.read_mask(), truth)
        assert case.labelled_slices().tolist() == [True] * 5
        written = case.write_prediction(truth, tmp_path / "out")
        assert written == tmp_path / "out" / "case1" / "case1_mask.nii.gz"
        np.testing.assert_array_equal(np.asanyarray(nib.load(written).dataobj), truth.T)

    def test_file_names_of_any_prefix(self, tmp_path):
        make_sequences(tmp_path / "s1", suffixes=("FLAIR", "T1w", "ce-gadolinium_T1w"), name="sub-01")
        (case,) = open_dataset(tmp_path)
        assert case.read_image().channel_names == ("t1w", "flair", "ce-gadolinium_t1w")
        assert case.has_mask

    def test_unknown_sequence_is_left_out(self, tmp_path):
        make_sequences(tmp_path / "c")
        save_nifti(tmp_path / "c" / "c_adc.nii", np.ones((9, 10, 5), np.int16))
        (case,) = open_dataset(tmp_path)
        assert case.read_image().notes == ("c_adc.nii not used: the name is of no sequence",)

    def test_sequences_on_two_grids(self, tmp_path):
        make_sequences(tmp_path / "c")
        (case,) = open_dataset(tmp_path)
        save_nifti(tmp_path / "c" / "c_t1.nii.gz", np.ones((9, 10, 6), np.int16))
        with pytest.raises(InputError, match=r"c_t1\.nii\.gz: has shape \(6, 10, 9\) but c_flair.* \(5, 10, 9\)"):
            case.read_image()
        save_nifti(tmp_path / "c" / "c_t1.nii.gz", np.ones((9, 10, 5), np.int16), np.diag([-1.0, -1, 4, 1]))
        with pytest.raises(InputError, match=r"c_t1\.nii\.gz: lies elsewhere in space than c_flair"):
            case.read_image()
        nib.save(nib.Nifti1Image(np.ones((9, 10, 5), np.int16), None), tmp_path / "c" / "c_t1.nii.gz")
        with pytest.raises(InputError, match=r"c_t1\.nii\.gz: cannot be laid over c_flair\.nii\.gz: only one of"):
            case.read_image()

    @pytest.mark.parametrize(
        "names", [("p1_flair", "p2_t1"), ("p1_flair", "p1_t2_flair"), ("a", "b"), ("p_flair", "q", "r")]
    )
    def test_other_files_are_cases_each(self, tmp_path, names):
        for name in names:
            save_nifti(tmp_path / f"{name}.nii", np.ones((9, 10, 5), np.int16))
        dataset = open_dataset(tmp_path)
        assert (dataset.layout, len(dataset)) == ("files", len(names))


class TestErrors:
    def test_missing_path(self, tmp_path):
        with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
            open_dataset(tmp_path / "nowhere")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match="the folder is empty"):
            open_dataset(tmp_path)

    def test_folder_without_images(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no scan")
        with pytest.raises(InputError, match=r"found no images; looked for patient folders .*\.jpg\)"):
            open_dataset(tmp_path)

    @pytest.mark.parametrize("name", ["a.bmp", "a.mha", "notes.txt"])
    def test_file_of_another_type(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"...")
        with pytest.raises(InputError, match=rf"{name}: this type of file is not read; save the scan as TIFF"):
            open_dataset(tmp_path / name)

    def test_folder_of_other_images(self, tmp_path):
        (tmp_path / "a.bmp").write_bytes(b"...")
        with pytest.raises(InputError, match="of a type that is not read"):
            open_dataset(tmp_path)

    def test_masks_alone(self, tmp_path):
        tifffile.imwrite(tmp_path / "a_mask.tif", np.ones((16, 18), np.uint8))
        with pytest.raises(InputError, match="masks in this folder but no images"):
            open_dataset(tmp_path)

    def test_images_one_folder_down(self, tmp_path):
        (tmp_path / "scans").mkdir()
        tifffile.imwrite(tmp_path / "scans" / "a.tif", np.ones((16, 18), np.uint8))
        with pytest.raises(InputError, match="the images are in the folder scans"):
            open_dataset(tmp_path)

    @pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("train", "train_mask"), ("scans", "Labels")])
    def test_nobody_is_sent_to_the_masks(self, tmp_path, images, masks):
        for folder in (images, masks):
            (tmp_path / folder).mkdir()
        (tmp_path / images / "a.webp").write_bytes(b"...")
        tifffile.imwrite(tmp_path / masks / "a.tif", np.ones((16, 18), np.uint8))
        problem = rf"the images in the folder {images} are of a type that is not read \(a\.webp\); save them as TIFF"
        with pytest.raises(InputError, match=problem):
            open_dataset(tmp_path)

    def test_unknown_case(self, tmp_path):
        make_patient(tmp_path / "patient1", slices=1)
        with pytest.raises(InputError, match="there is no case 'patent1'; did you mean patient1"):
            open_dataset(tmp_path)["patent1"]
        with pytest.raises(InputError, match=r"there is no case \['patient1'\]"):
            open_dataset(tmp_path)[["patient1"]]

    @pytest.mark.parametrize(("path", "overlay"), [(None, None), (3, None), (".", 3)])
    def test_what_is_no_path(self, path, overlay):
        with pytest.raises(InputError, match="a dataset is opened by the path of a folder or file"):
            open_dataset(path, overlay)

    def test_an_overlay_in_a_folder_that_may_not_be_entered(self, tmp_path, monkeypatch):
        make_patient(tmp_path / "patient1", slices=1)
        overlay = tmp_path / "shut" / "corrections"
        exists = Path.exists

        def look(path, **options):
            if path == overlay:
                raise PermissionError(13, "Permission denied", str(path))
            return exists(path, **options)

        monkeypatch.setattr(Path, "exists", look)
        with pytest.raises(InputError, match=rf"^{overlay}: the overlay folder cannot be opened \(permission denied\)"):
            open_dataset(tmp_path / "patient1", overlay)

    def test_same_case_twice(self, tmp_path):
        make_patient(tmp_path / "a" / "p1", slices=1)
        make_patient(tmp_path / "b" / "p1", slices=1)
        with pytest.raises(InputError, match="2 cases called p1"):
            open_dataset(tmp_path)
