from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores
from napari_unet_seg.engine.metrics import Counts
from napari_unet_seg.errors import InputError
from tests.engine.models import SMALL, save_small
from tests.training.test_run_folder import interrupt_batch
from training import compare, cross_validate
from training.report.fold_plan import plan_folds
from training.report.fold_scores import FoldScores, score_fold
from training.report.out_of_fold import gather, group_row
from training.run_folder import RunFolder
from training.split import read_folds

SHORT = ["--steps", "2", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=3, slices=4, size=32)


def names(patients: Path) -> list[str]:
    return sorted(folder.name for folder in patients.iterdir() if folder.is_dir())


def checkpoint(path: Path, *, held_out: list[str], cases: list[str], seed: int = 0) -> Path:
    network, description = load_checkpoint(save_small(path, seed=seed))
    training = {"recipe": "small", "held_out": held_out, "cases": cases}
    save_checkpoint(path, network, dataclasses.replace(description, training=training))
    return path


def scored(case: str, *, dice: float = 0.5, volume: float = 1.0) -> CaseScores:
    return CaseScores(
        case=case, dice=dice, iou=dice, hd95_mm=None, precision=1, recall=1, volume_ml_true=volume, volume_ml_pred=1
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with the checkpoints that `fold` speaks of."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        save_small(tmp_path / f"fold_{number}.safetensors", seed=number)


def fold(number: int, *cases: CaseScores, recipe: str = "small", training: dict[str, Any] | None = None) -> FoldScores:
    one = SliceScores(counts=Counts(tp=1), pixels=4, soft_overlap=1, soft_sum=1)
    return FoldScores(
        fold=number, checkpoint=Path(f"fold_{number}.safetensors"), sha256="", recipe=recipe, training=training or {},
        spacing_assumed=0, cases=list(cases), slices=[one] * len(cases),
    )  # fmt: skip


def test_folds_as_jobs_gathered_are_the_folds_in_one_run(tmp_path: Path, patients: Path) -> None:
    arguments = ["default", "--data", str(patients), "--count", "3", "--worst", "1", *SHORT]
    assert cross_validate.main([*arguments, "--output", str(tmp_path / "once")]) == 0
    for number in ("2", "0", "1"):
        assert cross_validate.main([*arguments, "--output", str(tmp_path / "jobs"), "--fold", number]) == 0
    assert not (tmp_path / "jobs" / "report.html").exists()
    gathered = ["--data", str(patients), "--output", str(tmp_path / "jobs"), "--worst", "1", *SHORT[2:], "--gather"]
    assert cross_validate.main(gathered) == 0
    once, jobs = (json.loads((tmp_path / name / "cross_validation.json").read_text()) for name in ("once", "jobs"))
    assert once["cases"] == jobs["cases"]
    assert once["summary"] == jobs["summary"]
    assert sorted(case["case"] for case in once["cases"]) == names(patients)
    for number in range(3):
        held_out = read_folds(tmp_path / "once" / "folds.json")[number]
        description = load_checkpoint(tmp_path / "once" / f"fold_{number}.safetensors")[1]
        assert description.training["held_out"] == held_out
        assert not set(description.training["cases"]) & set(held_out)


def test_checkpoints_are_scored_on_what_they_hold_out_and_the_rest_is_named(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = names(patients)
    files = [
        checkpoint(tmp_path / "a.safetensors", held_out=[first], cases=[second, third]),
        checkpoint(tmp_path / "b.safetensors", held_out=[third], cases=[first, second], seed=1),
    ]
    output = tmp_path / "out"
    arguments = ["--data", str(patients), "--output", str(output), "--checkpoints", *map(str, files), *SHORT[2:]]
    assert cross_validate.main(arguments) == 0
    result = json.loads((output / "cross_validation.json").read_text())
    assert {case["case"]: case["fold"] for case in result["cases"]} == {first: 0, third: 1}
    assert "1 of the 3 patients" in result["missing"]
    assert [row["cases"] for row in result["folds"]] == [1, 1]
    page = (output / "report.html").read_text()
    assert "1 of the 3 patients" in page
    assert "The files of 2 patients do not say how large a voxel is" in page
    assert first in page
    # Nothing is fetched from elsewhere.
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert page.count("data:image/png;base64,") >= 3
    assert "2 cases" in capsys.readouterr().out


def test_scores_of_checkpoints_elsewhere_can_be_compared(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = names(patients)
    (tmp_path / "models").mkdir()
    files = [
        checkpoint(tmp_path / "models" / "a.safetensors", held_out=[first], cases=[second, third]),
        checkpoint(tmp_path / "models" / "b.safetensors", held_out=[third], cases=[first, second], seed=1),
    ]
    arguments = ["--data", str(patients), "--worst", "0", *SHORT[2:], "--output", str(tmp_path / "scored")]
    assert cross_validate.main([*arguments, "--checkpoints", *map(str, files)]) == 0
    # Both may be moved together.
    (tmp_path / "runs").mkdir()
    for name in ("models", "scored"):
        (tmp_path / name).rename(tmp_path / "runs" / name)
    folds = compare.read_run(tmp_path / "runs" / "scored")
    assert [case.case for fold in folds for case in fold.cases] == [first, third]
    arguments[-1] = str(tmp_path / "runs" / "scored")
    files = [tmp_path / "runs" / "models" / file.name for file in files]
    assert cross_validate.main([*arguments, "--checkpoints", *map(str, files)]) == 0
    capsys.readouterr()
    # What was scored of others does not stay beside.
    assert cross_validate.main([*arguments, "--checkpoints", str(files[0])]) == 2
    assert "fold_1.json: holds scores of another model" in capsys.readouterr().err


def test_a_scan_that_cannot_be_read_is_named_before_the_first_is_predicted(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = names(patients)
    files = [
        checkpoint(tmp_path / "a.safetensors", held_out=[first], cases=[second, third]),
        checkpoint(tmp_path / "b.safetensors", held_out=[third], cases=[first, second], seed=1),
    ]
    (patients / third / f"{third}_1.tif").write_bytes(b"no picture")
    arguments = ["--data", str(patients), *SHORT[2:], "--output", str(tmp_path / "scored")]
    assert cross_validate.main([*arguments, "--checkpoints", *map(str, files)]) == 2
    told = capsys.readouterr()
    assert f"{third}_1.tif: " in told.err
    assert "Dice" not in told.out


def test_pictures_whose_names_tell_no_patient_are_told_of(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number, name in enumerate(("other", "patient1_slice1", "patient2_slice1")):
        volume, mask = make_phantom(slices=4, size=32, seed=number)
        picture = Image.fromarray(np.moveaxis(volume.data[:, 2], 0, -1))
        picture.save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray(mask[2] * np.uint8(255)).save(tmp_path / "data" / "masks" / f"{name}.png")
    file = checkpoint(tmp_path / "m.safetensors", held_out=["other", "patient1_slice1"], cases=["patient2_slice1"])
    arguments = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--checkpoints", str(file)]
    assert cross_validate.main([*arguments, *SHORT[2:]]) == 0
    assert json.loads((tmp_path / "out" / "cross_validation.json").read_text())["patients_assumed"] == 1
    assert "The names of 1 pictures tell no patient" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("held_out", "cases", "problem"),
    [
        ([], ["TCGA_XX_1001_20000101"], "names no held-out cases"),
        (["TCGA_XX_1000_20000101"], ["TCGA_XX_1000_20010101"], "held out and trained on"),
        (["TCGA_XX_1009_20000101"], [], "there is no case"),
    ],
)
def test_a_checkpoint_that_cannot_be_scored_is_one_clear_line(
    tmp_path: Path, patients: Path, held_out: list[str], cases: list[str], problem: str
) -> None:
    file = checkpoint(tmp_path / "m.safetensors", held_out=held_out, cases=cases)
    with pytest.raises(InputError, match=problem):
        score_fold(file, open_dataset(patients), fold=0, device="cpu")


def test_a_checkpoint_that_began_with_one_trained_on_its_held_out_cases_is_refused(
    tmp_path: Path, patients: Path
) -> None:
    first, second, _ = names(patients)
    file = checkpoint(tmp_path / "m.safetensors", held_out=[first], cases=[second])
    network, description = load_checkpoint(file)
    training = {**description.training, "cases_before": [first]}
    save_checkpoint(file, network, dataclasses.replace(description, training=training))
    with pytest.raises(InputError, match="held out and trained on"):
        score_fold(file, open_dataset(patients), fold=0, device="cpu")


def test_scores_of_a_checkpoint_that_was_written_anew_are_refused(tmp_path: Path, patients: Path) -> None:
    first, *others = names(patients)
    file = checkpoint(tmp_path / "fold_0.safetensors", held_out=[first], cases=others)
    scores = score_fold(file, open_dataset(patients), fold=0, device="cpu")
    scores.save(tmp_path / "fold_0.json")
    assert scores.slice_counts == [len(scores.slices)] == [4]
    assert FoldScores.load(tmp_path / "fold_0.json") == scores
    checkpoint(file, held_out=[first], cases=others, seed=1)
    with pytest.raises(InputError, match="written anew"):
        FoldScores.load(tmp_path / "fold_0.json")
    file.unlink()
    with pytest.raises(InputError, match="not beside it"):
        FoldScores.load(tmp_path / "fold_0.json")
    (tmp_path / "fold_0.json").write_text('{"checkpoint": 3}')
    with pytest.raises(InputError, match="holds no scores"):
        FoldScores.load(tmp_path / "fold_0.json")


def test_a_case_in_two_folds_and_two_recipes_are_refused() -> None:
    with pytest.raises(InputError, match=r"fold_1.*held out by another checkpoint too: fold_0"):
        gather([fold(0, scored("a")), fold(1, scored("a"))])
    with pytest.raises(InputError, match="different recipes: large, small"):
        gather([fold(0, scored("a")), fold(1, scored("b"), recipe="large")])


ONE_WAY = {"epochs": None, "fit": {"steps": 4, "loss": "dice", "seed": 0, "augment": {"flip": 0.5, "shift": 0}}}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"fit": ONE_WAY["fit"] | {"steps": 8}}, "fit.steps 8, not 4; train all folds with the same"),
        ({"fit": ONE_WAY["fit"] | {"augment": {"flip": 0, "shift": 0}}}, "fit.augment.flip 0, not 0.5;"),
        ({"fit": ONE_WAY["fit"] | {"augment": None}}, "fit.augment;"),
        ({"epochs": 2}, "epochs 2, not null;"),
        ({"fit": {"steps": 8, "loss": "bce"}}, 'fit.steps 8, not 4; fit.loss "bce", not "dice";'),
    ],
)
def test_folds_that_were_trained_with_other_settings_are_refused(change: dict[str, Any], problem: str) -> None:
    folds = [fold(0, scored("a"), training=ONE_WAY), fold(1, scored("b"), training=ONE_WAY | change)]
    wanted = f"fold_1.safetensors: was trained with other settings than fold_0.safetensors: {problem}"
    with pytest.raises(InputError, match=re.escape(wanted)):
        gather(folds)


