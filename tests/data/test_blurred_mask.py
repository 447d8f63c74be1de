import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_unet_seg.cli import main
from napari_unet_seg.data.blurred_mask import cut, is_blurred
from napari_unet_seg.data.dataset import open_dataset

CUBIC, LINEAR, MEAN = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX
YY, XX = np.mgrid[:48, :40]
DRAWN = ((YY - 24) ** 2 + (XX - 20) ** 2 < 150) * np.uint8(255)
RESIZED = [(CUBIC, 4), (CUBIC, 2), (LINEAR, 2), (LINEAR, 1.5), (CUBIC, 0.5), (MEAN, 0.5), (MEAN, 0.25)]


def resized(mask, factor, how):
    """The mask with another number of pixels, as a program for pictures makes it."""
    return np.asarray(Image.fromarray(mask).resize([round(side * factor) for side in mask.shape[::-1]], how))


def regions(*labels):
    """Areas of 12x12 pixels with these labels."""
    return np.kron(np.array(labels, np.uint8).reshape(4, -1), np.ones((12, 12), np.uint8))[np.newaxis]


@pytest.mark.parametrize(("how", "factor"), RESIZED)
def test_a_mask_of_another_size_is_blurred(how, factor):
    blurred = resized(DRAWN, factor, how)[np.newaxis]
    assert is_blurred(blurred)
    assert is_blurred(blurred.astype(np.uint16) * 257)
    assert np.unique(cut(blurred)).tolist() == [0, 255]
    assert (cut(blurred) > 0).sum() == pytest.approx((DRAWN > 0).sum() * factor**2, rel=0.1)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_what_was_a_jpeg_is_blurred(tmp_path, quality):
    yy, xx = np.mgrid[:64, :64]
    disc = ((yy - 30) ** 2 + (xx - 33) ** 2 < 81) * np.uint8(255)
    Image.fromarray(disc).save(tmp_path / "a.jpg", quality=quality)
    coded = np.asarray(Image.open(tmp_path / "a.jpg"))[np.newaxis]
    assert is_blurred(coded)
    np.testing.assert_array_equal(cut(coded)[0], disc)


@pytest.mark.parametrize(
    "labels",
    [
        range(16),
        [*range(15), 255],
        [0, 36, 72, 109, 145, 182, 218, 255, 0, 0, 0, 0],
        np.linspace(0, 255, 16).astype(int),
        [0, 2, 3, 4, 10, 11, 12, 41, 42, 85, 251, 252, 253, 254, 255, 255],
        [0, 0, 0, 255],
        [0, 64, 128, 192, 255, 0, 0, 0],
        [0, 1, 128, 255],
    ],
)
def test_numbers_of_classes_are_not_blurred(labels):
    assert not is_blurred(regions(*labels))
    assert not is_blurred(regions(*labels).astype(np.int32))


@pytest.fixture(params=[".png", ".tif"])
def scan(request, tmp_path):
    """An image, and a mask of it that was made larger and smaller again."""
    root = tmp_path / "in"
    root.mkdir()
    tifffile.imwrite(root / "a.tif", np.random.default_rng(0).integers(1, 900, (48, 40), dtype=np.uint16))
    Image.fromarray(resized(resized(DRAWN, 2, CUBIC), 0.5, CUBIC)).save(root / f"a_mask{request.param}")
    return root


def test_a_blurred_mask_has_one_class_and_no_halo(tmp_path, scan, capsys):
    case = open_dataset(scan)["a"]
    np.testing.assert_array_equal(case.read_mask()[0], DRAWN > 0)
    (note,) = case.mask_notes()
    assert "has blurred edges; it is cut at the middle between black and white" in note
    assert main(["convert", str(scan), str(tmp_path / "out"), "--to", "nnunet"]) == 0
    assert list(json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]) == ["background", "tumour"]
    assert note in capsys.readouterr().out


def test_a_blurred_mask_is_corrected_and_reverted(scan):
    (path,) = scan.glob("*_mask*")
    before = path.read_bytes()
    dataset = open_dataset(scan)
    mask = dataset["a"].read_mask()
    mask[0, :3, :3] = 1
    line = dataset.save_correction("a", mask)
    again = open_dataset(scan)
    np.testing.assert_array_equal(again["a"].read_mask(), mask)
    assert again["a"].mask_notes() == ()
    mask[0, 20:24, :3] = 2
    second = again.save_correction("a", mask)
    np.testing.assert_array_equal(open_dataset(scan)["a"].read_mask(), mask)
    again.revert(second.id)
    again.revert(line.id)
    assert path.read_bytes() == before


@pytest.fixture
def slices(tmp_path):
    """A scan with a file a slice, halved; the area in the second slice was too small to stay white anywhere."""
    folder = tmp_path / "in" / "TCGA_XX_1000_20000101"
    folder.mkdir(parents=True)
    small = np.zeros_like(DRAWN)
    small[30:35, 20:24] = 255
    for number, mask in enumerate((DRAWN, small), start=1):
        image = np.random.default_rng(number).integers(1, 255, (24, 20, 3), dtype=np.uint8)
        tifffile.imwrite(folder / f"{folder.name}_{number}.tif", image, photometric="rgb")
        tifffile.imwrite(folder / f"{folder.name}_{number}_mask.tif", resized(mask, 0.5, LINEAR))
    return folder


def read_again(folder):
    return open_dataset(folder.parent)[folder.name].read_mask()


def test_a_small_area_is_cut_as_the_other_slices_are(slices):
    second = tifffile.imread(slices / f"{slices.name}_2_mask.tif")
    assert second.max() < 240
    assert not is_blurred(second[np.newaxis])
    case = open_dataset(slices.parent)[slices.name]
    np.testing.assert_array_equal(case.read_mask()[1], second > 127)
    (note,) = case.mask_notes()
    assert "_1_mask.tif and 1 more have blurred edges; they are cut" in note


def test_without_a_blurred_slice_grays_are_numbers_of_classes(slices):
    tifffile.imwrite(slices / f"{slices.name}_1_mask.tif", np.zeros((24, 20), np.uint8))
    assert read_again(slices).max() > 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_small_area_stays_cut_when_slices_are_corrected_and_reverted(slices, order):
    before = {path: path.read_bytes() for path in slices.glob("*_mask.tif")}
    dataset = open_dataset(slices.parent)
    mask = original = dataset[slices.name].read_mask()
    lines = []
    for z in order:
        mask = mask.copy()
        # Thin, and of a number that might be a gray.
        mask[z, 2, 3:15] = 20
        lines.append(dataset.save_correction(slices.name, mask, slices=[z]))
        np.testing.assert_array_equal(read_again(slices), mask)
    for line in lines:
        dataset = open_dataset(slices.parent)
        dataset.revert(line.id)
        mask[list(line.slices)] = original[list(line.slices)]
        np.testing.assert_array_equal(read_again(slices), mask)
    assert {path: path.read_bytes() for path in before} == before
