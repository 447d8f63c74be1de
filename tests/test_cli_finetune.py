import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_unet_seg.cli import main
from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.events import RoundEvent, RoundFinished, RoundStarted, StepDone, ValidationDone
from napari_unet_seg.engine.fit import LossNotFinite
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_report import CaseReport, RoundReport
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError, SegmentationError
from tests.engine.models import SMALL, save_small, small_network

Capture = pytest.CaptureFixture[str]
CASE = "TCGA_XX_1000_20000101"


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=3, size=32)


def report(*, stopped: bool = False, promoted: bool = True) -> RoundReport:
    return RoundReport(
        name="mine",
        parent="default",
        scope="model",
        promoted=promoted,
        seconds=12.3,
        steps=40,
        slices_corrected=3,
        before=0.7,
        after=0.8,
        reason="held-back Dice rises by 0.100",
        version=1,
        stopped=stopped,
        cases=(CaseReport(case=CASE, role="held back", slices=3, before=0.7, after=0.8),),
    )


class FakeRound:
    """Stands in for `finetune_events`; it keeps what it was called with."""

    def __init__(self) -> None:
        self.dataset: Dataset
        self.called_with: dict[str, Any] = {}
        self.promoted = True
        self.at_step: Callable[[int], None] = lambda step: None

    def __call__(self, dataset: Dataset, **options: Any) -> Iterator[RoundEvent]:
        self.dataset, self.called_with = dataset, options
        yield RoundStarted(scope="model", slices_corrected=3, cases=1, rehearsal=2, seconds=60)
        yield ValidationDone(step=0, dice=0.7, before=0.7)
        for step in range(1, 21):
            self.at_step(step)
            yield StepDone(step=step, steps=99, loss=1 / step, elapsed=float(step))
            if options["should_stop"]():
                break
        yield RoundFinished(report=report(stopped=options["should_stop"](), promoted=self.promoted))


@pytest.fixture
def fake_round(monkeypatch: pytest.MonkeyPatch) -> FakeRound:
    fake = FakeRound()
    monkeypatch.setattr("napari_unet_seg.engine.finetune.finetune_events", fake)
    return fake


def test_a_round_is_told_and_written_down(
    tmp_path: Path, patients: Path, fake_round: FakeRound, capsys: Capture
) -> None:
    target = tmp_path / "new" / "round.json"
    assert main(["finetune", str(patients), "--name", "mine", "--json", str(target)]) == 0
    out = capsys.readouterr().out
    assert "learning from 3 corrected slices of 1 case, keeping 2 other cases in mind, for 60 s" in out
    lines = [line for line in out.splitlines() if "/60 s: " in line]
    assert [line.split("/")[0].strip() for line in lines] == ["5", "10", "15", "20"]
    assert "step 10, loss 0.1000, held-back Dice 0.700 (before: 0.700)" in lines[1]
    assert f"{CASE}  held back       3   0.700   0.800  +0.100" in out
    assert out.endswith("promoted: held-back Dice rises by 0.100\nmine is now version 1\n")
    assert json.loads(target.read_text()) == report().to_json()
    assert {
        "name",
        "parent",
        "scope",
        "promoted",
        "seconds",
        "steps",
        "slices_corrected",
        "before",
        "after",
        "reason",
    } <= set(json.loads(target.read_text()))


def test_options_reach_the_round(patients: Path, fake_round: FakeRound) -> None:
    options = ["--scope", "scan", "--case", CASE, "--model", "other", "--seconds", "7", "--device", "cpu"]
    assert main(["finetune", str(patients), "--name", "mine", *options]) == 0
    del fake_round.called_with["should_stop"]
    assert fake_round.called_with == {
        "model": "other",
        "name": "mine",
        "scope": "scan",
        "case": CASE,
        "seconds": 7.0,
        "device": "cpu",
    }


def test_corrections_beside_a_read_only_dataset_are_learned(
    patients: Path, tmp_path: Path, fake_round: FakeRound
) -> None:
    (tmp_path / "over").mkdir()
    assert main(["finetune", str(patients), "--name", "mine", "--overlay", str(tmp_path / "over")]) == 0
    assert fake_round.dataset.overlay == tmp_path / "over"


