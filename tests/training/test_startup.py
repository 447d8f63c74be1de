"""From nothing to the first mask: where nothing can be measured."""

from __future__ import annotations

import subprocess

import pytest

from training.benchmarks import startup


def test_a_start_that_ends_early_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def aborted(command: list[str], *, check: bool = False, **_: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.CompletedProcess(command, -6, stdout="")
        if check:
            done.check_returncode()
        return done

    monkeypatch.setattr(startup.subprocess, "run", aborted)
    assert startup.main(["--rounds", "1"]) == 1
    assert "without a screen, begin it with xvfb-run" in capsys.readouterr().err


def test_no_round_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        startup.main(["--rounds", "0"])
    assert "at least 1" in capsys.readouterr().err
