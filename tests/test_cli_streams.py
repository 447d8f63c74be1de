import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and closed streams of POSIX")

CALL = "import sys; from napari_unet_seg.cli import main; sys.exit(main(sys.argv[1:]))"


def run(*arguments: object, stream: str) -> subprocess.CompletedProcess[str]:
    """Run a command with one of its streams closed, or with a reader that leaves at once."""
    command = 'set -o pipefail; "$@" | true' if stream == "|" else f'"$@" {stream}'
    call = ["bash", "-c", command, "bash", sys.executable, "-c", CALL, *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_what_is_written_is_written_whoever_reads_what_is_said(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "scans", patients=4, slices=2, size=32)
    done = run("convert", root, tmp_path / "out", "--to", "nnunet", stream="|")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(open_dataset(tmp_path / "out").cases) == 4


def test_what_only_prints_ends_when_nobody_reads() -> None:
    done = run("models", stream="|")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_is_no_fault(tmp_path: Path) -> None:
    root = write_kaggle(tmp_path / "scans", patients=2, slices=2, size=32)
    done = run("convert", root, tmp_path / "out", "--to", "files", stream=">&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(open_dataset(tmp_path / "out").cases) == 2


def test_an_error_that_nobody_hears_is_not_printed_as_a_result(tmp_path: Path) -> None:
    done = run("convert", tmp_path / "nothing", tmp_path / "out", "--to", "files", stream="2>&-")
    assert (done.returncode, done.stdout) == (2, "")
