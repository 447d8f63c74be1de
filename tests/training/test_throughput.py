import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.engine.config import KerasAugmentConfig, UNetConfig
from training.benchmarks import peer, throughput
from training.benchmarks.trainings import PlainTraining, phantom_slices
from training.recipe import Recipe
from training.recipes import RECIPES

CPU = torch.device("cpu")
SMALL = UNetConfig(features=(4, 8), convolutions=(1, 1))
ANSWER = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"slices_per_second": 50}), flush=True)
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both recipes at 32 x 32, with networks that take no time; a matrix product of 100 GFLOP/s."""
    published, shipped = RECIPES["seed_000"](), RECIPES["default"]()
    small = {
        "seed_000": dataclasses.replace(
            published, network=SMALL, resize=(32, 32), fit=dataclasses.replace(published.fit, patch=(32, 32))
        ),
        "default": dataclasses.replace(
            shipped,
            network=dataclasses.replace(SMALL, context=1),
            fit=dataclasses.replace(shipped.fit, patch=(32, 24)),
        ),
    }

    def make(recipe: Recipe) -> Any:
        return lambda: recipe

    monkeypatch.setattr(throughput, "RECIPES", {name: make(recipe) for name, recipe in small.items()})
    monkeypatch.setattr(throughput, "matrix_rate", lambda precision, device: 100.0)


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize("precisions", [["float32"], ["float32", "bfloat16"]])
def test_all_are_timed_and_compared_with_the_matrix_product(
    precisions: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "uses_bfloat16", lambda config, device: "bfloat16" in precisions)
    other = tmp_path / "peer.py"
    other.write_text(ANSWER)
    monkeypatch.setattr(peer, "KERAS_UNET", other)
    options = ["--peer-python", sys.executable, "--device", "cpu", "--threads", "1"]
    file = tmp_path / "throughput.json"
    assert (
        throughput.main([*options, "--rounds", "2", "--seconds", "0", "--batches", "2", "4", "--json", str(file)]) == 0
    )
    result = json.loads(file.read_text())
    assert result["matrix_gflops"] == {each: {"median": 100, "min": 100, "max": 100} for each in precisions}
    found = {
        (each["recipe"], each["by"], each["precision"], each["batch"], tuple(each["size"])): each
        for each in result["trainings"]
    }
    assert set(found) == {
        (recipe, by, precision, batch, size)
        for batch in (2, 4)
        for precision in precisions
        for recipe, by, size in (
            ("seed_000", "PyTorch as one writes it", (32, 32)),
            ("seed_000", "fit", (32, 32)),
            ("seed_000", "Keras on TensorFlow", (32, 32)),
            ("default", "fit", (32, 24)),
            ("default", "fit", (16, 12)),
        )
        if precision == "float32" or by != "PyTorch as one writes it"
    }
    for each in result["trainings"]:
        assert each["slices_per_second"]["min"] > 0
        assert each["gflops"] == pytest.approx(3 * each["gflop"] * each["slices_per_second"]["median"])
        assert each["share"] == pytest.approx(each["gflops"] / 100)
    keras = found["seed_000", "Keras on TensorFlow", "float32", 2, (32, 32)]
    assert keras["slices_per_second"] == {"median": 50, "min": 50, "max": 50}
    full, half = (found["default", "fit", "float32", 2, size] for size in ((32, 24), (16, 12)))
    assert full["gflop"] == pytest.approx(4 * half["gflop"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(found)
    row = "| seed_000, 32 x 32 | Keras on TensorFlow | float32 | 4 | 50.00 | 50.00 to 50.00 |"
    assert sum(row in line for line in table) == 1


@pytest.mark.usefixtures("recipes")
def test_no_such_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert throughput.main(["--peer-python", str(tmp_path / "python"), "--device", "cpu", "--batches", "2"]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'python'}: cannot be started (no such file or directory)\n"


def test_as_many_slices_as_asked_for_of_several_heads() -> None:
    slices = phantom_slices(40, size=16)
    assert slices.volume.data.shape == (3, 40, 16, 16)
    assert slices.volume.data.dtype == np.uint8
    assert slices.mask.shape == (40, 16, 16)
    assert slices.labelled.sum() == 40
    assert (slices.volume.data[:, :8] != slices.volume.data[:, 32:]).any()
    assert slices.mask.any(axis=(1, 2))[:32].any()


def test_pytorch_as_one_writes_it_learns() -> None:
    training = PlainTraining(
        SMALL,
        phantom_slices(8, size=32),
        batch=4,
        augment=KerasAugmentConfig(shift=0.05),
        learning_rate=1e-2,
        device=CPU,
    )
    losses = []
    for _ in range(16):
        training.step()
        losses.append(training.loss)
    assert sum(losses[-4:]) < sum(losses[:4])
