import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import InputError
from tests.data.test_dataset import make_sequences, save_nifti

BIDS = ("T1w", "FLAIR", "ce-gadolinium_T1w")


def opened(root):
    dataset = open_dataset(root)
    return dataset.layout, [case.case_id for case in dataset]


class TestNames:
    def test_of_bids(self, tmp_path):
        for subject in ("sub-01", "sub-02"):
            make_sequences(tmp_path / subject / "anat", suffixes=BIDS, name=subject)
            save_nifti(tmp_path / subject / "dwi" / f"{subject}_dwi.nii.gz", np.ones((9, 10, 5), np.int16))
        assert opened(tmp_path) == ("sequences", ["sub-01", "sub-02"])

    @pytest.mark.parametrize("folder", ["", "sub-01", "sub-01/anat"])
    def test_of_bids_is_the_same_whichever_folder_is_open(self, tmp_path, folder, monkeypatch):
        make_sequences(tmp_path / "sub-01" / "anat", suffixes=BIDS, name="sub-01")
        monkeypatch.chdir(tmp_path / folder)
        assert opened(".") == ("sequences", ["sub-01"])

    def test_of_sessions(self, tmp_path):
        names = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
        for name in names:
            make_sequences(tmp_path / name.replace("_", "/") / "anat", suffixes=BIDS, name=name)
        assert opened(tmp_path) == ("sequences", names)
        assert opened(tmp_path / "sub-02") == ("sequences", ["sub-02_ses-1"])

    @pytest.mark.parametrize(
        ("folder", "prefix", "name"),
        [
            ("sub-01/ses-1", "sub-01_ses-1", "sub-01_ses-1"),
            ("sub-01/ses-1/anat", "sub-01", "sub-01_ses-1"),
            ("p5/anat", "mine", "p5"),
            ("p5/ses-1", "mine", "p5_ses-1"),
            ("p5/scans", "sub-01", "scans"),
            ("sub-01", "sub-01_ses-1", "sub-01"),
        ],
    )
    def test_of_folders_nearly_as_in_bids(self, tmp_path, folder, prefix, name):
        make_sequences(tmp_path / folder, suffixes=BIDS, name=prefix)
        for above in (tmp_path, tmp_path / folder):
            assert opened(above) == ("sequences", [name])

    def test_of_a_linked_folder(self, tmp_path):
        make_sequences(tmp_path / "store" / "1" / "anat", suffixes=BIDS, name="x")
        (tmp_path / "chosen").mkdir()
        (tmp_path / "chosen" / "patient1").symlink_to("../store/1/anat")
        assert opened(tmp_path / "chosen") == ("sequences", ["patient1"])
        assert opened(tmp_path / "chosen" / "patient1") == ("sequences", ["patient1"])

    def test_of_folders_that_are_called_alike(self, tmp_path):
        for folder in ("HGG/a", "LGG/a", "LGG/b"):
            truth = make_sequences(tmp_path / folder)
        assert opened(tmp_path) == ("sequences", ["b", "HGG/a", "LGG/a"])
        written = open_dataset(tmp_path)["HGG/a"].write_prediction(truth, tmp_path / "out")
        assert written == tmp_path / "out" / "HGG" / "a" / "a_mask.nii.gz"


@pytest.mark.parametrize("other", ["c_mask", "c_flair_seg"])
def test_the_mask_that_is_not_used_is_noted(tmp_path, other):
    truth = make_sequences(tmp_path / "c")
    save_nifti(tmp_path / "c" / f"{other}.nii.gz", 1 - truth.T)
    (case,) = open_dataset(tmp_path)
    np.testing.assert_array_equal(case.read_mask(), truth)
    (note,) = case.read_image().notes
    assert note.startswith(f"{other}.nii.gz not used: ")