@pytest.mark.usefixtures("here")
def test_folds_of_other_networks_are_refused() -> None:
    save_small(Path("fold_1.safetensors"), config=dataclasses.replace(SMALL, dropout=0.5))
    with pytest.raises(InputError, match=r"network\.dropout 0\.5, not 0\.0"):
        gather([fold(0, scored("a")), fold(1, scored("b"))])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "change",
    [
        # Chance is no setting.
        {"fit": ONE_WAY["fit"] | {"seed": 1}},
        {"fit": ONE_WAY["fit"] | {"augment": {"flip": 0.5, "shift": 0.0}}},
        # An older version did not write as much.
        {"fit": {"steps": 4}},
        {"fit": ONE_WAY["fit"], "split": {"kind": "patients"}},
    ],
)
def test_folds_that_were_trained_alike_go_together(change: dict[str, Any]) -> None:
    folds = [fold(0, scored("a"), training=ONE_WAY), fold(1, scored("b"), training=ONE_WAY | change)]
    assert gather(folds)["summary"]["cases"] == 2


@pytest.mark.usefixtures("here")
def test_steps_follow_from_epochs_and_the_size_of_the_fold() -> None:
    """A fold more slices, a batch more in every epoch."""
    lengths = [{"epochs": 2, "fit": {"steps": steps}} for steps in (20, 22)]
    folds = [fold(number, scored(str(number)), training=training) for number, training in enumerate(lengths)]
    assert gather(folds)["summary"]["cases"] == 2


