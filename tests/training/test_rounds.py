import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.engine.events import RoundEvent, RoundFinished, StepDone
from napari_unet_seg.engine.registry import user_folder
from napari_unet_seg.engine.round_report import RoundReport
from training.benchmarks import rounds
from training.benchmarks.corrected_scan import own_models, write_corrected_scan
from training.benchmarks.rounds import Held, growth

REPORT = RoundReport(
    name="m", parent="p", scope="scan", promoted=True, seconds=1.0, steps=7, slices_corrected=3, before=0.5, after=0.6,
    reason="",
)  # fmt: skip


def fake_round(dataset: Dataset, *, seconds: float = 1.0) -> Iterator[RoundEvent]:
    yield StepDone(step=1, steps=2, loss=0.5)
    yield RoundFinished(report=REPORT)


def test_only_the_corrected_slices_are_labelled(tmp_path: Path) -> None:
    dataset = write_corrected_scan(tmp_path, slices=6, size=32, corrected=2)
    case = open_dataset(dataset.root).cases[0]
    assert len(case.corrected_slices()) == 2
    assert [int(z) for z in case.labelled_slices().nonzero()[0]] == case.corrected_slices()
    assert case.read_mask()[case.corrected_slices()].any(axis=(1, 2)).all()


def test_models_lie_elsewhere_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = user_folder()
    with own_models(tmp_path / "home"):
        assert user_folder() == tmp_path / "home"
    assert user_folder() == before
    monkeypatch.delenv("NAPARI_UNET_SEG_HOME")
    before = user_folder()
    with own_models(tmp_path / "home"):
        pass
    assert user_folder() == before


def holdings(*memory: float, files: int = 10) -> list[Held]:
    return [Held(memory_mb=each, threads=4, files=files, children=0) for each in memory]


def test_growth_is_seen_after_the_warm_up() -> None:
    assert growth(holdings(1, 1, 100, 100, 100, 100, 100, 100, 102, 104))["memory_mb"] == 3
    leaking = [*holdings(*[1.0] * 6), *holdings(*[1.0] * 4, files=13)]
    assert growth(leaking) == {"memory_mb": 0, "threads": 0, "files": 3, "children": 0}


def test_too_few_rounds_show_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 rounds or more"):
        rounds.run(4, tmp_path, start=fake_round)


def test_every_round_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounds, "in_child", fake_round)
    target = tmp_path / "rounds.json"
    assert rounds.main(["--rounds", "5", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    assert [each["steps"] for each in result["rounds"]] == [7] * 5
    assert "5/5" in capsys.readouterr().out


def test_files_left_open_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = []

    def leaky(dataset: Dataset, *, seconds: float) -> Iterator[RoundEvent]:
        left.append((tmp_path / "open").open("w"))
        return fake_round(dataset)

    monkeypatch.setattr(rounds, "in_child", leaky)
    assert rounds.main(["--rounds", "5"]) == 1
    for file in left:
        file.close()


def test_too_few_rounds_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        rounds.main(["--rounds", "4"])
    assert "--rounds must be at least 5" in capsys.readouterr().err
