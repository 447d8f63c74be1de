import pytest

from napari_unet_seg.engine.config import AugmentConfig
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.errors import InputError
from training.recipes import RECIPES
from training.settings import changed_recipe, with_settings


def test_fields_of_a_round_and_of_its_training_are_set() -> None:
    policy = with_settings(
        POLICIES["scan"], ["blend=1", "fit.steps=20", "fit.learning_rate=0.003", "fit.frozen_statistics=false"]
    )
    assert (policy.blend, policy.fit.steps, policy.fit.learning_rate) == (1, 20, 0.003)
    assert policy.fit.frozen_statistics is False
    assert policy.folds == POLICIES["scan"].folds


def test_fields_of_a_recipe_are_set() -> None:
    recipe = with_settings(
        RECIPES["default"](),
        ["network.features=[4, 8]", "network.convolutions=[1, 1]", "fit.loss=dice", "fit.augment.flip=0", "epochs=3"],
    )
    assert recipe.network.features == (4, 8)
    assert (recipe.fit.loss, recipe.epochs) == ("dice", 3)
    assert isinstance(recipe.fit.augment, AugmentConfig)
    assert recipe.fit.augment.flip == 0
    assert recipe.fit.augment.rotation == AugmentConfig().rotation


def test_a_recipe_of_other_channels_says_so_in_both_places() -> None:
    recipe = with_settings(RECIPES["default"](), ["network.in_channels=1", 'channel_names=["flair"]'])
    assert (recipe.network.in_channels, recipe.channel_names) == (1, ("flair",))


def test_what_may_be_nothing_can_be_set_to_nothing() -> None:
    assert with_settings(RECIPES["seed_001"](), ["fit.early_stopping=null"]).fit.early_stopping is None


@pytest.mark.parametrize(
    "setting",
    [
        "fit.steps",
        "fit.steps=much",
        "fit.steps=2.5",
        "fit.steps=true",
        "fit.steps=null",
        "fit.loss=1",
        "fit.loss=hinge",
        "fit.frozen_statistics=2",
        "fit=1",
        "fit.steps.more=1",
        "nothing=1",
        "network.dropout=2",
        "network.features=[4, 8.5]",
        "name=3",
        "fit.learning_rate=NaN",
        "fit.learning_rate=1e999",
        "fit.augment.rotation=Infinity",
        "fit.augment.noise=-1",
        "fit.augment.flip=2",
        "fit.seed=18446744073709551616",
        "split.seed=-1",
        "min_fraction=NaN",
        "min_fraction=1.5",
        "metric_smooth=-1",
        "network.classes=2",
        "network.in_channels=1",
        'channel_names=["flair"]',
        "reported={}",
    ],
)
def test_what_cannot_be_set_is_one_line(setting: str) -> None:
    with pytest.raises(InputError, match="--set") as caught:
        with_settings(RECIPES["default"](), [setting])
    assert "\n" not in str(caught.value)


def test_a_round_holds_back_in_two_turns_at_least() -> None:
    """In a single one it would have nothing to learn from."""
    with pytest.raises(InputError, match=r"--set folds=1: .* two turns or more"):
        with_settings(POLICIES["scan"], ["folds=1"])
    assert with_settings(POLICIES["scan"], ["folds=2"]).folds == 2


@pytest.mark.parametrize("settings", [["fit.steps=100"], ["epochs=null", "fit.steps=100"]])
def test_steps_that_are_set_are_the_length_of_a_recipe_with_epochs(settings: list[str]) -> None:
    recipe = RECIPES["seed_001"]()
    assert recipe.epochs == 100
    changed = changed_recipe(recipe, settings)
    assert (changed.epochs, changed.fit.steps) == (None, 100)
    assert changed == changed_recipe(recipe, steps=100)


def test_a_recipe_keeps_what_the_command_line_leaves_open() -> None:
    recipe = RECIPES["seed_001"]()
    assert changed_recipe(recipe, seed=None) == recipe
    changed = changed_recipe(recipe, ["epochs=3", "fit.loss=bce"], seed=7)
    assert (changed.epochs, changed.fit.loss, changed.fit.seed) == (3, "bce", 7)
    assert changed_recipe(RECIPES["default"](), epochs=5).epochs == 5


@pytest.mark.parametrize(
    ("settings", "given", "problem"),
    [
        (["fit.steps=100", "epochs=3"], {}, "--set fit.steps and --set epochs .* one or the other"),
        (["fit.steps=100"], {"epochs": 3}, "--epochs and --set fit.steps"),
        (["epochs=3"], {"steps": 100}, "--steps and --set epochs"),
        ([], {"steps": 0}, "--steps must be positive, got 0"),
        ([], {"epochs": -1}, "--epochs must be positive, got -1"),
        ([], {"learning_rate": 0.0}, "learning_rate must be positive"),
        ([], {"learning_rate": float("nan")}, "learning_rate must be positive, got nan"),
    ],
)
def test_a_length_that_makes_no_sense_is_one_line(settings: list[str], given: dict[str, float], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        changed_recipe(RECIPES["seed_001"](), settings, **given)
    assert "\n" not in str(caught.value)