@pytest.mark.usefixtures("here")
def test_groups_by_site_and_by_thirds_of_the_volume() -> None:
    cases = [
        scored("TCGA_CS_0001_1", dice=0.9, volume=50),
        scored("TCGA_CS_0002_1", dice=0.7, volume=1),
        scored("TCGA_DU_0003_1", dice=0.5, volume=9),
        scored("TCGA_DU_0004_1", dice=0.3, volume=8),
        scored("TCGA_DU_0005_1", dice=0.1, volume=2),
        scored("own_scan", dice=0.2, volume=60),
    ]
    result = gather([fold(0, *cases[:3]), fold(1, *cases[3:])])
    sites = {row["group"]: (row["cases"], row["volume_dice_mean"]) for row in result["by_site"]}
    assert sites == {"": (1, 0.2), "CS": (2, pytest.approx(0.8)), "DU": (3, pytest.approx(0.3))}
    assert next(row for row in result["by_site"] if not row["group"])["volume_dice_ci95"] is None
    sizes = [(row["group"], row["volume_ml_from"], row["volume_ml_to"]) for row in result["by_size"]]
    assert sizes == [("small", 1, 2), ("medium", 8, 9), ("large", 50, 60)]
    assert result["by_size"][0]["volume_dice_mean"] == pytest.approx(0.4)
    assert [case["dice"] for case in result["cases"]] == [0.1, 0.2, 0.3, 0.5, 0.7, 0.9]
    low, high = result["summary"]["volume_dice_ci95"]
    assert low < np.mean([case.dice for case in cases]) < high


