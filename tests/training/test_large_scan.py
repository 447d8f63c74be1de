import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.models import save_small
from training.benchmarks import large_scan
from training.memory_limit import GIB


def test_the_scan_is_a_head_again_and_again() -> None:
    volume = large_scan.large_scan(slices=19, size=32, dtype="float32")
    assert volume.data.shape == (3, 19, 32, 32)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data[:, 18], volume.data[:, 2])
    assert (volume.data[:, 1] != volume.data[:, 2]).any()


def test_memory_and_time_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, target = save_small(tmp_path / "small.safetensors"), tmp_path / "l.json"
    options = ["--slices", "20", "--size", "64", "--model", str(model), "--json", str(target)]
    assert large_scan.main([*options, "--limit", "4"]) == 0
    (found,) = json.loads(target.read_text())["scans"]
    assert found["scan_gib"] == 3 * 20 * 64 * 64 / GIB
    assert 0 <= found["over_idle_gib"] < 4
    assert found["seconds"] > 0
    assert found["cpu_seconds"] > 0
    assert "20 slices of 64 x 64" in capsys.readouterr().out


def test_too_much_is_told_by_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"scan_gib": 0.1, "idle_gib": 0.5, "over_idle_gib": 2.5, "seconds": 1.0, "cpu_seconds": 2.0}
    monkeypatch.setattr(large_scan, "measure", lambda **_: found)
    assert large_scan.main(["--slices", "1"]) == 1
    assert large_scan.main(["--slices", "1", "--limit", "3"]) == 0


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert large_scan.main(["--slices", "1", "--size", "16", "--model", str(tmp_path / "none.safetensors")]) == 2
