import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.sample import sample_case_path
from napari_unet_seg.engine.checkpoint import Description, read_description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.registry import Registry
from tests.engine.models import save_small
from training import export_onnx
from training.export_onnx import METADATA_KEY, export, load_onnx

needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="the packages are in the extra training",
)
needs_deeplab = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None, reason="segmentation-models-pytorch is an extra"
)

NETWORKS = {
    "as the shipped model": UNetConfig(context=1, features=(4, 8, 16), convolutions=(1, 2, 2), dropout=0.1),
    "as the published projects": UNetConfig(features=(4, 8), convolutions=(2, 2), order="conv-act-norm", classes=3),
    "attention U-Net": UNetConfig(
        architecture="attention-unet", context=1, features=(4, 8, 16), convolutions=(2, 2, 2), dropout=0.1
    ),
    "DeepLabV3+": UNetConfig(architecture="deeplabv3plus", context=1),
}


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the command line, whatever other tests have loaded."""
    monkeypatch.delitem(sys.modules, "napari._qt", raising=False)


def trained(config: UNetConfig) -> Network:
    """Random weights, and batch statistics unlike those a network is born with; in evaluation mode."""
    torch.manual_seed(0)
    network = build_network(config).train()
    with torch.no_grad():
        for _ in range(3):
            network(1 + 3 * torch.randn(2, config.input_channels, 64, 64))
    return network.eval()


@needs_packages
@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_deeplab) if n == "DeepLabV3+" else n for n in NETWORKS])
def test_every_network_gives_the_same_for_slices_of_any_number_and_size(tmp_path: Path, name: str) -> None:
    config = NETWORKS[name]
    network = trained(config)
    classes = tuple(f"class {k}" for k in range(config.classes))
    description = Description(name=name, network=config, class_names=classes, threshold=0.3, normalisation="unit")
    path = tmp_path / "m.onnx"
    export(network, description, path)
    exported, read = load_onnx(path, threads=1)
    assert read == description
    for shape in ((1, 64, 64), (3, 37, 50), (2, 5, 7), (1, 1, 33)):
        slices = torch.randn(shape[0], config.input_channels, *shape[1:])
        with torch.inference_mode():
            logits, found = network(slices), exported(slices)
        torch.testing.assert_close(found.sigmoid(), logits.sigmoid(), atol=1e-5, rtol=0)
    assert found.shape == logits.shape


@needs_packages
def test_the_shipped_model_segments_the_sample_as_ever(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    path = tmp_path / "default.onnx"
    assert export_onnx.main(["default", str(path), "--check", str(sample_case_path()), "--threads", "1"]) == 0
    assert "least of 1 case: 100.0" in capsys.readouterr().out
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    described = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert described["channel_names"] == list(read_description(Registry().path("default")).channel_names)
    assert [side.dim_param for side in model.graph.output[0].type.tensor_type.shape.dim[2:]] == ["height", "width"]
    # The exporter notes where its operations come from.
    assert str(Path(export_onnx.__file__).parent).encode() not in path.read_bytes()


@needs_packages
def test_a_file_of_other_weights_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=4, size=32)
    model, output = save_small(tmp_path / "model.safetensors"), tmp_path / "m.onnx"
    arguments = [str(model), str(output), "--check", str(data), "--threads", "1"]

    def export_another(network: Network, description: Description, path: Path) -> None:
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.neg_()
            export(network, description, path)
            for parameter in network.head.parameters():
                parameter.neg_()

    monkeypatch.setattr(export_onnx, "export", export_another)
    assert export_onnx.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("least of 2 cases: 0.")
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "napari._qt", raising=False)
    assert export_onnx.main(arguments) == 0


@needs_packages
def test_a_scan_that_cannot_be_read_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_kaggle(tmp_path / "kaggle_3m", patients=3, slices=2, size=32)
    broken = sorted(folder for folder in data.iterdir() if folder.is_dir())[0]
    (broken / f"{broken.name}_1.tif").write_bytes(b"no picture")
    model = save_small(tmp_path / "model.safetensors")
    arguments = [str(model), str(tmp_path / "m.onnx"), "--check", str(data), "--threads", "1"]
    assert export_onnx.main(arguments) == 2
    told = capsys.readouterr()
    assert broken.name in told.err
    assert "least of 2 cases: 100.0" in told.out


def test_without_the_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model = save_small(tmp_path / "model.safetensors")
    assert export_onnx.main([str(model), str(tmp_path / "m.onnx")]) == 2
    assert capsys.readouterr().err == ('onnx and onnxscript missing: pip install "napari-unet-seg[training]"\n')
    assert not (tmp_path / "m.onnx").exists()


@needs_packages
@pytest.mark.parametrize("content", [b"", b"no ONNX", None])
def test_a_file_that_is_no_export(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(export_onnx.InputError, match="is no ONNX file of training"):
        load_onnx(path)


def test_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export_onnx.main([str(tmp_path / "none.safetensors"), str(tmp_path / "m.onnx")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