@pytest.mark.usefixtures("here")
def test_the_interval_of_a_group_is_over_patients() -> None:
    scans = [scored(f"TCGA_CS_0001_{year}", dice=0.9) for year in (1996, 1997, 1998)]
    result = gather([fold(0, *scans), fold(1, scored("TCGA_DU_0002_1999", dice=0.1))])
    assert [row["volume_dice_ci95"] for row in result["by_site"]] == [None, None]
    rows = result["cases"]
    assert group_row("all", rows)["volume_dice_mean"] == pytest.approx(0.7)
    assert group_row("all", rows)["volume_dice_ci95"] == pytest.approx([0.1, 0.9])


def test_finished_folds_are_kept(tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["default", "--data", str(patients), "--count", "3", "--worst", "1", "--output", str(tmp_path), *SHORT]
    assert cross_validate.main([*arguments, "--fold", "1"]) == 0
    kept = (tmp_path / "fold_1.safetensors").read_bytes()
    # Before the first fold is trained.
    assert cross_validate.main(arguments) == 2
    assert "fold_1: there is a finished run here" in capsys.readouterr().err
    assert not (tmp_path / "fold_0").exists()
    assert cross_validate.main([*arguments, "--resume"]) == 0
    first, then = (file.read_bytes() for file in (tmp_path / "fold_0.safetensors", tmp_path / "fold_1.safetensors"))
    assert (len(first) > 0, then) == (True, kept)


def test_a_fold_that_ctrl_c_ended_is_not_scored_and_can_be_gone_on_with(
    tmp_path: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["default", "--data", str(patients), "--count", "3", "--worst", "0", "--output", str(tmp_path / "cv")]
    arguments += ["--steps", "3", *SHORT[2:]]
    with monkeypatch.context() as patched:
        # In the middle of the second fold.
        interrupt_batch(patched, 5)
        assert cross_validate.main(arguments) == 130
    told = capsys.readouterr()
    assert "stopped at step 2" in told.out
    assert told.err == "stopped\n"
    assert [file.name for file in sorted((tmp_path / "cv").glob("fold_*.json"))] == ["fold_0.json"]
    gathering = ["--data", str(patients), "--output", str(tmp_path / "cv"), "--worst", "0", *SHORT[2:], "--gather"]
    assert cross_validate.main(gathering) == 0
    assert "fold_1.safetensors is half trained" in capsys.readouterr().out
    assert cross_validate.main([*arguments, "--resume"]) == 0
    assert "going on from step 2 of 3" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "cv" / "cross_validation.json").read_text())["folds"]) == 3


