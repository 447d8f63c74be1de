import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
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
        assert opened(tmp_path / "sub-01" / "anat") == ("sequences", ["anat"])

    def test_of_sessions(self, tmp_path):
        names = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
        for name in names:
            make_sequences(tmp_path / name.replace("_", "/") / "anat", suffixes=BIDS, name=name)
        assert opened(tmp_path) == ("sequences", names)

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
