import json
import math
import sys
from pathlib import Path

import pytest
import torch

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.checkpoint import load_checkpoint, read_description
from napari_unet_seg.engine.device import DeviceChoice
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.unet import UNet
from training import cross_validate, release, run
from training.recipes import RECIPES

SHORT = ["--steps", "2", "--threads", "1"]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=4, size=32)


def folds(tmp_path: Path, patients: Path) -> tuple[Path, list[str]]:
    names = sorted(folder.name for folder in patients.iterdir() if folder.is_dir())
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": [[names[0]], [names[1]]]}))
    return file, names


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_describe_prints_the_whole_configuration(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests open napari's window in this process; networks of other libraries refuse to be beside it.
    monkeypatch.delitem(sys.modules, "napari._qt", raising=False)
    assert run.main([name, "--describe"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["parameters"] > 0
    assert described["gflop_per_slice"] > 0
    assert described["fit"]["steps"] == RECIPES[name]().fit.steps


def test_steps_are_the_same_however_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for length in (["--steps", "100"], ["--set", "fit.steps=100"]):
        assert run.main(["seed_003", "--describe", *length]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert (told[0]["epochs"], told[0]["fit"]["steps"]) == (None, 100)
    assert run.main(["seed_003", "--describe", "--epochs", "2", "--set", "fit.steps=100"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_fold_is_left_out_and_named_in_the_header(tmp_path: Path, patients: Path) -> None:
    file, names = folds(tmp_path, patients)
    output = tmp_path / "m.safetensors"
    assert run.main(["default", "--data", str(patients), "--output", str(output), "--folds", str(file), "--fold", "1",
                     *SHORT]) == 0  # fmt: skip
    description = load_checkpoint(output)[1]
    assert description.training["cases"] == [names[0]]
    assert description.training["held_out"] == [names[1]]
    assert len(description.training["data_fingerprint"]) == 64
    assert "Pedano" in description.licence


@pytest.mark.parametrize(("given", "prior"), [([], 0.018), (["prior=0.3"], 0.3), (["prior=null"], 0.5)])
def test_a_training_begins_with_the_prior(tmp_path: Path, patients: Path, given: list[str], prior: float) -> None:
    output = tmp_path / "m.safetensors"
    assert run.main(["default", "--data", str(patients), "--output", str(output), *SHORT,
                     *(word for one in given for word in ("--set", one))]) == 0  # fmt: skip
    network = load_checkpoint(output)[0]
    assert isinstance(network, UNet)
    # Two steps of a warm-up move it by little; by default it is drawn from close to 0.
    assert network.head.bias.item() == pytest.approx(math.log(prior / (1 - prior)), abs=0.4)


def test_weights_carry_the_licence_of_what_trained_them_alone(tmp_path: Path, patients: Path) -> None:
    own = tmp_path / "own"
    for number, folder in enumerate(sorted(patients.iterdir())):
        if folder.is_dir():
            (own / f"P{number}").mkdir(parents=True)
            for file in folder.iterdir():
                file.rename(own / f"P{number}" / file.name.replace(folder.name, f"P{number}"))
    assert run.main(["default", "--data", str(own), "--output", str(tmp_path / "m.safetensors"), *SHORT]) == 0
    assert load_checkpoint(tmp_path / "m.safetensors")[1].licence == ""
    assert run.main(["default", "--data", str(own), "--output", str(tmp_path / "n.safetensors"), *SHORT,
                     "--init", str(Registry().path("default"))]) == 0  # fmt: skip
    assert "Pedano" in load_checkpoint(tmp_path / "n.safetensors")[1].licence


def test_a_fold_of_another_dataset_is_refused(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, names = folds(tmp_path, patients)
    arguments = ["default", "--data", str(patients), "--output", str(tmp_path / "run"), "--folds", str(file), *SHORT]
    file.write_text(json.dumps({"folds": [[names[0], "TCGA_ZZ_0001_20000101"], [], ["TCGA_ZZ_0001_20000101"]]}))
    for fold, told in enumerate(("1 of the 2 cases to be left out", "leaves nobody out", "1 of the 1 cases")):
        assert run.main([*arguments, "--fold", str(fold)]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_patient_held_out_with_one_scan_does_not_train_with_another(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, names = folds(tmp_path, patients)
    second = names[0].replace("_20000101", "_20010101")
    (patients / second).mkdir()
    for image in (patients / names[0]).iterdir():
        (patients / second / image.name.replace(names[0], second)).write_bytes(image.read_bytes())
    arguments = ["default", "--data", str(patients), "--output", str(tmp_path / "run"), "--folds", str(file), *SHORT]
    assert run.main([*arguments, "--fold", "0"]) == 2
    assert f"{names[0]} is to be left out, but {second} of the same patient would train" in capsys.readouterr().err
    file.write_text(json.dumps({"folds": [[names[0], second]]}))
    assert run.main([*arguments, "--fold", "0"]) == 0
    assert read_description(tmp_path / "run" / "best.safetensors").training["cases"] == names[1:]


def test_a_start_that_has_seen_the_fold_is_refused(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = folds(tmp_path, patients)
    start = tmp_path / "start.safetensors"
    assert run.main(["default", "--data", str(patients), "--output", str(start), *SHORT]) == 0
    arguments = ["default", "--data", str(patients), "--output", str(tmp_path / "next.safetensors"), *SHORT]
    assert run.main([*arguments, "--init", str(start), "--folds", str(file), "--fold", "0"]) == 2
    assert "trained on 1 of the cases held out" in capsys.readouterr().err
    assert run.main([*arguments, "--init", str(start)]) == 0
    assert read_description(tmp_path / "next.safetensors").parent is not None


def test_what_the_start_was_trained_on_is_not_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (write_kaggle(tmp_path / name, patients=1, slices=4, size=32) for name in "abc")
    data = {}
    for number, folder in enumerate((first, second, third)):
        (case,) = (each for each in folder.iterdir() if each.is_dir())
        data[f"P{number}"] = folder / f"P{number}"
        data[f"P{number}"].mkdir()
        for image in case.iterdir():
            image.rename(data[f"P{number}"] / image.name.replace(case.name, f"P{number}"))
        case.rmdir()
    weights = [tmp_path / f"{number}.safetensors" for number in range(3)]
    start: list[str] = []
    for folder, output in zip((first, second, third), weights, strict=True):
        assert run.main(["default", "--data", str(folder), "--output", str(output), *SHORT, *start]) == 0
        start = ["--init", str(output)]
    described = read_description(weights[2])
    assert described.training["cases"] == ["P2"]
    assert described.training["cases_before"] == ["P0", "P1"]
    assert described.trained_patients == {"P0", "P1", "P2"}
    # Nor is it two trainings later, where the first one's patient is held out.
    (first / "P3").mkdir()
    for image in data["P0"].iterdir():
        (first / "P3" / image.name.replace("P0", "P3")).write_bytes(image.read_bytes())
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": [["P0"]]}))
    arguments = ["default", "--data", str(first), "--output", str(tmp_path / "next"), *SHORT, *start]
    assert run.main([*arguments, "--folds", str(file), "--fold", "0"]) == 2
    assert "trained on 1 of the cases held out" in capsys.readouterr().err


def test_data_without_masks_is_refused(tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for mask in patients.rglob("*_mask.tif"):
        mask.unlink()
    assert run.main(["default", "--data", str(patients), "--output", str(tmp_path / "m.safetensors"), *SHORT]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", [None, "no JSON", '{"parts": []}', "[]"])
def test_a_file_without_folds_is_one_clear_line(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = tmp_path / "folds.json"
    if content is not None:
        file.write_text(content)
    arguments = ["--data", str(patients), "--folds", str(file), "--fold", "0", "--output", str(tmp_path / "m")]
    assert run.main(["default", *arguments, *SHORT]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: ")


def test_a_release_carries_its_scores_and_the_same_weights(tmp_path: Path, patients: Path) -> None:
    file, _ = folds(tmp_path, patients)
    outputs, scored = [tmp_path / f"fold_{fold}.safetensors" for fold in range(2)], tmp_path / "scored"
    for fold, output in enumerate(outputs):
        arguments = ["--data", str(patients), "--output", str(output), "--folds", str(file), "--fold", str(fold)]
        assert run.main(["default", *arguments, *SHORT]) == 0
    scoring = ["--data", str(patients), "--output", str(scored), "--threads", "1"]
    assert cross_validate.main([*scoring, "--checkpoints", *map(str, outputs)]) == 0
    scores = scored / "cross_validation.json"
    assert release.main([str(output), "--metrics", str(scores), "--destination", str(tmp_path / "out")]) == 0
    network, description = load_checkpoint(tmp_path / "out" / "default.safetensors")
    assert description.metrics["cases"] == 2
    assert "never saw" in description.metrics["protocol"]
    for name, value in load_checkpoint(output)[0].state_dict().items():
        assert value.equal(network.state_dict()[name])


def test_a_graphics_card_that_fails_is_named_and_the_processor_trains(
    tmp_path: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note = "CPU with 2 cores, float32; the graphics card fails (no kernel image)"
    choice = DeviceChoice(device=torch.device("cpu"), precision=torch.float32, note=note)
    monkeypatch.setattr("training.train.choose_device", lambda: choice)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert run.main(["default", "--data", str(patients), "--output", str(tmp_path / "run"), *SHORT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == note
    assert any(line.endswith("to validate on, on cpu") for line in lines)


def test_want_of_memory_says_what_to_do(
    tmp_path: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: UNet, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(UNet, "logits", fail)
    output = tmp_path / "run"
    assert run.main(["default", "--data", str(patients), "--output", str(output), *SHORT]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("the memory of cpu is not enough for batches of ")
    assert "--set fit.batch_size=N" in said
    assert said.endswith(str(output))