class TestImagesBeside:
    def test_a_stray_one_hides_no_case(self, tmp_path):
        make_sequences(tmp_path / "c1")
        save_nifti(tmp_path / "atlas.nii.gz", np.ones((9, 10, 5), np.int16))
        assert opened(tmp_path) == ("sequences", ["c1"])
        (case,) = open_dataset(tmp_path)
        assert case.read_image().notes == ("atlas.nii.gz beside the folders of the cases not used",)

    @pytest.mark.parametrize(
        ("names", "suffixes"), [(("a", "a_mask"), ("t1", "flair")), (("a", "b"), ("t1", "flair")), (("a",), ("flair",))]
    )
    def test_scans_are_not_hidden_by_a_folder(self, tmp_path, names, suffixes):
        make_sequences(tmp_path / "old", suffixes=suffixes)
        for name in names:
            save_nifti(tmp_path / f"{name}.nii.gz", np.ones((9, 10, 5), np.uint8))
        assert opened(tmp_path) == ("files", [name for name in names if name != "a_mask"])


class TestEntities:
    @pytest.mark.parametrize(
        ("names", "used", "channels"),
        [
            (("acq-mprage_T1w", "FLAIR"), (0, 1), ("t1w", "flair")),
            (("rec-norm_T1w", "FLAIR"), (0, 1), ("t1w", "flair")),
            (("acq-tra_FLAIR", "T1w", "T2w"), (1, 0, 2), ("t1w", "flair", "t2w")),
            (("run-1_T1w", "run-2_T1w", "FLAIR"), (0, 2), ("t1w", "flair")),
            (("T1w", "rec-norm_T1w", "FLAIR"), (0, 2), ("t1w", "flair")),
            (("acq-sag_FLAIR", "acq-tra_FLAIR", "acq-tra_T1w"), (2, 1), ("t1w", "flair")),
            (("space-MNI_FLAIR", "space-MNI_T1w", "FLAIR", "T1w"), (3, 2), ("t1w", "flair")),
            (("run-2_FLAIR", "run-10_FLAIR"), (0,), ("flair",)),
            (("FLAIR", "PDw"), (0,), ("flair",)),
            (("T1w", "acq-mprage_ce-gadovist_run-1_T1w", "FLAIR"), (0, 2, 1), ("t1w", "flair", "ce-gadovist_t1w")),
            (("T1w", "acq-post_run-1_T1w", "FLAIR"), (0, 2, 1), ("t1w", "flair", "post_t1w")),
        ],
    )
    def test_do_not_tell_scans_apart(self, tmp_path, names, used, channels):
        folder = tmp_path / "sub-01" / "anat"
        for value, name in enumerate(names):
            save_nifti(folder / f"sub-01_{name}.nii.gz", np.full((9, 10, 5), value, np.int16))
        for above in (tmp_path, folder):
            assert opened(above) == ("sequences", ["sub-01"])
        (case,) = open_dataset(tmp_path)
        volume = case.read_image()
        assert volume.channel_names == channels
        assert volume.data[:, 0, 0, 0].tolist() == list(used)

    def test_the_files_not_used_are_named(self, tmp_path):
        for name in ("run-1_T1w", "run-2_T1w", "FLAIR"):
            save_nifti(tmp_path / "anat" / f"sub-01_{name}.nii.gz", np.ones((9, 10, 5), np.int16))
        (case,) = open_dataset(tmp_path)
        (note,) = case.read_image().notes
        assert note == "sub-01_run-2_T1w.nii.gz not used: sub-01_run-1_T1w.nii.gz is taken for pre-contrast T1"

    def test_what_has_a_mask_is_used(self, tmp_path):
        for name in ("run-1_FLAIR", "run-2_FLAIR", "run-2_FLAIR_mask", "T1w", "desc-brain_mask"):
            save_nifti(tmp_path / "anat" / f"sub-01_{name}.nii.gz", np.ones((9, 10, 5), np.uint8))
        (case,) = open_dataset(tmp_path)
        assert case.scan.reference.name == "sub-01_run-2_FLAIR.nii.gz"
        assert case.scan.mask.name == "sub-01_run-2_FLAIR_mask.nii.gz"
        assert case.has_mask

    def test_two_files_with_masks_are_cases_each(self, tmp_path):
        names = ["sub-01_run-1_FLAIR", "sub-01_run-2_FLAIR"]
        for name in names:
            save_nifti(tmp_path / f"{name}.nii.gz", np.ones((9, 10, 5), np.int16))
            save_nifti(tmp_path / f"{name}_mask.nii.gz", np.ones((9, 10, 5), np.uint8))
        assert opened(tmp_path) == ("files", names)

    def test_a_mask_that_was_there_before_is_found(self, tmp_path):
        for name in ("acq-hr_FLAIR", "acq-hr_T1w", "acq-hr_mask"):
            save_nifti(tmp_path / "anat" / f"sub-01_{name}.nii.gz", np.ones((9, 10, 5), np.uint8))
        assert open_dataset(tmp_path).cases[0].has_mask
        (tmp_path / "anat" / "sub-01_acq-hr_mask.nii.gz").unlink()
        assert open_dataset(tmp_path).cases[0].scan.mask.name == "sub-01_acq-hr_mask.nii.gz"


