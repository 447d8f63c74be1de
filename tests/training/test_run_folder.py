import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import training.train
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine import fit
from napari_unet_seg.engine.checkpoint import load_checkpoint, read_description
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.events import EpochDone, StepDone
from napari_unet_seg.engine.samples import SliceStore
from tests.training.tiny_run import tiny
from training import run, run_lock
from training.progress import progress_line, step_line
from training.run_folder import RunFolder
from training.validation import Validation


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle(tmp_path_factory.mktemp("data") / "kaggle_3m", patients=4, slices=4, size=32)


def start(data: Path, output: Path, *more: str) -> int:
    return run.main(["tiny", "--data", str(data), "--output", str(output), "--threads", "1", *more])


def history(folder: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((folder / "history.json").read_text())
    return rows


def figures(folder: Path) -> list[dict[str, float]]:
    """The history without what the clock says."""
    clock = ("seconds", "slices_per_second")
    return [{key: value for key, value in row.items() if key not in clock} for row in history(folder)]


def interrupt_batch(monkeypatch: pytest.MonkeyPatch, number: int, *, by: int = signal.SIGINT) -> None:
    """Press Ctrl-C, or have the process ended, while a training batch is made; validation makes batches too."""
    batch, made = SliceStore.batch, []

    def press(self: SliceStore, index: torch.Tensor, *, context: int) -> object:
        made.append(index)
        if len(made) == number:
            os.kill(os.getpid(), by)
        return batch(self, index, context=context)

    monkeypatch.setattr(SliceStore, "batch", press)


def test_a_run_leaves_everything_behind(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert start(data, folder, "--epochs", "2", "--seed", "7") == 0
    names = {file.name for file in folder.iterdir()}
    assert names == {"best.safetensors", "last.safetensors", "config.json", "history.json", "curves.png", "state.pt",
                     "tensorboard"}  # fmt: skip
    rows = history(folder)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4)]
    assert {"loss", "learning_rate", "validation_loss", "validation_dice", "validation_iou"} <= rows[0].keys()
    config = json.loads((folder / "config.json").read_text())
    assert (config["seed"], config["recipe"]["epochs"], config["recipe"]["fit"]["steps"]) == (7, 2, 4)
    assert len(config["cases"]) == 3
    assert len(config["held_out"]) == 1
    assert read_description(folder / "last.safetensors").training["steps_done"] == 4
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4]
    assert [event.value for event in events.Scalars("validation/loss")] == pytest.approx(
        [row["validation_loss"] for row in rows]
    )
    assert "left" in capsys.readouterr().out


def test_the_best_is_that_of_the_lowest_validation_loss(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.25, 0.75])
    monkeypatch.setattr(Validation, "__call__", lambda *_: {"loss": next(losses)})
    output = tmp_path / "model.safetensors"
    assert start(data, output, "--epochs", "3") == 0
    folder = tmp_path / "model"
    assert read_description(folder / "best.safetensors").training["steps_done"] == 4
    assert read_description(folder / "last.safetensors").training["steps_done"] == 6
    assert output.read_bytes() == (folder / "best.safetensors").read_bytes()


