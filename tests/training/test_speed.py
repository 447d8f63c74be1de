import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.errors import InputError
from training.benchmarks import cost_curve, peer, predictors, speed
from training.benchmarks.predictors import BRAIN_SEGMENTATION_PYTORCH, Predictor
from training.describe import count_parameters

SMALL = UNetConfig(features=(4, 8), convolutions=(1, 1), order="conv-act-norm")
ANSWER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"slices_per_second": 50}), flush=True)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of three slices, peers with networks that take no time, a matrix product of 100 GFLOP/s."""
    monkeypatch.setattr(speed, "matrix_rate", lambda precision, device: 100.0)
    monkeypatch.setattr(speed, "SCAN_SLICES", 3)
    monkeypatch.setattr(speed, "BRAIN_SEGMENTATION_PYTORCH", SMALL)
    monkeypatch.setattr(speed, "basic_unet", lambda: speed.build_network(SMALL))
    # Each in a test of its own.
    monkeypatch.setattr(speed, "onnx_runtime", lambda network, batch, threads: lambda: None)
    monkeypatch.setattr(speed, "openvino", lambda network, batch, threads: lambda: None)


def missing(module: str, package: str | None = None) -> None:
    raise InputError(f"{package or module} is not installed")


@pytest.mark.usefixtures("small", "one_thread")
def test_all_are_timed_and_compared_with_the_matrix_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "peer.py"
    other.write_text(ANSWER)
    monkeypatch.setattr(peer, "KERAS_UNET", other)
    result = speed.measure(rounds=2, at_least=0, peer_python=Path(sys.executable), network=SMALL, size=32, curve=True)
    json.dumps(result)
    found = {each["by"]: each for each in result["predictions"]}
    assert set(found) >= {
        "ours",
        "ours, the network alone on the whole batch",
        "PyTorch as one writes it",
        "Keras on TensorFlow",
        "ours, the shipped model",
        "MONAI BasicUNet, as written",
        "brain-segmentation-pytorch's network, as written",
    }
    for each in found.values():
        assert each["slices_per_second"]["min"] > 0
        assert each["share"] == pytest.approx(each["gflop"] * each["slices_per_second"]["median"] / 100)
    assert found["Keras on TensorFlow"]["slices_per_second"] == {"median": 50, "min": 50, "max": 50}
    assert found["ours"]["gflop"] == found["Keras on TensorFlow"]["gflop"]
    for grows, cost in (("slices", 6), ("pixels", 16)):
        # From 1 to 6 slices, and from 16 to 64 pixels a side.
        small, _, large = (each["gflop"] for each in result["curve"] if each["grows"] == grows)
        assert large == pytest.approx(cost * small)
    table = speed.markdown(result)
    assert table.count("\n| ") == len(found) + len(result["curve"]) + 4
    assert "| seeds' network | Keras on TensorFlow | float32 | 50.00 | 50.00 to 50.00 | 0.16 |" in table


@pytest.mark.usefixtures("small", "one_thread")
def test_who_is_not_installed_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predictors, "_need", missing)
    for way in ("basic_unet", "onnx_runtime", "openvino"):
        monkeypatch.setattr(speed, way, getattr(predictors, way))
    whole = speed.measure
    monkeypatch.setattr(speed, "measure", lambda **given: whole(**given, network=SMALL, size=32))
    assert speed.main(["--rounds", "1", "--seconds", "0", "--json", str(tmp_path / "s.json")]) == 0
    told = capsys.readouterr()
    for name in ("onnxruntime", "openvino", "monai"):
        assert f"left out ({name} is not installed)" in told.err
    names = {each["by"] for each in json.loads((tmp_path / "s.json").read_text())["predictions"]}
    assert "OpenVINO" not in names
    assert "ours" in names


@pytest.mark.parametrize("way", ["onnx_runtime", "openvino"])
def test_other_runtimes_predict(way: str) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip({"onnx_runtime": "onnxruntime", "openvino": "openvino"}[way])
    network = speed.build_network(SMALL).eval()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(x).sigmoid()
    found: Any = getattr(predictors, way)(network, x, threads=1)()
    if way == "openvino":
        model = predictors.openvino_model(network, x.shape, threads=1)
        found = [np.concatenate([model(one[None].numpy())[0] for one in x])]
    torch.testing.assert_close(torch.as_tensor(np.asarray(found[0])), expected, rtol=1e-3, atol=1e-4)


def test_a_contender_gets_ready_once() -> None:
    begun: list[int] = []

    def begin() -> Callable[[], object]:
        begun.append(1)
        return lambda: None

    run = Predictor(task="t", by="b", slices=1, gflop=lambda: 1.0, begin=begin).timed(
        at_least=0, device=torch.device("cpu")
    )
    assert run() > 0
    assert run() > 0
    assert len(begun) == 1


def test_the_other_project_s_network_has_its_size() -> None:
    with torch.device("meta"):
        assert count_parameters(speed.build_network(BRAIN_SEGMENTATION_PYTORCH)) == 7_763_041


def test_one_thing_grows_at_a_time() -> None:
    found = cost_curve.points(slices=36, size=256)
    assert [(each.slices, each.size, each.width) for each in found] == [
        (18, 256, 1),
        (36, 256, 1),
        (72, 256, 1),
        (36, 128, 1),
        (36, 256, 1),
        (36, 512, 1),
        (36, 256, 0.5),
        (36, 256, 1),
        (36, 256, 2),
    ]


def test_no_such_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--device", "gpu"]) == 2
    assert "unknown device" in capsys.readouterr().err
