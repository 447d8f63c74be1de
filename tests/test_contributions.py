from pathlib import Path

import nibabel
import npe2
import numpy as np
import pytest
import tifffile

import napari_unet_seg
from napari_unet_seg.contributions import get_reader, read, sample
from napari_unet_seg.data.phantom import write_kaggle


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
