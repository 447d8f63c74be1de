from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.engine import registry, tuning
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint
from napari_unet_seg.engine.events import RoundFinished, StepDone
from napari_unet_seg.engine.gate import Contest
from napari_unet_seg.engine.hold_back import Key
from napari_unet_seg.engine.incumbent import Incumbent
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_scorer import RoundScorer
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError
from tests.engine.datasets import truth_of
from tests.engine.models import SMALL, save_small, small_network
from tests.engine.phantom_rounds import EASY, begin, digest, policy, run, shipped, wider

pytestmark = pytest.mark.usefixtures("one_thread")


def incumbent(**training: object) -> Incumbent:
    return Incumbent(network=small_network(), description=Description(name="mine", network=SMALL, training=training))


def test_a_score_counts_on_the_slices_it_was_measured_on() -> None:
    known = incumbent(round={"after": 0.8}, held_back=["a", "b"], learned=["a", "b", "c"])
    assert known.held_back_dice(["b", "a"]) == 0.8
    assert known.held_back_dice(["a"]) is None
    assert known.held_back_dice(["a", "b", "c"]) is None
    assert known.learned == {"a", "b", "c"}


@pytest.mark.parametrize("training", [{}, {"round": {"after": None}}, {"round": "damaged"}, {"round": {"after": 0.8}}])
def test_where_no_score_is_known(training: dict[str, object]) -> None:
    assert incumbent(**training).held_back_dice(["a"]) is None


def test_what_is_in_use_is_not_replaced_by_something_worse(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second round from the same parent has to beat the version in use on what is new to it."""
    dataset = open_phantoms("abc")
    for name in "ab":
        dataset.save_correction(name, wider(truth_of(name)), slices=[3, 4, 5])
    easy = replace(policy("model", 8), **EASY)  # type: ignore[type-var,arg-type]
    assert run(dataset, scope="model", policy=easy)["promoted"]
    in_use = digest(Registry().path("mine"))
    dataset.save_correction("c", wider(truth_of("c")), slices=[3, 4, 5])
    lost = Contest(in_use=0.9, offered=0.8, where="on what is new")
    monkeypatch.setattr(tuning.Round, "_contest", lambda self, incumbent, look: lost)
    report = run(dataset, scope="model", policy=easy)
    assert "the version in use does better on what is new" in str(report["reason"])
    assert digest(Registry().path("mine")) == in_use


def test_the_same_corrections_must_not_score_worse_than_in_the_round_before(
    open_phantoms: Callable[..., Dataset],
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    good = run(dataset, steps=12)
    assert good["promoted"], good["reason"]
    kept = digest(Registry().path("mine"))
    # It gains on the parent too, only less.
    worse = run(dataset, steps=5)
    assert good["after"] > worse["after"] > worse["before"] + 0.002  # type: ignore[operator]
    assert not worse["promoted"]
    scores = f"{good['after']:.3f} against {worse['after']:.3f}"
    assert f"the version in use does better on the same slices, held back from it as well ({scores})" in str(
        worse["reason"]
    )
    assert worse["version"] == 2
    assert digest(Registry().path("mine")) == kept


@pytest.mark.parametrize("in_use", [0.0, 0.99])
def test_without_the_same_slices_held_back_both_answer_for_the_corrections(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, in_use: float
) -> None:
    dataset = open_phantoms()
    truth = wider(truth_of("a"))
    dataset.save_correction("a", truth, slices=[3, 4])
    last = dataset.save_correction("a", truth, slices=[6])
    assert run(dataset, steps=8)["promoted"]
    dataset.revert(last.id)
    asked = []

    def dice_of(self: RoundScorer, incumbent: Incumbent, keys: Collection[Key]) -> float:
        asked.extend(keys)
        return in_use

    monkeypatch.setattr(RoundScorer, "dice_of", dice_of)
    report = run(dataset, steps=8)
    assert sorted(asked) == [("a", 3), ("a", 4)]
    assert report["promoted"] == (in_use == 0)
    assert ("the version in use does better on the corrections themselves (0.990" in str(report["reason"])) == (
        in_use > 0
    )


def test_a_version_put_in_use_meanwhile_is_not_replaced(open_phantoms: Callable[..., Dataset]) -> None:
    """As a second round does that comes to its end first."""
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    line, other = VersionLine("mine", registry=Registry()), load_checkpoint(shipped())
    report = None
    for event in begin(dataset):
        if isinstance(event, StepDone) and event.step == 1:
            line.begin(shipped())
            line.add(other[0], replace(other[1], name="other"), promoted=True)
            in_use = digest(line.path)
        if isinstance(event, RoundFinished):
            report = event.report
    assert report is not None
    assert not report.promoted
    assert report.reason.startswith("another version was put in use while this round ran")
    # What it learned is there, and its own record says the same.
    assert digest(line.path) == in_use
    kept = next(version for version in line.versions() if version.number == report.version)
    assert (kept.promoted, kept.reason) == (False, report.reason)


def test_a_lock_that_cannot_be_made_costs_no_round(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> None:
        raise InputError("no locks on this drive")

    monkeypatch.setattr(registry, "write_lock", refuse)
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    assert run(dataset, steps=1)["version"] == 1


def test_what_is_in_use_may_be_another_network(open_phantoms: Callable[..., Dataset]) -> None:
    """An imported model without neighbouring slices, under the name that the round is for."""
    dataset = open_phantoms("ab", masks="b")
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    Registry().folder.mkdir(parents=True)
    save_small(Registry().folder / "mine.safetensors", config=replace(SMALL, context=0))
    report = run(dataset, scope="model", steps=2)
    # Version 0 is what was there.
    assert (report["steps"], report["version"]) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"in_channels": 5}, r"'mine' takes other channels \(c0, c1, c2, c3, c4\) than .* \(pre, flair, post\)"),
        ({"classes": 3}, "'mine' has several classes"),
    ],
)
def test_what_cannot_be_compared_is_said_before_the_training(
    open_phantoms: Callable[..., Dataset], changes: dict[str, int], problem: str
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    Registry().folder.mkdir(parents=True)
    path = save_small(Registry().folder / "mine.safetensors", config=replace(SMALL, **changes))  # type: ignore[arg-type]
    before = digest(path)
    with pytest.raises(InputError, match=problem):
        run(dataset, scope="model")
    assert digest(path) == before
