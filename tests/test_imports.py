import subprocess
import sys

import pytest


def loaded_by(statement: str, *, names: tuple[str, ...]) -> set[str]:
    code = f"import sys; {statement}; print(*[name for name in {names!r} if name in sys.modules])"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


HEAVY = ("torch", "monai", "lightning_fabric", "qtpy", "napari", "numpy")


def test_the_package_costs_nothing_to_import() -> None:
    assert loaded_by("import napari_unet_seg", names=HEAVY) == set()


@pytest.mark.parametrize("module", ["cli", "contributions", "session", "data.dataset"])
def test_what_the_plugin_loads_first_has_no_torch(module: str) -> None:
    assert "torch" not in loaded_by(f"import napari_unet_seg.{module}", names=HEAVY)


def test_predicting_reaches_nothing_that_can_end_the_window_s_process() -> None:
    forbidden = ("monai", "lightning_fabric", "torch._dynamo", "triton", "torch.optim.adamw")
    statement = (
        "import napari_unet_seg as u; from napari_unet_seg.data.phantom import make_phantom; "
        "u.load_model('default', device='cpu').predict(make_phantom(slices=2)[0])"
    )
    assert loaded_by(statement, names=forbidden) - {"torch.optim.adamw"} == set()


def test_the_window_s_widgets_load_no_torch() -> None:
    forbidden = ("torch", "monai", "lightning_fabric", "triton")
    modules = ("widgets.dock", "widgets.curve_plot", "engine.suggest")
    statement = "; ".join(f"import napari_unet_seg.{module}" for module in modules)
    assert loaded_by(statement, names=forbidden) == set()


def test_a_model_is_loaded_without_what_reads_scans() -> None:
    readers = ("napari_unet_seg.data.dataset", "pydicom", "nibabel", "tifffile")
    assert loaded_by("import napari_unet_seg as u; u.load_model('default', device='cpu')", names=readers) == set()


def test_every_public_name_is_there() -> None:
    import napari_unet_seg

    for name in napari_unet_seg.__all__:
        assert getattr(napari_unet_seg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        napari_unet_seg.nothing  # noqa: B018