@pytest.mark.parametrize(("batch", "by"), [(3, signal.SIGINT), (5, signal.SIGINT), (3, signal.SIGTERM)])
def test_a_stop_keeps_what_is_there_and_resume_goes_on_exactly(
    tmp_path: Path, data: Path, batch: int, by: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(data, whole) == 0
    with monkeypatch.context() as patched:
        interrupt_batch(patched, batch, by=by)
        assert start(data, broken) == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "stopped at step" in capsys.readouterr().out
    assert len(history(broken)) < 4
    assert load_checkpoint(broken / "last.safetensors")[1].name == "tiny"
    assert start(data, broken) == 2
    assert "--resume" in capsys.readouterr().err
    assert start(data, broken, "--resume") == 0
    assert figures(broken) == figures(whole)
    for name in ("best", "last"):
        expected, found = (
            load_checkpoint(folder / f"{name}.safetensors")[0].state_dict() for folder in (whole, broken)
        )
        assert all(value.equal(found[key]) for key, value in expected.items())


def test_an_epoch_beyond_the_state_is_done_once_more(tmp_path: Path, data: Path) -> None:
    """As after a crash between the history and the state."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(data, whole) == 0
    assert start(data, broken, "--epochs", "4") == 0
    state = torch.load(broken / "state.pt", weights_only=True)
    rows = history(broken)
    rows.append({**rows[-1], "epoch": 5, "step": state["progress"]["step"] + 2})
    (broken / "history.json").write_text(json.dumps(rows))
    assert start(data, broken, "--resume") == 0
    assert figures(broken) == figures(whole)


def test_a_resume_with_other_settings_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(data, tmp_path / "run", "--epochs", "1") == 0
    assert start(data, tmp_path / "run", "--epochs", "2", "--resume") == 2
    told = capsys.readouterr().err
    assert "the run was begun with epochs 1, not 2; fit.steps 2, not 4; give the same settings" in told
    assert told.count("\n") == 1


def test_what_a_recipe_says_of_itself_may_change(tmp_path: Path, data: Path) -> None:
    assert start(data, tmp_path / "run", "--epochs", "1") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["recipe"] |= {"notes": ["as it was put then"], "licence": "none yet"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert start(data, tmp_path / "run", "--epochs", "1", "--resume") == 0


def test_a_resume_without_a_run_begins_one(tmp_path: Path, data: Path) -> None:
    assert start(data, tmp_path / "run", "--epochs", "1", "--resume") == 0
    assert len(history(tmp_path / "run")) == 1


def test_a_finished_run_is_kept(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert start(data, folder, "--epochs", "2") == 0
    kept = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    capsys.readouterr()
    assert start(data, folder, "--epochs", "2") == 2
    # Nor is one whose state was deleted to save space.
    (folder / "state.pt").rename(tmp_path / "state.pt")
    assert start(data, folder, "--epochs", "2") == 2
    told = f"{folder}: there is a finished run here; give another --output, or delete the folder to train anew\n"
    assert capsys.readouterr().err == told * 2
    assert start(data, folder, "--epochs", "2", "--resume") == 2
    assert "no state to go on from" in capsys.readouterr().err
    (tmp_path / "state.pt").rename(folder / "state.pt")
    assert {file: file.read_bytes() for file in folder.iterdir() if file.is_file()} == kept
    assert start(data, folder, "--epochs", "2", "--resume") == 0
    assert len(history(folder)) == 2
    for name in ("best", "last"):
        assert (folder / f"{name}.safetensors").read_bytes() == kept[folder / f"{name}.safetensors"]


def test_a_resume_touches_nothing_of_a_finished_run(tmp_path: Path, data: Path) -> None:
    def written() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}

    output = tmp_path / "model.safetensors"
    assert start(data, output, "--epochs", "2") == 0
    before = written()
    assert start(data, output, "--epochs", "2", "--resume") == 0
    assert written() == before
    # What was moved away comes back.
    output.unlink()
    assert start(data, output, "--epochs", "2", "--resume") == 0
    assert output.read_bytes() == (tmp_path / "model" / "best.safetensors").read_bytes()


def test_a_run_cut_short_before_its_last_weights_gets_them(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunFolder, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, steps = tmp_path / "run", ("--steps", "5")
    with monkeypatch.context() as broken:
        broken.setattr(RunFolder, "finish", full)
        with pytest.raises(OSError, match="No space left"):
            start(data, folder, *steps)
    assert read_description(folder / "last.safetensors").training["steps_done"] == 4
    assert start(data, folder, *steps, "--resume") == 0
    assert read_description(folder / "last.safetensors").training["steps_done"] == 5
    before = (folder / "last.safetensors").read_bytes()
    assert start(data, folder, *steps, "--resume") == 0
    assert (folder / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_two_trainings_do_not_share_a_folder(
    tmp_path: Path, data: Path, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would write over each other's files, and both say that they are done."""
    monkeypatch.setattr(run_lock, "LINGERING", 0.1)
    program = "import sys; from pathlib import Path; from training.run_lock import only_run\n"
    program += "with only_run(Path(sys.argv[1]), resume=False): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert start(data, tmp_path / "run", *more) == 2
        told = capsys.readouterr().err
        assert f"another training is at work here (process {other.pid} " in told
        other.kill()
    # What a killed process leaves keeps nobody out.
    assert start(data, tmp_path / "run", *more) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_checkpoint_that_is_there_is_kept(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"another one")
    assert start(data, tmp_path / "model.safetensors", "--epochs", "1") == 2
    assert "model.safetensors: is there already" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == b"another one"
    assert not (tmp_path / "model").exists()


def test_weights_of_others_are_kept_by_a_resume_too(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so by torchrun, whose restarts resume."""
    beside = tmp_path / "model.safetensors"
    beside.write_bytes(b"another one")
    assert start(data, beside, "--epochs", "1", "--resume") == 2
    assert "model.safetensors: is there already, and of another run" in capsys.readouterr().err
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "best.safetensors").write_bytes(b"another one")
    assert start(data, folder, "--epochs", "1", "--resume") == 2
    assert "no state to go on from" in capsys.readouterr().err
    assert [file.read_bytes() for file in (beside, folder / "best.safetensors")] == [b"another one"] * 2
    # Of one epoch and done, its state deleted to save space.
    assert start(data, tmp_path / "short", "--epochs", "1") == 0
    kept = (tmp_path / "short" / "best.safetensors").read_bytes()
    (tmp_path / "short" / "state.pt").unlink()
    assert start(data, tmp_path / "short", "--epochs", "1", "--resume") == 2
    assert (tmp_path / "short" / "best.safetensors").read_bytes() == kept
    # Of less than an epoch, so that the history is empty.
    assert start(data, tmp_path / "shorter", "--steps", "1") == 0
    (tmp_path / "shorter" / "state.pt").unlink()
    assert start(data, tmp_path / "shorter", "--steps", "1", "--resume") == 2


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_killed_before_its_first_state_begins_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "save_state", lambda self, state, *, at_once: os.kill(os.getpid(), signal.SIGINT))
        assert start(data, output, "--epochs", "3") == 130
    assert output.is_file()
    assert not (tmp_path / "model" / "state.pt").exists()
    assert start(data, output, "--epochs", "3") == 2
    assert "there is an unfinished run here" in capsys.readouterr().err
    with monkeypatch.context() as patched:
        # And once more, in its first epoch.
        patched.setattr(RunFolder, "epoch_done", raise_interrupt)
        assert start(data, output, "--epochs", "3", "--resume") == 130
    assert start(data, output, "--epochs", "3", "--resume") == 0
    assert len(history(tmp_path / "model")) == 3


def test_a_run_that_goes_on_in_another_precision_says_so(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(fit, "has_bfloat16", lambda device: False)
    assert start(data, folder, "--epochs", "1") == 0
    monkeypatch.setattr(fit, "has_bfloat16", lambda device: True)
    capsys.readouterr()
    assert start(data, folder, "--epochs", "1", "--resume") == 0
    assert "trained in float32 so far, and in bfloat16 on this processor" in capsys.readouterr().out


def test_the_time_left_knows_that_full_resolution_takes_longer() -> None:
    halves = FitConfig(steps=400, coarse_fraction=0.5)
    done = EpochDone(epoch=2, step=200, loss=0.5, seconds=60, slices_per_second=50, learning_rate=1e-3)
    assert progress_line(done, halves).endswith("50.0 slices/s  1.0 min, about 4.0 left")
    assert step_line(StepDone(step=300, steps=400, loss=0.5, elapsed=180), halves).endswith("3.0 min, about 2.0 left")
    assert progress_line(done, FitConfig(steps=400)).endswith("1.0 min, about 1.0 left")


def test_a_long_epoch_says_how_far_it_has_come(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.train, "_SILENCE", 0.0)
    assert start(data, tmp_path / "run", "--epochs", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  loss")[0] for line in lines if "step" in line][:2] == ["  step 1/2", "  step 2/2"]


def test_the_data_must_be_the_same(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(data, tmp_path / "run", "--epochs", "1") == 0
    other = write_kaggle(tmp_path / "other", patients=4, slices=5, size=32)
    assert start(other, tmp_path / "run", "--epochs", "1", "--resume") == 2
    assert "data_fingerprint" in capsys.readouterr().err


def test_a_score_that_is_no_number_is_none_in_what_is_written(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's NaN is no JSON: nobody else could read it."""
    monkeypatch.setattr(Validation, "__call__", lambda *_: {"loss": math.nan, "dice": 0.5})
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        interrupt_batch(patched, 3)
        assert start(data, folder) == 130
    assert start(data, folder, "--resume") == 0
    assert [row["validation_loss"] for row in history(folder)] == [None] * 4
    assert "NaN" not in (folder / "history.json").read_text()
    assert read_description(folder / "best.safetensors").training["validation"] == {"loss": None, "dice": 0.5}


def test_a_plateau_without_a_validation_is_refused(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    from training.recipes import RECIPES

    recipe = tiny()
    unvalidated = replace(
        recipe,
        fit=replace(recipe.fit, schedule="plateau"),
        split=replace(recipe.split, train=1.0, validation=0.0, test=0.0),
    )
    monkeypatch.setitem(RECIPES, "tiny", lambda: unvalidated)
    assert start(data, tmp_path / "run") == 2
    assert "goes by the validation loss" in capsys.readouterr().err
