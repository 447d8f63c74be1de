"""A command that is not written as it should be: one line that says so, whatever the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_unet_seg.cli import main

_SEE = "; see napari-unet-seg"

MISTAKES = {
    "": f"Expected one of {{demo, predict, evaluate, finetune, suggest, convert, models, doctor}}{_SEE} --help",
    "predict": f"Missing from napari-unet-seg predict: PATH --output PATH{_SEE} predict --help",
    "models remove": f"Missing from napari-unet-seg models remove: NAME{_SEE} models remove --help",
    "predict scan --output": f"Missing value for argument '--output'. Expected 1 values{_SEE} predict --help",
    "predct scan": (
        "Unrecognized options: predct, scan; available subcommands: demo, predict, evaluate, finetune, suggest, "
        f"convert, models, doctor{_SEE} --help"
    ),
    "evaluate scan --mdel default": (
        f"Unrecognized options: --mdel, default; perhaps you meant: --model STR{_SEE} --help"
    ),
    "finetune scan --name mine --scope all": (
        f"invalid choice 'all' for argument '--scope'. Expected one of ('scan', 'model'){_SEE} finetune --help"
    ),
    "finetune scan --name mine --seconds soon": f"--seconds must be a number, got 'soon'{_SEE} --help",
    "predict scan --output masks --threshold half": f"--threshold must be a number, got 'half'{_SEE} --help",
    "predict scan --output masks --threshold it's": f'--threshold must be a number, got "it\'s"{_SEE} --help',
    "suggest scan --limit 1.5": f"--limit must be a whole number, got '1.5'{_SEE} --help",
    "sgment scan --threshold 0.5": (
        "Unrecognized or misplaced options: sgment scan --threshold 0.5; available subcommands: demo, predict, "
        f"evaluate, finetune, suggest, convert, models, doctor; perhaps you meant: --threshold FLOAT{_SEE} --help"
    ),
    "predict scan --output masks ---------": f"Unrecognized options: ---------{_SEE} --help",
}


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("columns", [40, 200])
@pytest.mark.parametrize("written", MISTAKES)
def test_mistakes_of_the_command_line_are_told_in_one_line(
    written: str,
    columns: int,
    colours: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("NO_COLOR", raising=False)
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit) as ended:
        main(written.split())
    assert ended.value.code == 2
    printed = capsys.readouterr()
    # A colour that ends before a colon leaves a space.
    assert printed.err.replace(" :", ":") == f"napari-unet-seg: {MISTAKES[written]}\n"
    assert printed.out == ""


@pytest.mark.parametrize(
    ("arguments", "which"),
    [
        (["predict", "scan", "--output", ""], "--output"),
        (["predict", "scan", "--output="], "--output"),
        (["evaluate", "scan", "--report", ""], "--report"),
        (["evaluate", "", "--json", "scores.json"], "an argument"),
    ],
)
def test_an_empty_path_is_not_the_present_folder(
    arguments: list[str],
    which: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err == f"napari-unet-seg: {which} is empty; give it a value, or leave it out\n"
    assert not list(tmp_path.iterdir())


def test_help_is_not_touched(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert len(printed.out.splitlines()) > 10


def test_mistakes_without_standard_error_end_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with pytest.raises(SystemExit) as ended:
        main(["predict"])
    assert ended.value.code == 2
