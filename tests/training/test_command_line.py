import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_unet_seg.errors import InputError, SegmentationError
from training import (
    agreement,
    cross_validate,
    export_onnx,
    make_sample,
    pack,
    postprocess,
    reproduce,
    run,
    simulate,
)
from training.benchmarks import speed, throughput
from training.command_line import command, natural_int, positive_int, report_file
from training.json_file import save_json
from training.run_folder import check_free


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


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_number_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1, got"):
        positive_int(text)
    assert positive_int("12") == 12


@pytest.mark.parametrize("text", ["-1", "1.5", "many", ""])
def test_a_number_below_nothing_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="at least 0, got"):
        natural_int(text)
    assert natural_int("0") == 0


NEEDED = {
    agreement: ["data"],
    cross_validate: ["default", "--data", "data", "--output", "out"],
    export_onnx: ["default", "m.onnx"],
    make_sample: ["--output", "out"],
    pack: ["default", "--data", "data", "--output", "out"],
    postprocess: ["--data", "data", "--output", "out", "--checkpoints", "m.safetensors"],
    reproduce: ["--output", "out"],
    run: ["default", "--data", "data", "--output", "out"],
    simulate: ["--data", "data", "--model", "m.safetensors", "--output", "out"],
    speed: [],
    throughput: [],
}


@pytest.mark.parametrize(
    ("module", "wrong"),
    [(module, ["--threads", "0"]) for module in NEEDED if module not in (agreement, make_sample, pack)]
    + [(simulate, [option, "0"]) for option in ("--limit", "--jobs", "--seeds")]
    + [(agreement, ["--every", "0"]), (pack, ["--shard-mib", "-1"]), (cross_validate, ["--worst", "-3"])]
    + [(make_sample, ["--seed", "-1"])]
    + [(run, ["--memory", "nan"]), (run, ["--memory", "inf"])],
)
def test_numbers_of_commands_are_looked_at_before_anything_else(
    module: ModuleType, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main([*NEEDED[module], *wrong])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert wrong[0] in told
    assert wrong[1] in told


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(argparse.ArgumentTypeError, match="file"):
        report_file(str(tmp_path / "file" / "out.json"))


def test_what_was_found_is_written_where_asked(tmp_path: Path) -> None:
    save_json(None, {"dice": 0.5})
    assert not list(tmp_path.iterdir())
    save_json(tmp_path / "runs" / "out.json", {"dice": 0.5})
    assert json.loads((tmp_path / "runs" / "out.json").read_text()) == {"dice": 0.5}


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a run needs a folder, and this is a file"):
        check_free(tmp_path / "file")


def test_the_sample_goes_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(make_sample, "make_sample", lambda seed: ({"mask": np.zeros((2, 4, 4), np.uint8)}, np.eye(4)))
    assert make_sample.main(["--output", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_network_is_written_as_onnx_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.tif").write_bytes(b"precious")
    assert export_onnx.main(["default", str(tmp_path / "scan.tif")]) == 2
    assert "give the file the ending .onnx" in capsys.readouterr().err
    assert (tmp_path / "scan.tif").read_bytes() == b"precious"
