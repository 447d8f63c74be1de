"""What is trained or measured with a dataset that cannot be read as a whole would pass for the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.test_dataset import make_patient
from training.cross_validate import main


def test_a_dataset_with_a_closed_folder_is_not_trained_on(
    tmp_path: Path, forbid: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p1", "p2", "p3"):
        make_patient(tmp_path / "data" / name, slices=2)
    closed = forbid(tmp_path / "data" / "p2")
    output = tmp_path / "runs"
    assert main(["default", "--data", str(tmp_path / "data"), "--output", str(output)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"{closed}: this folder cannot be opened" in printed.err
    assert not output.exists()
