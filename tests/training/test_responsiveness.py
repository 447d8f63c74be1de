"""How the window feels: what the command line refuses."""

from __future__ import annotations

import pytest

from training.benchmarks import responsiveness


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--size", "128"], "--size must be at least 160"),
        (["--strokes", "1"], "--strokes at least 2"),
        (["--slices", "0"], "must be positive"),
        (["--seconds", "nan"], "must be positive"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(
    given: list[str], problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("stroke_cost", "slider_cost", "round_delay"):
        monkeypatch.setattr(responsiveness, part, lambda **_: {})
    with pytest.raises(SystemExit, match="2"):
        responsiveness.main(["--parts", "stroke", *given])
    assert problem in capsys.readouterr().err