class TestOddFiles:
    """What a case's folder may hold beside its sequences, and what becomes of it."""

    @pytest.fixture
    def folder(self, tmp_path):
        make_sequences(tmp_path / "P1")
        make_sequences(tmp_path / "P2")
        return tmp_path / "P2"

    @pytest.mark.parametrize(
        ("odd", "note"),
        [
            ("atlas.nii.gz", "atlas.nii.gz not used: the name is of no sequence"),
            ("overview.tif", "overview.tif not used: the name is of no sequence"),
            ("P2_t1.nii", "P2_t1.nii.gz not used: P2_t1.nii is taken for pre-contrast T1"),
            ("P_t2.nii.gz", "P_t2.nii.gz not used: the other names begin with P2"),
            ("brain_segmentation.nii.gz", "brain_segmentation.nii.gz not used: the name is of no sequence"),
        ],
    )
    def test_one_hides_no_case(self, folder, odd, note):
        (folder / odd).touch()
        for above in (folder.parent, folder):
            if above == folder and odd == "P_t2.nii.gz":
                # Nothing beside it says that the images belong together.
                continue
            case = next(case for case in open_dataset(above) if case.case_id == "P2")
            assert case.scan.notes == (note,)
            assert case.has_mask

    def test_a_lone_sequence_is_a_case_among_others(self, folder):
        for name in ("P2_t1", "P2_t1ce"):
            (folder / f"{name}.nii.gz").unlink(missing_ok=True)
        save_nifti(folder / "P2_adc.nii.gz", np.ones((9, 10, 5), np.int16))
        assert opened(folder.parent) == ("sequences", ["P1", "P2"])

    def test_two_scans_in_a_folder_are_told(self, folder):
        for name in ("P2b_flair", "P2b_t1"):
            save_nifti(folder / f"{name}.nii.gz", np.ones((9, 10, 5), np.int16))
        assert opened(folder.parent) == ("sequences", ["P1", "P2 (cannot be read)"])
        with pytest.raises(InputError, match=r"P2: holds sequences of several scans \(P2, P2b\); give each of them a"):
            open_dataset(folder.parent)["P2 (cannot be read)"].read_image()

    @pytest.mark.parametrize(
        "name", ["W39_1998.09.19_Segm", "P2_segm", "P2_tumor_segmentation", "P2_label-lesion_mask", "P2_Segmentation"]
    )
    def test_a_mask_by_another_name_is_found(self, folder, name):
        (mask,) = (path for path in folder.iterdir() if "seg" in path.name)
        mask.rename(folder / f"{name}.nii.gz")
        truth = open_dataset(folder.parent)["P1"].read_mask()
        for above in (folder.parent, folder):
            case = next(case for case in open_dataset(above) if case.case_id == "P2")
            np.testing.assert_array_equal(case.read_mask(), truth)
            assert bool(case.scan.notes) == name.startswith("W39")

    @pytest.mark.parametrize("name", ["brain_segmentation", "P2_brain_segmentation", "W39_mask", "P2_brain_mask"])
    def test_a_mask_of_something_else_is_not_taken(self, folder, name):
        (mask,) = (path for path in folder.iterdir() if "seg" in path.name)
        mask.rename(folder / f"{name}.nii.gz")
        case = open_dataset(folder.parent)["P2"]
        assert not case.has_mask
        assert case.scan.notes == (f"{name}.nii.gz not used: the name is of no sequence",)