def test_a_fold_that_the_disk_had_no_room_for_is_not_scored(
    tmp_path: Path, patients: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state is larger than the weights: of the first epoch there may be these alone."""
    arguments = ["default", "--data", str(patients), "--count", "3", "--output", str(tmp_path / "cv"), "--fold", "0"]
    arguments += ["--steps", "2", "--set", "fit.steps_per_epoch=1", *SHORT[2:]]

    def full(*_: object, **__: object) -> None:
        raise InputError("cannot be written (no space left on device)")

    monkeypatch.setattr(RunFolder, "save_state", full)
    assert cross_validate.main(arguments) == 2
    assert (tmp_path / "cv" / "fold_0.safetensors").is_file()
    gathering = ["--data", str(patients), "--output", str(tmp_path / "cv"), "--worst", "0", *SHORT[2:], "--gather"]
    assert cross_validate.main(gathering) == 2
    assert "fold_0.safetensors is half trained" in capsys.readouterr().out
    # Nor as one that somebody names.
    scoring = ["--data", str(patients), "--output", str(tmp_path / "out"), *SHORT[2:], "--checkpoints"]
    assert cross_validate.main([*scoring, str(tmp_path / "cv" / "fold_0.safetensors")]) == 2
    assert "is half trained, 1 of 2 steps; go on with the run by --resume" in capsys.readouterr().err


def test_steps_that_are_set_are_trained(tmp_path: Path, patients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(cross_validate, "run_fold", lambda recipe, *_, **__: trained.append(recipe))
    arguments = ["seed_001", "--data", str(patients), "--count", "3", "--fold", "0", "--output", str(tmp_path / "out")]
    assert cross_validate.main([*arguments, "--threads", "1", "--set", "fit.steps=100"]) == 0
    assert [(recipe.epochs, recipe.fit.steps) for recipe in trained] == [(None, 100)]


@pytest.mark.parametrize(
    ("folds", "problem"),
    [
        ([["TCGA_CS_0001_1"], ["TCGA_CS_0002_1"]], "1 of 3 cases are in no fold"),
        ([["TCGA_CS_0001_1", "TCGA_CS_0002_1", "TCGA_CS_0003_1"], ["TCGA_CS_0009_1"]], "has no case of this dataset"),
        ([["TCGA_CS_0001_1", "TCGA_CS_0002_1"], ["TCGA_CS_0002_1", "TCGA_CS_0003_1"]], "TCGA_CS_0002_1 is in two"),
    ],
)
def test_folds_that_do_not_fit_the_dataset_give_way_to_drawn_ones(
    tmp_path: Path, folds: list[list[str]], problem: str
) -> None:
    labelled = ["TCGA_CS_0001_1", "TCGA_CS_0002_1", "TCGA_CS_0003_1"]
    file = tmp_path / "lgg_folds.json"
    file.write_text(json.dumps({"folds": folds}))
    plan = plan_folds(labelled, file=file, count=3)
    assert sorted(plan.folds) == [[case_id] for case_id in labelled]
    assert "lgg_folds.json was not used" in plan.source
    assert problem in plan.source


def test_folds_that_split_a_patient_give_way_and_those_that_fit_are_kept(tmp_path: Path) -> None:
    labelled = ["TCGA_CS_0001_1", "TCGA_CS_0001_2", "TCGA_CS_0003_1"]
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"folds": [[labelled[0]], labelled[1:]]}))
    assert "patient TCGA_CS_0001 is in two folds" in plan_folds(labelled, file=file, count=2).source
    # Cases that are not there are no obstacle.
    file.write_text(json.dumps({"folds": [[*labelled[:2], "TCGA_HT_0001_1"], labelled[2:]]}))
    plan = plan_folds(labelled, file=file)
    assert plan.folds == [labelled[:2], labelled[2:]]
    assert plan.source == "folds.json"


def test_a_folder_with_other_folds_is_left_alone(tmp_path: Path) -> None:
    plan = plan_folds(["a", "b", "c", "d"], count=2)
    plan.save(tmp_path / "folds.json")
    plan.save(tmp_path / "folds.json")
    with pytest.raises(InputError, match="other folds"):
        plan_folds(["a", "b", "c", "d"], count=4).save(tmp_path / "folds.json")
    assert read_folds(tmp_path / "folds.json") == plan.folds


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["default", "--count", "3", "--fold", "7"], "there is no fold 7"),
        (["default", "--folds", "nowhere.json"], "no such file"),
        (["--gather"], "folds.json: there is no such file"),
        (["default", "--count", "9"], "3 patients cannot"),
        (["default", "--count", "3", "--seed", "-1"], "must not be negative, got -1"),
        (["default", "--count", "3", "--epochs", "0"], "--epochs must be positive, got 0"),
        (["default", "--count", "3", "--steps", "0"], "--steps must be positive, got 0"),
        (["seed_001", "--count", "3", "--set", "fit.steps=9", "--set", "epochs=2"], "one or the other"),
    ],
)
def test_bad_input_is_one_line_and_status_two(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str], arguments: list[Any], problem: str
) -> None:
    given = [*arguments, "--data", str(patients), "--output", str(tmp_path / "out"), "--threads", "1"]
    assert cross_validate.main(given) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
