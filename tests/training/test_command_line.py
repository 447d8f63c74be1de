import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from napari_unet_seg.errors import InputError, SegmentationError
from training.command_line import command, report_file
from training.json_file import save_json


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            InputError("scan.tif: this is no picture; export it again"),
            2,
            "scan.tif: this is no picture; export it again",
        ),
        (SegmentationError("the network failed on cpu"), 1, "the network failed on cpu"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_ends_a_command_is_told_in_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def main(arguments: Sequence[str] | None = None) -> int:
        raise error

    assert main([]) == status
    assert capsys.readouterr().err == line + "\n"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    @command
    def main(arguments: Sequence[str] | None = None) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.mark.parametrize(
    "arguments", [["-m", "training.run", "seed_001", "--describe"], ["-m", "napari_unet_seg", "models", "list"]]
)
def test_a_reader_who_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert (process.returncode, errors) == (0, "")


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(argparse.ArgumentTypeError, match="file"):
        report_file(str(tmp_path / "file" / "out.json"))


def test_what_was_found_is_written_where_asked(tmp_path: Path) -> None:
    save_json(None, {"dice": 0.5})
    assert not list(tmp_path.iterdir())
    save_json(tmp_path / "runs" / "out.json", {"dice": 0.5})
    assert json.loads((tmp_path / "runs" / "out.json").read_text()) == {"dice": 0.5}
