from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.data.splits import LEAKY, Split, by_patient, by_slice
from napari_unet_seg.engine.checkpoint import read_description
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.errors import InputError
from tests.engine.models import SMALL, save_small
from tests.training.pictures import write_pictures
from tests.training.test_run_folder import interrupt_batch
from tests.training.untrained import untrained
from training import reproduce
from training.recipe import Recipe, SplitConfig
from training.report.honest import FROM_LEAKED, SINGLE_PICTURES, WHOLE_PATIENTS, honest_scores
from training.report.reproduction import evaluate_recipe, length
from training.report.reproduction_table import reproduction_table
from training.report.seed_scores import on_grid, predict_slices, seed_figures, telling_slices
from training.seed_metrics import soft_dice
from training.split import make_split

pytestmark = pytest.mark.usefixtures("one_thread")

PATIENTS, SLICES = 6, 5


@pytest.fixture
def lgg(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=PATIENTS, slices=SLICES, size=32)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Single RGB pictures in the folders ``train``, ``valid`` and ``test`` with masks beside."""
    return write_pictures(tmp_path / "pictures")


def recipe(name: str, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": name,
        "network": SMALL,
        "fit": FitConfig(steps=1, batch_size=4, patch=(32, 32), ema_decay=0),
        "epochs": 2,
        "split": SplitConfig(kind="slices", train=0.7, validation=0.15, test=0.15, seed=1),
        "metric_smooth": 100.0,
        "reported": {"test": {"dice": 0.9225, "iou": 0.857}, "validation": {"dice": 0.8915, "iou": 0.8059}},
    }
    return Recipe(**values | changes)


GIVEN = SplitConfig(kind="given", train=0.8, validation=0.1, test=0.1, seed=0)


def test_recipes_end_in_a_table_that_says_what_is_leaky_and_what_is_short(
    tmp_path: Path, lgg: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {
        "seed_000": lambda: recipe("seed_000"),
        "seed_000_128": lambda: recipe("seed_000_128"),
        "seed_004": lambda: recipe("seed_004", split=GIVEN, channel_names=("red", "green", "blue"), reported={}),
    }
    monkeypatch.setattr(reproduce, "RECIPES", recipes)
    output = tmp_path / "out"
    arguments = ["--data", str(lgg), "--coco", str(pictures), "--output", str(output), "--epochs", "1"]
    arguments += ["--threads", "1", "--device", "cpu", "--recipes", *recipes]
    monkeypatch.setattr(reproduce, "train", train_nothing)
    assert reproduce.main([*arguments, "--by-patient"]) == 0
    rows = {row["recipe"]: row for row in json.loads((output / "reproduction.json").read_text())["recipes"]}
    assert list(rows) == ["seed_000", "seed_000_by_patient", "seed_000_128", "seed_000_128_by_patient", "seed_004"]
    leaky = rows["seed_000"]
    assert leaky["split"]["label"] == LEAKY
    assert leaky["honest"]["kind"] == FROM_LEAKED
    assert list(leaky["seed_metrics"]) == ["validation", "test"]
    assert leaky["length"] == {"text": "1 of 2 epochs, reduced length", "reduced": True, "epochs": 1, "full": 2}
    held = rows["seed_000_by_patient"]
    assert (held["split"]["label"], held["split"]["leaky"]) == ("split by patient", False)
    assert held["honest"]["kind"] == WHOLE_PATIENTS
    assert held["reported"] == {}
    assert rows["seed_004"]["honest"]["kind"] == SINGLE_PICTURES
    assert rows["seed_004"]["split"]["label"] == "folders as given"
    table = (output / "reproduction.md").read_text()
    assert table in capsys.readouterr().out
    line = next(line for line in table.splitlines() if "| test, " in line)
    for cell in ("slice split (leaky)", "0.9225 / 0.8570", "(leaked)", "leaked patients: no patient was left out"):
        assert cell in line
    assert "reduced length" in table
    for figure in ("seed_000.png", "seed_004.png", "curves.png", "sizes.png", "sizes_examples.png"):
        with Image.open(output / figure) as picture:
            assert picture.size[0] > 300


def train_nothing(recipe: Recipe, *, data: Path, output: Path, **_: Any) -> Path:
    output.mkdir(parents=True)
    rows = [{"epoch": epoch + 1, "validation_loss": 0.5, "validation_dice": 0.4} for epoch in range(recipe.epochs)]
    (output / "history.json").write_text(json.dumps(rows))
    return untrained(output / "best.safetensors", recipe, data=data)


def test_a_recipe_is_trained_and_scored_on_the_slices_it_left_out(tmp_path: Path, lgg: Path) -> None:
    small = recipe("small", split=SplitConfig(kind="patients", train=0.6, validation=0.2, test=0.2, seed=2))
    result = reproduce.reproduce([small], lgg=lgg, coco=None, output=tmp_path / "out", epochs=1, device="cpu")
    (row,) = result["recipes"]
    trained = load_model(row["checkpoint"], device="cpu").description.training
    assert not set(trained["cases"]) & {case["case"] for case in row["honest"]["cases"]}
    assert {case["case"] for case in row["honest"]["cases"]} == set(trained["held_out"])
    again = reproduce.reproduce(
        [small], lgg=lgg, coco=None, output=tmp_path / "out", epochs=1, train_them=False, device="cpu"
    )
    assert again["recipes"][0]["seed_metrics"] == row["seed_metrics"]
    assert again["recipes"][0]["sha256"] == row["sha256"]


def test_a_dataset_that_is_needed_and_not_given_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed_x needs the dataset of --coco"):
        reproduce.reproduce([recipe("seed_x", split=GIVEN)], lgg=tmp_path, coco=None, output=tmp_path)
    with pytest.raises(InputError, match="seed_y needs the dataset of --data"):
        reproduce.reproduce([recipe("seed_y")], lgg=None, coco=tmp_path, output=tmp_path)


UNSCORED = SplitConfig(kind="patients", train=1.0, validation=0.0, test=0.0)


@pytest.mark.parametrize(
    ("split", "coco", "problem"),
    [
        (GIVEN, None, "second needs the dataset of --coco"),
        (GIVEN, "nowhere", "nowhere: "),
        (GIVEN, "pictures", "pictures: the split of second leaves no slice to validate or test"),
        (UNSCORED, None, "^the split of second leaves no slice .* use training.cross_validate"),
    ],
)
def test_what_the_last_recipe_lacks_is_said_before_the_first_is_trained(
    tmp_path: Path, lgg: Path, pictures: Path, split: SplitConfig, coco: str | None, problem: str
) -> None:
    for folder in ("valid", "test", "val_mask", "test_mask"):
        shutil.rmtree(pictures / folder)
    recipes = [recipe("first"), recipe("second", split=split)]
    with pytest.raises(InputError, match=problem):
        reproduce.reproduce(recipes, lgg=lgg, coco=tmp_path / coco if coco else None, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_ctrl_c_ended_is_not_scored_and_can_be_gone_on_with(
    tmp_path: Path, lgg: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "RECIPES", {"seed_000": lambda: recipe("seed_000", epochs=None)})
    arguments = ["--data", str(lgg), "--output", str(tmp_path / "out"), "--recipes", "seed_000", "--epochs", "1"]
    arguments += ["--device", "cpu", "--threads", "1"]
    with monkeypatch.context() as patched:
        interrupt_batch(patched, 2)
        assert reproduce.main(arguments) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert not (tmp_path / "out" / "reproduction.json").exists()
    assert reproduce.main([*arguments, "--resume"]) == 0
    assert "going on from step 2 of" in capsys.readouterr().out


def test_the_sizes_are_compared_even_if_a_later_recipe_fails(
    tmp_path: Path, lgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(recipe: Recipe, **where: Any) -> Path:
        if recipe.name == "other":
            raise InputError("the disk is full")
        return train_nothing(recipe, **where)

    monkeypatch.setattr(reproduce, "train", train)
    recipes = [recipe(name) for name in ("seed_000_128", "seed_000", "other")]
    with pytest.raises(InputError, match="the disk is full"):
        reproduce.reproduce(recipes, lgg=lgg, coco=None, output=tmp_path / "out", device="cpu")
    assert (tmp_path / "out" / "sizes.png").exists()
    assert (tmp_path / "out" / "sizes_examples.png").exists()


def test_what_an_earlier_call_found_of_other_recipes_is_kept(
    tmp_path: Path, lgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "train", train_nothing)
    output, drawn = tmp_path / "out", []
    where: dict[str, Any] = {"lgg": lgg, "coco": None, "output": output, "device": "cpu"}
    monkeypatch.setattr(reproduce, "save_curves", lambda path, histories: drawn.append(set(histories)))
    reproduce.reproduce([recipe("seed_000"), recipe("other")], **where)
    first = json.loads((output / "reproduction.json").read_text())["recipes"]
    # The other size, and one of those that are there once more.
    result = reproduce.reproduce([recipe("seed_000_128")], **where)
    again = reproduce.reproduce([recipe("other", notes=("scored once more",))], **where, train_them=False)
    assert [row["recipe"] for row in result["recipes"]] == ["seed_000", "other", "seed_000_128"]
    rows = json.loads((output / "reproduction.json").read_text())["recipes"]
    assert rows == json.loads(json.dumps(again["recipes"]))
    assert (rows[0], rows[1]["notes"]) == (first[0], ["scored once more"])
    table = (output / "reproduction.md").read_text()
    assert all(f"| {name} |" in table for name in ("seed_000", "other", "seed_000_128"))
    assert drawn[-1] == {"seed_000", "other", "seed_000_128"}
    assert (output / "sizes.png").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"recipes": [{"recipe": "seed_000"}]}'])
def test_a_result_that_cannot_be_read_is_not_replaced(tmp_path: Path, lgg: Path, content: str) -> None:
    (tmp_path / "reproduction.json").write_text(content)
    with pytest.raises(InputError, match=r"reproduction\.json: is no result of training\.reproduce"):
        reproduce.reproduce([recipe("small")], lgg=lgg, coco=None, output=tmp_path, device="cpu")
    assert (tmp_path / "reproduction.json").read_text() == content
    assert not (tmp_path / "runs").exists()


def test_no_epochs_are_refused(tmp_path: Path, lgg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(lgg), "--output", str(tmp_path / "out"), "--recipes", "seed_000", "--threads", "1"]
    assert reproduce.main([*arguments, "--epochs", "0"]) == 2
    assert capsys.readouterr().err == "--epochs must be positive, got 0\n"


def test_the_figures_of_a_project_are_over_batches_in_the_drawn_order(tmp_path: Path, lgg: Path) -> None:
    dataset, segmenter = open_dataset(lgg), load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    split = make_split(recipe("any").split, dataset)
    predicted = predict_slices(segmenter, dataset, split.train, size=None)
    assert predicted.slices == split.train
    figures = seed_figures(predicted, smooth=100, batch_size=16)
    wanted = []
    for start in (0, 16):
        y = [dataset[case].read_mask()[z] for case, z in split.train[start : start + 16]]
        p = [segmenter.predict(dataset[case].read_image())[z] for case, z in split.train[start : start + 16]]
        wanted.append(float(soft_dice(torch.from_numpy(np.stack(y)), torch.from_numpy(np.stack(p)), 100)))
    assert figures["dice"] == pytest.approx(np.mean(wanted), abs=1e-4)
    assert figures["slices"] == len(split.train) == 21
    with pytest.raises(InputError, match="no slice to score"):
        predict_slices(segmenter, dataset, (), size=None)


def test_leaked_figures_count_the_slices_of_the_part_and_no_other(tmp_path: Path, lgg: Path) -> None:
    dataset, segmenter = open_dataset(lgg), load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    slices = {case.case_id: range(SLICES) for case in dataset}
    split = by_slice(slices, train=0.7, validation=0.0, test=0.3, seed=0)
    found = honest_scores(segmenter, dataset, split, "test")
    assert found.kind == FROM_LEAKED
    assert [case["case"] for case in found.cases] == list(split.by_case("test"))
    for case in found.cases:
        truth = dataset[case["case"]].read_mask()[split.by_case("test")[case["case"]]]
        assert case["volume_ml_true"] == pytest.approx(truth.sum() / 1000)
        assert case["hd95_mm"] is None
    whole = honest_scores(segmenter, dataset, by_patient(slices, train=0.5, validation=0.0, test=0.5), "test")
    assert whole.kind == WHOLE_PATIENTS
    assert "3 patients" in whole.remark
    volumes = {case["case"]: case["volume_ml_true"] for case in whole.cases}
    assert volumes == {case_id: pytest.approx(dataset[case_id].read_mask().sum() / 1000) for case_id in volumes}


def test_image_and_mask_come_to_the_size_of_the_network() -> None:
    volume, mask = make_phantom(slices=3, size=64, seed=0)
    small, small_mask = on_grid(volume, mask, (32, 16))
    assert small.shape == (3, 32, 16)
    assert small.data.dtype == np.uint8
    assert small.spacing == pytest.approx((volume.spacing[0], 2 * volume.spacing[1], 4 * volume.spacing[2]))
    assert small_mask.dtype == mask.dtype
    assert small_mask.sum() == pytest.approx(mask.sum() / 8, rel=0.2)
    assert small.data.mean() == pytest.approx(volume.data.mean(), rel=0.02)
    assert on_grid(volume, mask, (64, 64))[0] is volume


def test_pictures_are_of_tumours_from_small_to_large(tmp_path: Path, lgg: Path) -> None:
    dataset, segmenter = open_dataset(lgg), load_model(save_small(tmp_path / "m.safetensors"), device="cpu")
    predicted = predict_slices(segmenter, dataset, make_split(recipe("any").split, dataset).train, size=None)
    areas = [int(predicted.truth[place].sum()) for place in telling_slices(predicted, 4)]
    assert len(areas) == 4
    assert areas == sorted(areas)
    assert areas[0] > 0


@pytest.mark.parametrize(
    ("trained", "losses", "text", "reduced"),
    [
        ({"epochs": 8}, [0.5] * 8, "8 of 8 epochs", False),
        ({"epochs": 8, "early_stopping": 3}, [0.5, 0.4, 0.4, 0.5, 0.6], "5 of 8 epochs, stopped early by its own rule",
         False),
        ({"epochs": 8, "early_stopping": 3}, [0.5, 0.4, 0.4], "3 of 8 epochs, broken off", True),
        ({"epochs": 8}, [0.5, 0.6, 0.7, 0.8], "4 of 8 epochs, broken off", True),
        ({"epochs": 8, "early_stopping": 2}, [0.5, None, None], "3 of 8 epochs, stopped early by its own rule", False),
        ({"epochs": 3}, [0.5] * 3, "3 of 8 epochs, reduced length", True),
        ({"epochs": 3}, [0.5] * 2, "2 of 8 epochs, reduced length, broken off", True),
        ({"epochs": None}, [0.5], "1 step, reduced length", True),
        ({"epochs": 8, "precision": "bfloat16"}, [0.5] * 8, "8 of 8 epochs, mixed precision", False),
        ({"epochs": None, "precision": "bfloat16"}, [0.5], "1 step, reduced length, mixed precision", True),
    ],
)  # fmt: skip
def test_the_length_of_a_training_is_told_as_it_was(
    trained: dict[str, Any], losses: list[float | None], text: str, reduced: bool
) -> None:
    fit = {"steps": 1, "precision": "float32", "early_stopping": None} | trained
    history = [{"validation_loss": loss} for loss in losses]
    training = {"epochs": trained["epochs"], "fit": fit}
    told = length(training, recipe=recipe("any", epochs=8), history=history)
    assert (told["text"], told["reduced"]) == (text, reduced)


def test_a_shortened_training_is_still_one_when_it_is_scored_later(tmp_path: Path, lgg: Path) -> None:
    where: dict[str, Any] = {"lgg": lgg, "coco": None, "output": tmp_path / "out", "device": "cpu"}
    reproduce.reproduce([recipe("small")], **where, epochs=1)
    (row,) = reproduce.reproduce([recipe("small")], **where, train_them=False)["recipes"]
    assert row["length"] == {"text": "1 of 2 epochs, reduced length", "reduced": True, "epochs": 1, "full": 2}
    assert "reduced length" in (tmp_path / "out" / "reproduction.md").read_text()


def test_the_projects_are_trained_in_mixed_precision_where_asked_for(
    tmp_path: Path, lgg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = FitConfig(steps=1, batch_size=4, patch=(32, 32), ema_decay=0, precision="float32")
    monkeypatch.setattr(reproduce, "RECIPES", {"seed_000": lambda: recipe("seed_000", fit=full)})
    output = tmp_path / "out"
    arguments = ["--data", str(lgg), "--output", str(output), "--recipes", "seed_000", "--device", "cpu"]
    assert reproduce.main([*arguments, "--precision", "bfloat16"]) == 0
    assert "2 of 2 epochs, mixed precision" in (output / "reproduction.md").read_text()
    # Whoever scores the weights later need not say how they were trained.
    assert reproduce.main([*arguments, "--evaluate"]) == 0
    assert "2 of 2 epochs, mixed precision" in (output / "reproduction.md").read_text()
    # Nor is a run in one precision gone on with in the other.
    assert reproduce.main([*arguments, "--resume"]) == 2


def test_patients_who_choose_the_weights_are_not_those_that_are_scored(tmp_path: Path, lgg: Path) -> None:
    """As in seed 000, which has no test."""
    untested = recipe("small", split=SplitConfig(kind="slices", train=0.6, validation=0.4, test=0.0), reported={})
    output = tmp_path / "out"
    result = reproduce.reproduce([untested], lgg=lgg, coco=None, output=output, by_patient=True, device="cpu")
    leaky, held = result["recipes"]
    trained = load_model(held["checkpoint"], device="cpu").description.training
    scored = {case["case"] for case in held["honest"]["cases"]}
    assert held["honest"]["part"] == "test"
    assert scored == set(trained["held_out"])
    assert len(scored) == 1
    assert (held["split"]["train"], held["split"]["validation"], held["split"]["test"]) == (0.6, 0.2, 0.2)
    assert list(leaky["seed_metrics"]) == ["validation"]
    assert "did best on them" in leaky["honest"]["remark"]
    table = (output / "reproduction.md").read_text()
    assert "| validation (chose the weights), 12 slices |" in table
    assert "| test, 5 slices |" in table
    assert "it chose them" in table
    assert "small_by_patient: by patient, half of the validation is a test" in table


def test_a_run_that_is_there_is_kept(tmp_path: Path, lgg: Path) -> None:
    where: dict[str, Any] = {"lgg": lgg, "coco": None, "output": tmp_path / "out", "epochs": 1, "device": "cpu"}
    (first,) = reproduce.reproduce([recipe("second")], **where)["recipes"]
    # Before anything else is trained.
    with pytest.raises(InputError, match="runs/second: there is a finished run here"):
        reproduce.reproduce([recipe("first"), recipe("second")], **where)
    assert not (tmp_path / "out" / "runs" / "first").exists()
    (again,) = reproduce.reproduce([recipe("second")], **where, resume=True)["recipes"]
    assert again["seed_metrics"] == first["seed_metrics"]


def test_pictures_of_named_patients_are_no_scans_and_those_of_nobody_are_counted(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    names = ["patient1_slice1", "patient1_slice2", "patient2_slice1", "other"]
    for number, name in enumerate(names):
        volume, mask = make_phantom(slices=4, size=32, seed=number)
        picture = Image.fromarray(np.moveaxis(volume.data[:, 2], 0, -1))
        picture.save(tmp_path / "data" / "images" / f"{name}.png")
        Image.fromarray(mask[2] * np.uint8(255)).save(tmp_path / "data" / "masks" / f"{name}.png")
    dataset, segmenter = open_dataset(tmp_path / "data"), load_model(save_small(tmp_path / "m.safetensors"))
    slices = tuple((name, 0) for name in names)
    found = honest_scores(segmenter, dataset, Split(train=slices[:1], validation=(), test=slices[2:]), "test")
    assert found.kind == WHOLE_PATIENTS
    assert "2 pictures of 2 patients" in found.remark
    assert "the names of 1 pictures tell no patient" in found.remark
    leaked = honest_scores(segmenter, dataset, Split(train=slices[:1], validation=(), test=slices[1:2]), "test")
    assert leaked.kind == FROM_LEAKED


def test_a_part_without_a_reported_figure_says_none(tmp_path: Path, lgg: Path) -> None:
    one = recipe("seed_003", reported={}, notes=("the split is ours",))
    checkpoint = untrained(tmp_path / "m.safetensors", one, data=lgg)
    row, _ = evaluate_recipe(one, checkpoint, data=lgg, device="cpu")
    training = read_description(checkpoint).training
    row = {"recipe": one.name, "length": length(training, recipe=one, history=[]), **row}
    table = reproduction_table([row])
    assert "| test, 4 slices | none | " in table
    assert "- seed_003: the split is ours" in table
    assert "reduced" not in table
