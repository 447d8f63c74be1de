import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.stored_mask import assemble
from napari_unet_seg.errors import InputError
from tests.data.corrected import CASE, flipped, kaggle, nifti, opened


def test_offers_what_its_scan_has(tmp_path):
    root = kaggle(tmp_path)
    case = open_dataset(root)[CASE]
    assert isinstance(case, Case)
    assert repr(case) == f"Case('{CASE}')"
    assert case.has_mask
    assert case.has_original_mask
    assert case.read_image().shape == case.read_mask().shape == (4, 16, 16)
    assert case.corrected_slices() == []
    np.testing.assert_array_equal(case.read_original_mask(), case.read_mask())
    written = case.write_prediction(case.read_mask(), tmp_path / "out")
    assert len(list(written.iterdir())) == 4


def test_a_mask_that_was_read_is_the_callers_own(tmp_path):
    case = open_dataset(nifti(tmp_path)).cases[0]
    mask = case.read_mask()
    mask[:] = 9
    assert case.read_mask().max() == 1


def test_a_change_is_read_however_quick_it_was(tmp_path):
    root = kaggle(tmp_path)
    case = open_dataset(root)[CASE]
    path = root / CASE / f"{CASE}_1_mask.tif"
    for value in range(8):
        tifffile.imwrite(path, np.full((16, 16), value % 2 * 255, np.uint8))
        assert (case.read_mask()[0] == value % 2).all()


def test_a_broken_mask_is_named_and_stays_as_it_is(tmp_path):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    path = root / CASE / f"{CASE}_2_mask.tif"
    path.write_bytes(b"II*\x00")
    with pytest.raises(InputError, match=rf"{path.name}: another program"):
        dataset.save_correction(CASE, flipped(mask, 1), [1])
    with pytest.raises(InputError, match=rf"{path.name}: this TIFF is damaged"):
        dataset[CASE].check_mask()
    assert path.read_bytes() == b"II*\x00"


def test_a_scan_without_masks_reads_none(tmp_path):
    case = open_dataset(kaggle(tmp_path, masks=False))[CASE]
    assert case.read_mask() is None
    assert case.read_original_mask() is None
    assert not case.labelled_slices().any()


def test_a_mask_too_large_for_memory_is_named(tmp_path):
    scan = opened(nifti(tmp_path))[0]["p1"].scan
    with pytest.raises(InputError, match=r"p1_mask\.nii: a mask of shape .* does not fit in memory, or the header"):
        assemble(
            scan.mask_files(),
            [None],
            found=[None],
            shape=(2**20, 2**20, 2**20),
            one=None,
            foreground=1,
            path=tmp_path / "p1_mask.nii",
        )


def test_many_cases_open_without_the_heavy_formats(tmp_path):
    code = (
        "import sys; from napari_unet_seg.data.dataset import open_dataset; open_dataset(sys.argv[1]);"
        "print([m for m in ('highdicom', 'pycocotools', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(kaggle(tmp_path))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_case_is_found_by_its_name(tmp_path):
    root = kaggle(tmp_path, patients=1, slices=1)
    first = root / CASE
    for number in range(200):
        name = f"TCGA_XX_{2000 + number}_20000101"
        (root / name).mkdir()
        for ending in ("_1.tif", "_1_mask.tif"):
            (root / name / f"{name}{ending}").hardlink_to(first / f"{CASE}{ending}")
    dataset = open_dataset(root)
    assert len(dataset) == 201
    assert dataset["TCGA_XX_2077_20000101"].case_id == "TCGA_XX_2077_20000101"
    with pytest.raises(InputError, match="did you mean TCGA_XX_2077_20000101"):
        dataset["TCGA_XX_2077_2000010"]
