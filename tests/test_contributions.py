import subprocess
import sys
from pathlib import Path

import nibabel
import npe2
import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from PIL import Image

import napari_unet_seg
from napari_unet_seg.contributions import get_reader, read, sample, write_labels
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.errors import InputError


@pytest.fixture
def manifest() -> npe2.PluginManifest:
    return npe2.PluginManifest.from_file(Path(napari_unet_seg.__file__).with_name("napari.yaml"))


def test_every_command_leads_to_something(manifest: npe2.PluginManifest) -> None:
    manifest.validate_imports()
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["U-Net segmentation"]
    assert list(manifest.contributions.menus) == ["napari/layers/segment"]


def test_the_sample_has_three_sequences_and_a_mask() -> None:
    layers = sample()
    assert [kind for *_, kind in layers] == ["image", "image", "image", "labels"]
    assert len({data.shape for data, *_ in layers}) == 1
    assert len({arguments["scale"] for _, arguments, _ in layers}) == 1


def test_a_patient_s_folder_is_read(tmp_path: Path) -> None:
    patient = next(write_kaggle(tmp_path, patients=1, slices=3, size=16).iterdir())
    layers = get_reader(str(patient))(str(patient))
    assert [(arguments["name"], kind) for _, arguments, kind in layers] == [
        ("pre", "image"),
        ("post", "image"),
        ("FLAIR", "image"),
        ("Ground truth", "labels"),
    ]
    assert layers[0][0].shape == (3, 16, 16)


def test_a_nifti_keeps_its_spacing(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(np.arange(9 * 8 * 4, dtype=np.int16).reshape(9, 8, 4), np.diag([2, 3, 5, 1])), path
    )
    ((data, arguments, kind),) = read(path)
    assert (data.shape, kind, arguments["scale"]) == ((4, 8, 9), "image", (5, 3, 2))


def test_what_is_no_scan_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "missing.nii")) is None
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(pictures / f"{name}.tif", np.zeros((16, 16), np.uint8))
    assert get_reader(str(pictures)) is None
    assert get_reader([str(pictures / "a.tif"), str(pictures / "b.tif")]) is None
    assert get_reader(str(pictures / "a.tif")) is not None


def saved_by_napari(layer: Labels, path: Path) -> Path:
    (written,) = write_labels(str(path), *layer.as_layer_data_tuple()[:2])
    assert written == str(path)
    return path