@pytest.mark.parametrize(("there", "now"), [(False, "new, and the same as default"), (True, "as it was")])
def test_a_round_that_lost_is_no_error(
    patients: Path, tmp_path: Path, fake_round: FakeRound, capsys: Capture, there: bool, now: str
) -> None:
    if there:
        Registry().import_file(save_small(tmp_path / "mine.safetensors"))
    fake_round.promoted = False
    assert main(["finetune", str(patients), "--name", "mine"]) == 0
    told = f"not promoted: held-back Dice rises by 0.100\nmine is {now}; what was learned is kept as version 1\n"
    assert capsys.readouterr().out.endswith(told)


def interrupt_at(*steps: int) -> Callable[[int], None]:
    def interrupt(step: int) -> None:
        if step in steps:
            for _ in range(steps.count(step)):
                os.kill(os.getpid(), signal.SIGINT)

    return interrupt


def test_the_first_interrupt_keeps_the_best_so_far(patients: Path, fake_round: FakeRound, capsys: Capture) -> None:
    handler = signal.getsignal(signal.SIGINT)
    fake_round.at_step = interrupt_at(6)
    assert main(["finetune", str(patients), "--name", "mine"]) == 0
    captured = capsys.readouterr()
    assert "40 steps in 12 s, stopped" in captured.out
    assert captured.err == "stopping with the best so far; Ctrl-C again gives up\n"
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_second_interrupt_gives_up(patients: Path, fake_round: FakeRound, capsys: Capture) -> None:
    handler = signal.getsignal(signal.SIGINT)
    fake_round.at_step = interrupt_at(6, 6)
    assert main(["finetune", str(patients), "--name", "mine"]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped"
    assert signal.getsignal(signal.SIGINT) is handler


BAD_ROUNDS = {
    "a scan's round without a case": (["--name", "mine", "--scope", "scan"], "which with --case"),
    "an unknown case": (["--name", "mine", "--scope", "scan", "--case", "TCGA_XX"], "there is no case 'TCGA_XX'"),
    "no time": (["--name", "mine", "--seconds", "0"], "--seconds must be a number above 0, got 0"),
    "time that is no number": (["--name", "mine", "--seconds", "nan"], "--seconds must be a number above 0, got nan"),
    "a shipped model's name": (["--name", "default"], "'default' comes with the package"),
    "a name that is none": (["--name", "../mine"], "cannot be a model's name"),
}


@pytest.mark.parametrize("kind", BAD_ROUNDS)
def test_bad_rounds_are_one_line(patients: Path, fake_round: FakeRound, kind: str, capsys: Capture) -> None:
    options, said = BAD_ROUNDS[kind]
    assert main(["finetune", str(patients), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert fake_round.called_with == {}


def test_a_dataset_without_cases_is_one_line(tmp_path: Path, fake_round: FakeRound, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["finetune", str(tmp_path / "empty"), "--name", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the folder is empty" in line


@pytest.mark.parametrize("error", [InputError("nothing is corrected here"), LossNotFinite("the loss became nan")])
def test_a_round_that_fails_is_one_line(
    patients: Path, fake_round: FakeRound, error: Exception, capsys: Capture
) -> None:
    def fail(step: int) -> None:
        raise error

    fake_round.at_step = fail
    assert main(["finetune", str(patients), "--name", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(error) in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            SegmentationError("the network failed on cuda: no kernel"),
            "the network failed on cuda: no kernel; the model",
        ),
        (MemoryError(), "there is not enough memory for the round; close other programs and start it again; the model"),
        (RuntimeError("CUDA out of memory. Tried to"), "there is not enough memory for the round; close"),
        (torch.OutOfMemoryError("on the device"), "there is not enough memory for the round; close"),
    ],
)
def test_a_computation_that_fails_is_not_the_input_s_fault(
    patients: Path, fake_round: FakeRound, error: Exception, said: str, capsys: Capture
) -> None:
    def fail(step: int) -> None:
        raise error

    fake_round.at_step = fail
    assert main(["finetune", str(patients), "--name", "mine"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"napari-unet-seg: {said}")


def test_a_fault_of_the_program_keeps_its_traceback(patients: Path, fake_round: FakeRound) -> None:
    def fail(step: int) -> None:
        raise KeyError("scan")

    fake_round.at_step = fail
    with pytest.raises(KeyError, match="scan"):
        main(["finetune", str(patients), "--name", "mine"])


@pytest.mark.parametrize("target", ["a file/round.json", "a folder"])
def test_a_report_that_cannot_be_written_shows_before_the_round(
    tmp_path: Path, patients: Path, fake_round: FakeRound, target: str, capsys: Capture
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "a folder").mkdir()
    assert main(["finetune", str(patients), "--name", "mine", "--json", str(tmp_path / target)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / target}: cannot be written" in line
    assert fake_round.called_with == {}


@pytest.mark.parametrize("scope", [["--scope", "scan", "--case", CASE], ["--scope", "model"]])
def test_a_dataset_without_corrections_is_one_line(patients: Path, scope: list[str], capsys: Capture) -> None:
    assert main(["finetune", str(patients), "--name", "mine", *scope]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "correct" in line
    assert not [model for model in Registry().list() if not model.shipped]


def test_a_real_round_leaves_a_version(tmp_path: Path, patients: Path, capsys: Capture) -> None:
    dataset = open_dataset(patients)
    mask = dataset[CASE].read_mask()
    assert mask is not None
    mask[1, 10:20, 10:20] = 1
    dataset.save_correction(CASE, mask, [0, 1, 2])
    parent, target = save_small(tmp_path / "small.safetensors"), tmp_path / "round.json"
    before = parent.read_bytes()
    options = ["--scope", "scan", "--case", CASE, "--model", str(parent), "--seconds", "6", "--device", "cpu"]
    assert main(["finetune", str(patients), "--name", "mine", *options, "--json", str(target)]) == 0
    told = json.loads(target.read_text())
    assert (told["name"], told["scope"], told["slices_corrected"], told["version"]) == ("mine", "scan", 3, 1)
    assert parent.read_bytes() == before
    start, made = VersionLine("mine", registry=Registry()).versions()
    assert start.path.read_bytes() == before
    assert (made.promoted, made.current, made.reason) == (told["promoted"], told["promoted"], told["reason"])
    assert told["reason"] in capsys.readouterr().out
    assert load_model("mine", device="cpu").description.threshold == 0.5


def test_versions_are_listed_and_brought_back(tmp_path: Path, capsys: Capture) -> None:
    line = VersionLine("mine", registry=Registry())
    line.begin(save_small(tmp_path / "parent.safetensors"))
    record = {"promoted": True, "before": 0.7, "after": 0.8, "reason": "it gained", "time": "2026-01-02T10:11:12"}
    line.add(small_network(seed=1), Description(name="mine", network=SMALL, training={"round": record}), promoted=True)
    assert main(["models", "versions", "mine"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("     0  ")
    assert first.endswith("as it was before")
    assert second == "*    1  2026-01-02 10:11  Dice 0.700 -> 0.800  promoted: it gained"
    assert main(["models", "restore", "mine", "0"]) == 0
    assert capsys.readouterr().out == "mine is now version 0\n"
    assert main(["models", "versions", "mine"]) == 0
    assert [row[0] for row in capsys.readouterr().out.splitlines()] == ["*", " "]


def test_versions_of_a_model_that_never_learned(tmp_path: Path, capsys: Capture) -> None:
    Registry().import_file(save_small(tmp_path / "mine.safetensors"))
    assert main(["models", "versions", "mine"]) == 0
    assert "no versions yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["versions", "nope"], "there is no model 'nope' of yours"),
        (["versions", "default"], "'default' comes with the package"),
        (["restore", "nope", "1"], "has no version 1; its versions are: none"),
    ],
)
def test_what_has_no_versions_is_one_line(command: list[str], said: str, capsys: Capture) -> None:
    assert main(["models", *command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
