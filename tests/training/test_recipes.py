import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.engine.config import AugmentConfig, FitConfig, KerasAugmentConfig, UNetConfig
from napari_unet_seg.engine.events import StepDone
from napari_unet_seg.engine.fit import fit
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.engine.samples import LabelledVolume, SliceStore
from tests.training.pictures import write_pictures
from training import run
from training.describe import describe
from training.recipe import Recipe, SplitConfig
from training.recipes import RECIPES
from training.report.reproduction import evaluate_recipe
from training.settings import with_settings

KERAS = {"optimiser": "adam", "sampling": "epochs", "ema_decay": 0.0, "coarse_fraction": 0.0, "clip_norm": None,
         "precision": "float32", "schedule": "constant", "early_stopping": None, "augment": None}  # fmt: skip
LIKE_SEED_001 = KerasAugmentConfig(rotation=0.2, shift=0.05, shear=0.05, zoom=0.05, flip=0.5)
CLASSIC = (64, 128, 256, 512, 1024)
SEED = (64, 128, 256, 512)

# Size, widths, parameters, epochs, smoothing, split, and the training's settings.
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "seed_000": (256, SEED, 7_700_161, 20, 1, ("slices", 0.8, 0.2, 0.0),
                 KERAS | {"batch_size": 8, "loss": "bce+dice", "learning_rate": 1e-3}),
    "seed_000_128": (128, SEED, 7_700_161, 20, 1, ("slices", 0.8, 0.2, 0.0),
                     KERAS | {"batch_size": 8, "loss": "bce+dice", "learning_rate": 1e-3}),
    "seed_001": (256, CLASSIC, 31_037_633, 100, 100, ("slices", 0.8, 0.1, 0.1),
                 KERAS | {"batch_size": 32, "loss": "dice", "learning_rate": 1e-4, "augment": LIKE_SEED_001,
                          "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 5, "early_stopping": 15}),
    "seed_002": (256, CLASSIC, 31_037_633, 10, 100, ("slices", 0.9, 0.05, 0.05),
                 KERAS | {"batch_size": 32, "loss": "dice", "learning_rate": 1e-4, "augment": LIKE_SEED_001}),
    "seed_003": (128, SEED, 7_700_161, 30, 1, ("slices", 0.8, 0.1, 0.1),
                 KERAS | {"batch_size": 32, "loss": "bce+dice", "learning_rate": 1e-3, "sampling": "balanced epochs",
                          "augment": KerasAugmentConfig(rotation=15, flip=0.5, elastic=4)}),
    "seed_004": (256, SEED, 7_700_161, 30, 1, ("given", 0.8, 0.1, 0.1),
                 KERAS | {"batch_size": 10, "loss": "bce", "learning_rate": 1e-3}),
}  # fmt: skip

REPORTED = {
    "seed_000": {"validation": {"dice": 0.7409, "iou": 0.7097}},
    "seed_000_128": {"validation": {"dice": 0.6580, "iou": 0.4903}},
    "seed_001": {
        "train": {"dice": 0.9197, "iou": 0.8524, "accuracy": 0.9985},
        "validation": {"dice": 0.8915, "iou": 0.8059, "accuracy": 0.9979},
        "test": {"dice": 0.9225, "iou": 0.8570, "accuracy": 0.9980},
    },
}

GFLOP = {"seed_000": 73.518, "seed_000_128": 18.379, "seed_001": 96.335, "seed_003": 18.379, "default": 2.823}


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the command line, whatever other tests have loaded."""
    monkeypatch.delitem(sys.modules, "napari._qt", raising=False)


def test_all_are_there_under_their_own_names() -> None:
    others = {"default", "attention_unet", "deeplabv3plus"}
    assert set(PUBLISHED) | others == {name for name in RECIPES if name != "tiny"}
    for name, recipe in RECIPES.items():
        assert recipe().name == name


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_projects_settings(name: str) -> None:
    size, features, parameters, epochs, smooth, split, settings = PUBLISHED[name]
    recipe = RECIPES[name]()
    assert {key: getattr(recipe.fit, key) for key in settings} == settings
    assert recipe.resize == recipe.fit.patch == (size, size)
    assert recipe.normalisation == "unit"
    assert (recipe.network.in_channels, recipe.network.context, recipe.network.classes) == (3, 0, 1)
    assert recipe.network.features == features
    assert recipe.network.convolutions == (2,) * len(features)
    assert recipe.network.order == "conv-act-norm"
    assert describe(recipe)["parameters"] == parameters
    assert (recipe.epochs, recipe.metric_smooth) == (epochs, smooth)
    assert (recipe.split.kind, recipe.split.train, recipe.split.validation, recipe.split.test) == split
    assert recipe.reported == REPORTED.get(name, {})
    assert (recipe.min_fraction, recipe.largest_component, recipe.flip) == (0, False, False)


def test_seed_000_has_dropout_and_the_sizes_differ_in_nothing_else() -> None:
    large, small = RECIPES["seed_000"](), RECIPES["seed_000_128"]()
    assert large.network.dropout > 0
    assert small.network == large.network
    assert dataclasses.replace(small.fit, patch=(256, 256)) == large.fit
    assert small.split == large.split


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_projects_begin_without_a_prior(name: str) -> None:
    assert RECIPES[name]().prior is None


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_prior_is_a_probability(prior: float) -> None:
    with pytest.raises(ValueError, match="prior must lie between 0 and 1"):
        dataclasses.replace(RECIPES["default"](), prior=prior)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_what_a_project_leaves_open_is_noted(name: str) -> None:
    assert len(RECIPES[name]().notes) >= 2


def test_the_shipped_model_s_recipe_is_as_it_was() -> None:
    recipe = RECIPES["default"]()
    assert recipe.fit == FitConfig(steps=2400, coarse_fraction=0.75, learning_rate=3e-3)
    assert (recipe.min_fraction, recipe.normalisation, recipe.resize) == (0.25, "head-zscore", None)
    assert (recipe.epochs, recipe.prior) == (None, 0.018)
    assert recipe.split == SplitConfig(kind="patients", train=1, validation=0, test=0)
    assert describe(recipe)["parameters"] == 946_913


@pytest.mark.parametrize(("name", "parameters"), [("attention_unet", 1_973_277), ("deeplabv3plus", 22_456_273)])
def test_the_next_steps_train_as_the_shipped_model(name: str, parameters: int) -> None:
    recipe, shipped = RECIPES[name](), RECIPES["default"]()
    if name == "deeplabv3plus" and importlib.util.find_spec("segmentation_models_pytorch") is None:
        pytest.skip("segmentation-models-pytorch is an extra")
    assert describe(recipe)["parameters"] == parameters
    assert recipe.network.architecture == name.replace("_", "-")
    assert recipe.fit == shipped.fit
    assert recipe.split == shipped.split


@pytest.mark.parametrize("name", sorted(GFLOP))
def test_the_cost_is_that_of_a_slice_at_the_recipe_s_size(name: str) -> None:
    described = describe(RECIPES[name]())
    assert described["gflop_per_slice"] == pytest.approx(GFLOP[name], abs=1e-3)
    assert json.loads(json.dumps(described))["fit"]["batch_size"] == RECIPES[name]().fit.batch_size


def test_a_convolution_s_cost_by_hand() -> None:
    # 8 x 8 pixels: 3x3 from 1 to 2 channels, pooled; 3x3 from 2 to 3; up by 2x2 to 2; 3x3 from 4 to 2; 1x1 to 1.
    recipe = dataclasses.replace(
        RECIPES["seed_000"](),
        network=UNetConfig(in_channels=1, features=(2, 3), convolutions=(1, 1)),
        channel_names=("flair",),
        resize=(1000, 1000),
        fit=FitConfig(patch=(1000, 1000), augment=None),
    )
    full, half = 1000 * 1000, 500 * 500
    multiplied = full * 9 * 1 * 2 + half * 9 * 2 * 3 + half * 3 * 2 * 4 + full * 9 * 4 * 2 + full * 2
    assert describe(recipe)["gflop_per_slice"] == pytest.approx(2 * multiplied / 1e9, abs=5e-4)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_each_trains_on_whole_resized_slices(name: str) -> None:
    recipe = RECIPES[name]()
    small = dataclasses.replace(recipe.network, features=(4, 8), convolutions=(1, 1))
    config = dataclasses.replace(
        recipe.fit, steps=8, batch_size=4, patch=(32, 32), learning_rate=1e-2, schedule="constant", early_stopping=None
    )
    volume, mask = make_phantom(slices=8, size=48)
    store = SliceStore(
        [LabelledVolume(volume=volume, mask=mask, labelled=np.ones(8, bool))],
        device=torch.device("cpu"),
        normalisation=recipe.normalisation,
        resize=(32, 32),
    )
    torch.manual_seed(0)
    network = build_network(small)
    losses = [event.loss for event in fit(network, store, config, flair=1) if isinstance(event, StepDone)]
    assert len(losses) == 8
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle(tmp_path_factory.mktemp("lgg"), patients=5, slices=8, size=40)


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) | {"default", "attention_unet", "deeplabv3plus"}))
def test_each_runs_for_two_epochs_from_the_command_line(name: str, tmp_path: Path, patients: Path) -> None:
    """With its own split, sampling, augmentation, loss, schedule and validation; network and slices are small."""
    if name == "deeplabv3plus" and importlib.util.find_spec("segmentation_models_pytorch") is None:
        pytest.skip("segmentation-models-pytorch is an extra")
    recipe = RECIPES[name]()
    data = write_pictures(tmp_path / "pictures") if recipe.split.kind == "given" else patients
    small = ["network.features=[4,8]", "network.convolutions=[1,1]", "fit.patch=[32,32]", "fit.batch_size=4"]
    small += ["resize=[32,32]"] if recipe.resize else ["fit.steps_per_epoch=2"]
    given = ["--data", str(data), "--output", str(tmp_path / name), "--epochs", "2", "--threads", "1"]
    assert run.main([name, *given, *(part for setting in small for part in ("--set", setting))]) == 0
    rows = json.loads((tmp_path / name / "history.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert ("validation_dice" in rows[0]) == bool(recipe.split.validation)
    if name not in PUBLISHED:
        return
    trained = with_settings(recipe, small)
    row, _ = evaluate_recipe(trained, tmp_path / name / "best.safetensors", data=data, device="cpu")
    scored = {"test"} if recipe.split.test else {"validation"}
    assert set(row["seed_metrics"]) == scored | set(recipe.reported)
    assert all(0 <= figures["dice"] <= 1 for figures in row["seed_metrics"].values())
    assert row["metric"]["smooth"] == recipe.metric_smooth


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": FitConfig()}, "one or the other"),
        ({"resize": None}, "one or the other"),
        ({"fit": FitConfig(augment=None)}, "patch must say so"),
        ({"epochs": 0}, "epochs must be positive"),
        ({"resize": None, "fit": FitConfig(augment=AugmentConfig())}, "standard deviations"),
    ],
)
def test_recipes_that_contradict_themselves(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPES["seed_000"](), **changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cases"}, "kind must be"),
        ({"train": 0.9}, "add up to 1"),
        ({"train": 0.0, "validation": 0.5, "test": 0.5}, "some of the data must train"),
        ({"train": 1.2, "validation": -0.2, "test": 0.0}, "must not be negative"),
    ],
)
def test_splits_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitConfig(**values)


def test_a_plain_recipe_needs_no_more_than_it_did() -> None:
    recipe = Recipe(name="mine", network=UNetConfig(), fit=FitConfig())
    assert (recipe.resize, recipe.normalisation, recipe.epochs) == (None, "head-zscore", None)