def test_a_mask_drawn_on_a_nifti_is_saved_where_it_was_drawn(tmp_path: Path) -> None:
    scan, saved = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    turned = np.array([[0, 0, 3.0, 7], [-1.5, 0, 0, 20], [0, 2, 0, -4], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(np.arange(9 * 8 * 5, dtype=np.int16).reshape(9, 8, 5), turned), scan)
    ((pixels, arguments, _),) = read(scan)
    mask = np.zeros(pixels.shape, np.uint8)
    z, y, x = 2, 3, 1
    mask[z, y, x] = 2
    saved_by_napari(Labels(mask, scale=arguments["scale"], metadata=arguments["metadata"]), saved)
    stored = nibabel.load(saved)
    (place,) = np.argwhere(np.asarray(stored.dataobj) == 2)
    world = arguments["metadata"]["affine"] @ [x, y, z, 1]
    np.testing.assert_allclose(stored.affine @ [*place, 1], world)
    np.testing.assert_allclose(stored.affine, turned)


def test_a_mask_of_a_tiff_scan_becomes_a_nifti_with_its_spacing(tmp_path: Path) -> None:
    scan = tmp_path / "scan.tif"
    metadata = {"axes": "ZYX", "spacing": 4.0, "unit": "mm"}
    pixels = np.arange(5 * 12 * 10, dtype=np.uint16).reshape(5, 12, 10)
    tifffile.imwrite(scan, pixels, imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    ((_, arguments, _),) = read(scan)
    layer = Labels((pixels > 300).astype(np.uint8), scale=arguments["scale"], metadata=arguments["metadata"])
    as_nifti = nibabel.load(saved_by_napari(layer, tmp_path / "mask.nii"))
    assert as_nifti.header.get_zooms() == (0.5, 0.5, 4.0)
    as_tiff = open_dataset(saved_by_napari(layer, tmp_path / "other.tif")).cases[0].read_image()
    assert as_tiff.spacing == (4.0, 0.5, 0.5)
    np.testing.assert_array_equal(as_tiff.data[0] > 0, pixels > 300)


def test_a_mask_made_without_a_scan_has_its_layer_s_spacing(tmp_path: Path) -> None:
    layer = Labels(np.eye(12, 10, dtype=np.uint8)[None].repeat(3, axis=0), scale=(3, 2, 1))
    stored = open_dataset(saved_by_napari(layer, tmp_path / "mask.nii.gz")).cases[0].read_image()
    assert stored.spacing == (3, 2, 1)
    np.testing.assert_array_equal(stored.data[0], layer.data)


@pytest.mark.parametrize("name", ["mask.dcm", "mask.png"])
def test_what_cannot_be_saved_says_why(tmp_path: Path, name: str) -> None:
    layer = Labels(np.ones((3, 12, 10), np.uint8))
    with pytest.raises(InputError, match=r"mask\.(dcm|png): .* \.nii\.gz"):
        write_labels(str(tmp_path / name), *layer.as_layer_data_tuple()[:2])


def test_pictures_of_one_size_become_a_stack(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 20), ord(name), np.uint8) + np.eye(16, 20, dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.eye(16, 20, dtype=np.uint8) * 255).save(masks / "b.png")
    layers = get_reader(str(tmp_path))(str(tmp_path))
    assert [(data.shape, kind) for data, _, kind in layers] == [((3, 16, 20), "image"), ((3, 16, 20), "labels")]
    mask, arguments, _ = layers[1]
    np.testing.assert_array_equal(mask[1], np.eye(16, 20))
    assert arguments["metadata"]["labelled"].tolist() == [False, True, False]


def test_the_ground_truth_is_the_mask_before_the_corrections(tmp_path: Path) -> None:
    patient = next(write_kaggle(tmp_path, patients=1, slices=3, size=16).iterdir())
    *_, (before, _, _) = read(patient)
    dataset = open_dataset(patient)
    line = dataset.save_correction(dataset.cases[0].case_id, 1 - before, slices=[0, 1])
    *_, (shown, arguments, _) = read(patient)
    assert arguments["name"] == "Ground truth"
    np.testing.assert_array_equal(shown, before)
    dataset.revert(line.id)
    *_, (shown, _, _) = read(patient)
    np.testing.assert_array_equal(shown, before)


def test_a_correction_where_there_was_no_mask_is_no_ground_truth(tmp_path: Path) -> None:
    patient = next(write_kaggle(tmp_path, patients=1, slices=3, size=16).iterdir())
    for mask in patient.glob("*_mask.tif"):
        mask.unlink()
    dataset = open_dataset(patient)
    dataset.save_correction(dataset.cases[0].case_id, np.ones((3, 16, 16), np.uint8), slices=[1])
    assert [kind for *_, kind in read(patient)] == ["image"] * 3


def test_a_damaged_mask_of_one_slice_leaves_the_others(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path, patients=1, slices=3, size=16)
    damaged = next(root.rglob("*_2_mask.tif"))
    damaged.write_bytes(b"no image")
    with notification_manager:
        *_, (truth, _, kind) = read(root)
        assert damaged.name in notification_manager.records[-1].message
    assert (kind, truth.shape) == ("labels", (3, 16, 16))


def test_a_stack_of_pictures_has_the_masks_before_the_corrections(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for number, name in enumerate(("a", "b", "c"), 1):
        Image.fromarray(np.eye(16, 20, dtype=np.uint8) * number).save(images / f"{name}.png")
    before = np.eye(16, 20, dtype=np.uint8)
    Image.fromarray(before * 255).save(masks / "b.png")
    dataset = open_dataset(tmp_path)
    for name in ("b", "c"):
        dataset.save_correction(name, 1 - before[None])
    _, (mask, arguments, _) = read(tmp_path)
    np.testing.assert_array_equal(mask, [before * 0, before, before * 0])
    assert arguments["metadata"]["labelled"].tolist() == [False, True, False]


QUARTER_TURN = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.mark.parametrize(
    ("given", "voxel", "place"),
    [
        ({"scale": (3000, 900, 900), "units": ("µm",) * 3}, (5, 50, 60), (54, 45, 15)),
        ({"scale": (0.3, 0.09, 0.09), "units": ("cm",) * 3}, (5, 50, 60), (54, 45, 15)),
        ({"scale": (3, 0.9, 0.9), "translate": (10, 20, 30)}, (5, 50, 60), (84, 65, 25)),
        ({"affine": np.diag([3, 0.9, 0.9, 1.0])}, (5, 50, 60), (54, 45, 15)),
        ({"scale": (3, 0.9, 0.9), "rotate": QUARTER_TURN}, (5, 50, 60), (45, -54, 15)),
        ({"scale": (3, -0.9, 0.9)}, (5, 50, 60), (54, -45, 15)),
        ({"scale": (3, 0.9, 0.9), "metadata": {"affine": "another program's"}}, (5, 50, 60), (54, 45, 15)),
    ],
)
def test_a_mask_lies_where_its_layer_lies(
    given: dict[str, object], voxel: tuple[int, int, int], place: tuple[float, ...], tmp_path: Path
) -> None:
    layer = Labels(np.zeros((6, 60, 70), np.uint8), **given)
    (written,) = write_labels(str(tmp_path / "mask.nii.gz"), *layer.as_layer_data_tuple()[:2])
    found = nibabel.load(written)
    # napari's x and y run to the left and to the back, the file's to the right and to the front.
    x, y, z = found.affine[:3] @ (*_voxel_in(found, voxel), 1)
    np.testing.assert_allclose((-x, -y, z), place, atol=1e-3)
    np.testing.assert_allclose(sorted(found.header.get_zooms()), (0.9, 0.9, 3), rtol=1e-5)


def _voxel_in(found: nibabel.Nifti1Image, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
    z, y, x = voxel
    assert found.shape == (70, 60, 6)
    return x, y, z


def test_a_cropped_layer_lies_in_its_scan(tmp_path: Path) -> None:
    path, affine = tmp_path / "scan.nii.gz", np.array([[-2, 0, 0, 60], [0, 0, 5, -40], [0, 3, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(np.arange(9 * 8 * 6, dtype=np.int16).reshape(9, 8, 6), affine), path)
    ((data, arguments, _),) = read(path)
    whole = Labels((data % 7 == 0).astype(np.uint8), scale=arguments["scale"], metadata=arguments["metadata"])
    (first,) = write_labels(str(tmp_path / "whole.nii.gz"), *whole.as_layer_data_tuple()[:2])
    cropped = Labels(whole.data[2:], scale=whole.scale, translate=(2 * whole.scale[0], 0, 0), metadata=whole.metadata)
    (second,) = write_labels(str(tmp_path / "part.nii.gz"), *cropped.as_layer_data_tuple()[:2])
    places = [_places(Path(each)) for each in (first, second)]
    kept = int(cropped.data.sum())
    assert kept
    assert len(places[1]) == kept
    assert places[1] <= places[0]


def test_a_slice_by_itself_is_as_thick_as_in_its_scan(tmp_path: Path) -> None:
    affine = np.array([[-2, 0, 0, 60], [0, -3, 0, -40], [0, 0, 5, 7], [0, 0, 0, 1.0]])
    layer = Labels(np.eye(8, 9, dtype=np.uint8), scale=(3, 2), metadata={"affine": affine, "spacing_known": True})
    (written,) = write_labels(str(tmp_path / "mask.nii.gz"), *layer.as_layer_data_tuple()[:2])
    np.testing.assert_allclose(nibabel.load(written).affine, affine)


def _places(path: Path) -> set[tuple[float, ...]]:
    found = nibabel.load(path)
    voxels = np.argwhere(np.asarray(found.dataobj) > 0)
    return {tuple(row) for row in nibabel.affines.apply_affine(found.affine, voxels).round(3).tolist()}


def test_a_mask_is_written_without_a_window(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['qtpy'] = sys.modules['qtpy.QtWidgets'] = None\n"
        "import numpy as np\n"
        "from napari_unet_seg.contributions import write_labels\n"
        f"write_labels({str(tmp_path / 'mask.nii.gz')!r}, np.ones((2, 4, 4), np.uint8), {{}})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "mask.nii.gz").exists()
