"""Rounds with the shipped model on phantoms; steps are bounded, so that a slow machine does the same as a fast one."""

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet_seg.data.dataset import Case, Dataset, open_dataset
from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.engine import finetune as module
from napari_unet_seg.engine import trainings
from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.events import FitEvent, RoundFinished, RoundStarted, StepDone, ValidationDone
from napari_unet_seg.engine.finetune import finetune
from napari_unet_seg.engine.fit import LossNotFinite
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.parent_word import ask_parent
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.round_clock import RoundClock
from napari_unet_seg.engine.round_data import Scan, read_round
from napari_unet_seg.engine.round_report import Scope
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.slice_source import SliceSource
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError
from tests.engine.datasets import SIZE, SLICES, truth_of
from tests.engine.phantom_rounds import EASY, LONG, begin, digest, policy, run, shipped, wider
from tests.training.pictures import write_pictures

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_scan_learns_what_its_corrections_have_in_common(open_phantoms: Callable[..., Dataset]) -> None:
    dataset, truth = open_phantoms(), wider(truth_of("a"))
    dataset.save_correction("a", truth, slices=[3, 4, 6])
    before = digest(shipped())
    report = run(dataset, steps=16)
    assert report["promoted"], report["reason"]
    assert (report["name"], report["parent"], report["scope"]) == ("mine", "default", "scan")
    assert (report["slices_corrected"], report["steps"], report["version"], report["stopped"]) == (3, 16, 1, False)
    assert report["after"] > report["before"] + 0.01  # type: ignore[operator]
    assert digest(shipped()) == before
    volume = dataset["a"].read_image()
    plane = [load_model(name).predict(volume)[5] >= 0.5 for name in ("default", "mine")]
    assert count(plane[1], truth[5]).dice > count(plane[0], truth[5]).dice
    found = Registry().model_of_scan(image_hash(volume))
    assert found is not None
    assert (found.name, found.scope) == ("mine", "scan")


def test_events_tell_of_the_round_from_start_to_end(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    events = list(begin(dataset, steps=3))
    assert isinstance(events[0], RoundStarted)
    assert (events[0].scope, events[0].slices_corrected, events[0].cases, events[0].seconds) == ("scan", 2, 1, LONG)
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3]
    looks = [event for event in events if isinstance(event, ValidationDone)]
    assert looks
    last = events[-1]
    assert isinstance(last, RoundFinished)
    assert looks[-1].before == pytest.approx(last.report.before)
    assert {case.role for case in last.report.cases} == {"held back", "confident"}
    elapsed = [event.elapsed for event in events[:-1]]  # type: ignore[union-attr]
    assert elapsed == sorted(elapsed)


def test_the_model_learns_from_several_cases(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms("abcdef", masks="f")
    for name in "abc":
        dataset.save_correction(name, wider(truth_of(name)), slices=[2, 3, 4, 5])
    easy = replace(policy("model", 10), blend=1.0, **EASY)  # type: ignore[type-var,arg-type]
    report = run(dataset, scope="model", policy=easy)
    assert report["promoted"], report["reason"]
    assert report["slices_corrected"] == 12
    roles = {(case["case"], case["role"]) for case in report["cases"]}  # type: ignore[attr-defined]
    assert roles >= {("a", "held back"), ("b", "held back"), ("c", "held back"), ("f", "rehearsal")}
    _, description = load_checkpoint(Registry().path("mine"))
    assert description.training["cases"][-3:] == ["a", "b", "c"]


def test_what_the_parent_s_parents_learned_from_is_not_forgotten(
    open_phantoms: Callable[..., Dataset], tmp_path: Path
) -> None:
    network, description = load_checkpoint(Registry().path("default"))
    seen = {"cases": ["TCGA_CS_0001_1"], "cases_before": ["TCGA_DU_0002_1"]}
    save_checkpoint(tmp_path / "parent.safetensors", network, replace(description, training=seen))
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    run(dataset, steps=1, model=tmp_path / "parent.safetensors")
    child = VersionLine("mine", registry=Registry()).versions()[-1].description
    assert child.trained_patients >= {"TCGA_CS_0001", "TCGA_DU_0002", "a"}


@pytest.mark.parametrize("scope", ["scan", "model"])
def test_the_parent_is_asked_of_slices_as_they_are_seen(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    dataset = open_phantoms("ab")
    dataset.save_correction("a", truth_of("a"), slices=[2, 4])
    handed = []

    def fit(network: Network, store: SliceSource, config: FitConfig, **options: Any) -> Iterator[FitEvent]:
        handed.append((store, options["retarget"]))
        return true_fit(network, store, config, **options)

    true_fit = trainings.fit
    monkeypatch.setattr(trainings, "fit", fit)
    run(dataset, scope=scope, steps=1)
    _, retarget = handed[0]
    parent, _ = load_checkpoint(shipped())
    # Slice 2 of the first scan is corrected, slice 3 is the parent's word.
    image = torch.randn(2, parent.config.input_channels, 64, 64, generator=torch.Generator().manual_seed(0))
    target = torch.full((2, 1, 64, 64), 0.5)
    found = retarget(image, target, torch.tensor([2, 3]))
    torch.testing.assert_close(found[:1], target[:1])
    with torch.no_grad():
        torch.testing.assert_close(found[1:], parent(image[1:]).sigmoid(), atol=1e-5, rtol=0)
    # All trainings of a round ask the same one.
    assert len({id(each) for _, each in handed}) == 1
    handed.clear()
    plain = replace(policy(scope, 1), teach_as_seen=False)  # type: ignore[type-var]
    run(dataset, scope=scope, policy=plain, name="plain")
    assert [each for _, each in handed] == [None] * len(handed)


def test_a_piece_that_somebody_corrected_stays_in_the_mask(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms("ab")
    alone, both = truth_of("a"), truth_of("b")
    # Far from the lesion, a quarter of its size: no model finds it after a step, but the corrected slices hold it.
    both[2:6, 4:10, 4:10] = 1
    dataset.save_correction("a", alone, slices=[2, 3, 4, 5])
    dataset.save_correction("b", both, slices=[2, 3, 4, 5])
    parent = load_checkpoint(shipped())[1].min_fraction
    for case, expected in (("a", POLICIES["scan"].min_fraction), ("b", None)):
        run(dataset, case=case, steps=1, name=case)
        _, description = load_checkpoint(VersionLine(case, registry=Registry()).versions()[-1].path)
        if expected is None:
            assert 0.08 <= description.min_fraction < POLICIES["scan"].min_fraction
        else:
            assert description.min_fraction == expected
    run(dataset, scope="model", steps=1, name="all")
    _, description = load_checkpoint(VersionLine("all", registry=Registry()).versions()[-1].path)
    assert description.min_fraction == parent == 0.25


@pytest.mark.parametrize("kind", ["speckle", "elsewhere", "smooth"])
def test_noise_is_never_promoted(open_phantoms: Callable[..., Dataset], kind: str) -> None:
    dataset, rng = open_phantoms(), np.random.default_rng(0)
    noise = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    if kind == "speckle":
        noise = (rng.random(noise.shape) > 0.5).astype(np.uint8)
    elif kind == "smooth":
        noise = (ndimage.gaussian_filter(rng.normal(size=noise.shape), (0, 5, 5)) > 0.02).astype(np.uint8)
    else:
        for z in range(SLICES):
            y, x = rng.integers(20, 66, 2)
            noise[z, y : y + 12, x : x + 12] = 1
    dataset.save_correction("a", noise, slices=[3, 4, 5])
    parent = shipped()
    before = digest(parent)
    report = run(dataset)
    assert not report["promoted"], report["reason"]
    assert report["reason"]
    # The name can be loaded, and is the parent to the last bit.
    assert digest(parent) == before == digest(Registry().path("mine"))


def test_speckle_costs_no_training(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    noise = (np.random.default_rng(0).random((SLICES, SIZE, SIZE)) > 0.5).astype(np.uint8)
    dataset.save_correction("a", noise, slices=[3, 4])
    report = run(dataset)
    assert (report["steps"], report["slices_corrected"], report["version"]) == (0, 2, 0)
    assert (report["before"], report["after"]) == (None, None)
    assert "look like noise, not like masks (slice 3 of a, slice 4 of a)" in str(report["reason"])


def test_emptied_tumour_is_not_promoted(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[3, 4, 6])
    report = run(dataset, steps=25)
    assert not report["promoted"], report


def test_a_single_slice_moves_the_scan_only_a_little(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[4])
    report = run(dataset, steps=4)
    assert report["steps"] == 4
    roles = {case["role"]: case for case in report["cases"]}  # type: ignore[attr-defined]
    assert roles.keys() == {"learned", "confident"}
    assert roles["confident"]["before"] == 1.0
    # What the slice itself gained, which is said.
    assert (report["before"], report["after"]) == (roles["learned"]["before"], roles["learned"]["after"])
    assert report["promoted"] == (report["before"] <= report["after"])  # type: ignore[operator]
    assert report["promoted"], report["reason"]
    assert "which the round has learned from" in str(report["reason"])


def test_the_newest_of_contradictory_corrections_counts(open_phantoms: Callable[..., Dataset]) -> None:
    dataset, truth = open_phantoms(), wider(truth_of("a"))
    wrong = np.roll(truth, 30, axis=2)
    for mask in (wrong, truth):
        dataset.save_correction("a", mask, slices=[3, 4, 6])
    report = run(dataset)
    assert report["promoted"], report["reason"]
    assert report["slices_corrected"] == 3


def test_corrections_that_only_remove_false_masks(open_phantoms: Callable[..., Dataset], tmp_path: Path) -> None:
    """A parent that sees tumour above and below it is told of two slices that have none."""
    network, description = load_checkpoint(shipped())
    from napari_unet_seg.engine.checkpoint import save_checkpoint

    eager, dataset = tmp_path / "eager.safetensors", open_phantoms()
    volume, truth = dataset["a"].read_image(), truth_of("a")
    # As much as this model, whichever is shipped, takes to see tumour where there is none.
    for _ in range(10):
        with torch.no_grad():
            network.head.bias += 1.0
        save_checkpoint(eager, network, replace(description, name="eager"))
        said = load_model(eager).predict(volume) >= 0.5
        false = [z for z in range(SLICES) if said[z].any() and not truth[z].any()]
        if len(false) >= 2:
            break
    assert len(false) >= 2, "the eager model has no false masks"
    dataset.save_correction("a", np.zeros_like(truth), slices=false[:2])
    report = run(dataset, model=str(eager), steps=15)
    tuned = load_model(VersionLine("mine", registry=Registry()).versions()[-1].path).predict(volume) >= 0.5
    assert tuned[false].sum() < said[false].sum()
    # The tumour that nobody cleared is still there.
    assert count(tuned[truth.any(axis=(1, 2))], truth[truth.any(axis=(1, 2))]).recall > 0.5
    assert report["reason"]


def test_stop_keeps_what_was_learned(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    seen: list[StepDone] = []
    events = begin(dataset, steps=50, should_stop=lambda: len(seen) >= 4)
    report = None
    for event in events:
        if isinstance(event, StepDone):
            seen.append(event)
        if isinstance(event, RoundFinished):
            report = event.report
    assert report is not None
    assert (report.steps, report.stopped) == (4, True)
    assert VersionLine("mine", registry=Registry()).versions()[-1].number == 1


def test_what_nobody_sees_is_kept_but_not_put_in_use(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    easy = replace(policy("scan", 2), **EASY)  # type: ignore[type-var]
    *_, last = begin(dataset, policy=easy, is_watched=lambda: False)
    assert isinstance(last, RoundFinished)
    assert last.report.reason.startswith("the window was closed before")
    assert [(v.number, v.promoted, v.current) for v in VersionLine("mine", registry=Registry()).versions()] == [
        (0, True, True),
        (1, False, False),
    ]
    assert run(dataset, name="other", policy=easy)["promoted"]


@pytest.mark.parametrize(("stopped", "kept"), [(True, 1), (False, 3)])
def test_a_stopped_round_keeps_the_best_look_and_a_whole_one_the_last(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, stopped: bool, kept: int
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    look, looks = trainings.Trainings._look, []

    def scripted(self: trainings.Trainings, beside: object) -> trainings.Look:
        looks.append(replace(look(self, beside), dice=[0.5, 0.9, 0.4, 0.3][len(looks)]))  # type: ignore[arg-type]
        return looks[-1]

    monkeypatch.setattr(trainings, "_LOOKS", 1e9)
    monkeypatch.setattr(trainings, "_LEAST_PAUSE", 0.0)
    monkeypatch.setattr(trainings.Trainings, "_look", scripted)
    events = begin(
        dataset,
        policy=replace(policy("scan", 4), blend=1.0),  # type: ignore[type-var]
        should_stop=lambda: stopped and len(looks) == 4,
    )
    last = list(events)[-1]
    assert isinstance(last, RoundFinished)
    assert (last.report.stopped, len(looks)) == (stopped, 4)
    network, _ = load_checkpoint(VersionLine("mine", registry=Registry()).versions()[-1].path)
    same = [
        all(torch.equal(a, b) for a, b in zip(each.network.parameters(), network.parameters(), strict=True))
        for each in looks
    ]
    assert same == [number == kept for number in range(4)]


def test_a_stop_before_the_first_step_changes_nothing(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    report = run(dataset, should_stop=lambda: True)
    assert (report["promoted"], report["stopped"], report["steps"]) == (False, True, 0)
    assert report["reason"] == "stopped before it had learned anything"
    assert digest(Registry().path("mine")) == digest(shipped())


def test_a_loss_that_is_no_number_leaves_the_parent(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    from napari_unet_seg.engine import fit as fit_module

    monkeypatch.setattr(fit_module, "make_loss", lambda name: lambda logits, y, weight: logits.sum() * float("nan"))
    before = digest(shipped())
    with pytest.raises(LossNotFinite, match="the loss became nan at step 0"):
        run(dataset)
    assert digest(shipped()) == before
    assert not Registry().folder.joinpath("mine.safetensors").exists()


def test_a_full_disk_leaves_the_parent(open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    run(dataset, steps=1)
    before = digest(Registry().path("mine"))

    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.VersionLine, "add", full)
    with pytest.raises(OSError, match="No space left"):
        run(dataset, steps=1)
    assert digest(Registry().path("mine")) == before


def test_a_folder_of_models_that_cannot_be_written_is_told_before_the_training(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(tmp_path / "an unplugged disk")
    monkeypatch.setenv("NAPARI_UNET_SEG_HOME", str(home))
    monkeypatch.setattr(trainings, "fit", None)
    with pytest.raises(InputError, match=r"mine\.safetensors: cannot be written"):
        run(dataset, steps=1)


@pytest.mark.parametrize("second", [None, "noise", "mask"])
def test_a_round_for_all_needs_a_second_patient(open_phantoms: Callable[..., Dataset], second: str | None) -> None:
    dataset = open_phantoms("ab", masks="")
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    if second is not None:
        mask = wider(truth_of("b"))
        if second == "noise":
            mask[2] = np.random.default_rng(0).random(mask[2].shape) < 0.3
        dataset.save_correction("b", mask, slices=[2] if second == "noise" else [3, 4])
    easy = replace(policy("model", 1), **EASY)  # type: ignore[type-var]
    report = run(dataset, scope="model", policy=easy)
    assert report["promoted"] == (second == "mask"), report["reason"]
    assert ("corrections of one patient" in str(report["reason"])) == (second != "mask")


def test_a_picture_is_not_asked_for_a_second_slice(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    dataset = open_dataset(tmp_path)
    case = dataset.cases[0]
    mask = case.read_mask()
    assert mask is not None
    dataset.save_correction(case.case_id, np.zeros_like(mask), slices=[0])
    report = run(dataset, steps=1)
    assert not report["promoted"]
    assert report["reason"] == "a single picture cannot be checked; correct several, and retrain the model for all"


def test_rounds_of_a_scan_begin_with_the_model_again(open_phantoms: Callable[..., Dataset]) -> None:
    dataset, truth = open_phantoms(), wider(truth_of("a"))
    dataset.save_correction("a", truth, slices=[3, 4])
    run(dataset, steps=2)
    dataset.save_correction("a", truth, slices=[6])
    assert run(dataset, steps=2)["version"] == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"scope": "scan", "case": None}, "scope scan needs a case"),
        ({"scope": "model", "case": "a"}, "leave the case out"),
        ({"scope": "all", "case": None}, "scope must be scan or model"),
        ({"scope": ["scan"], "case": None}, "scope must be scan or model"),
        ({"seconds": 0}, "seconds must be positive"),
        ({"seconds": "x"}, "seconds must be a finite number, got 'x'"),
        ({"name": None}, "None cannot be a model's name"),
        ({"name": "default"}, "default"),
        ({"name": "a/b"}, "name"),
        ({"model": "nobody"}, "nobody"),
        ({"case": "z"}, "there is no case 'z'"),
    ],
)
def test_bad_input_is_one_line(open_phantoms: Callable[..., Dataset], options: dict[str, object], problem: str) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3])
    settings: dict[str, object] = {"name": "mine", "scope": "scan", "case": "a", "seconds": 1.0, "threads": 1} | options
    with pytest.raises(InputError, match=problem):
        finetune(dataset, **settings)  # type: ignore[arg-type]


def test_a_scans_name_is_not_taken_for_another(open_phantoms: Callable[..., Dataset]) -> None:
    dataset, truth = open_phantoms("ab"), wider(truth_of("a"))
    dataset.save_correction("a", truth, slices=[3, 4, 6])
    dataset.save_correction("b", wider(truth_of("b")), slices=[3, 4])
    assert run(dataset)["promoted"]
    options = {"name": "mine", "seconds": LONG, "threads": 1}
    with pytest.raises(InputError, match="'mine' holds rounds for the scan a; choose another name"):
        finetune(dataset, scope="scan", case="b", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'mine' holds rounds for the scan a; choose another name"):
        finetune(dataset, scope="model", **options)  # type: ignore[arg-type]


def test_untouched_slices_of_corrected_scans_are_checked_beside_other_scans(
    open_phantoms: Callable[..., Dataset],
) -> None:
    dataset = open_phantoms("ab")
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    report = run(dataset, scope="model", steps=1)
    roles = [(case["case"], case["role"], case["slices"]) for case in report["cases"]]  # type: ignore[attr-defined]
    assert roles == [("a", "held back", 2), ("b", "confident", SLICES), ("a", "confident", SLICES - 2)]


def test_a_single_corrected_slice_is_enough_for_the_model_too(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms("a")
    dataset.save_correction("a", wider(truth_of("a")), slices=[4])
    report = run(dataset, scope="model", steps=2)
    assert report["steps"] == 2
    assert ("a", "confident") in {(case["case"], case["role"]) for case in report["cases"]}  # type: ignore[attr-defined]


def test_a_corrected_case_that_cannot_be_read_is_left_out(
    open_phantoms: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = open_phantoms("ab")
    for name in "ab":
        dataset.save_correction(name, wider(truth_of(name)), slices=[3, 4])
    (tmp_path / "data" / "b" / "b_1.tif").write_bytes(b"damaged")
    report = run(dataset, scope="model", steps=1)
    assert (report["steps"], report["slices_corrected"]) == (1, 2)
    assert "; case b was left out (" in str(report["reason"])
    with pytest.raises(InputError, match=r"b_1\.tif"):
        finetune(dataset, name="other", scope="scan", case="b", seconds=1.0, threads=1)


def test_a_corrected_slice_that_its_scan_has_lost_is_left_out(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    monkeypatch.setattr(Case, "corrected_slices", lambda case: [3, 4, SLICES])
    report = run(dataset, steps=1)
    assert (report["steps"], report["slices_corrected"]) == (1, 2)
    assert str(report["reason"]).endswith(f"; no longer there: slice {SLICES} of case a")
    monkeypatch.setattr(Case, "corrected_slices", lambda case: [SLICES])
    with pytest.raises(InputError, match=f"no longer there: slice {SLICES} of case a"):
        run(dataset)


def test_a_general_model_does_not_become_a_scans_own(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    Registry().import_file(shipped(), name="mine")
    with pytest.raises(InputError, match="'mine' is one for all scans; choose another name"):
        run(dataset)


def test_a_scans_own_model_begun_twice_goes_on(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3, 4])
    line = VersionLine("mine", registry=Registry())
    line.begin(shipped())
    # What two rounds that began at once once left behind.
    shutil.copy(line.path, line.folder / "0001.safetensors")
    options = {"name": "mine", "scope": "scan", "case": "a", "seconds": 60, "threads": 1}
    for _ in range(2):
        assert finetune(dataset, policy=policy("scan", 2), **options)["steps"] > 0  # type: ignore[arg-type]


@pytest.mark.parametrize(("others", "learned"), [("b", 0), ("bc", 1)])
def test_no_scan_is_learned_from_by_whose_mask_a_round_is_checked(
    open_phantoms: Callable[..., Dataset], others: str, learned: int
) -> None:
    class Told:
        def predict(self, scan: Scan, slices: Sequence[int], **_: object) -> None:
            scan.predicted = np.ones(len(scan.mask), bool)

        def to_check(self, scan: Scan) -> list[int]:
            return []

    dataset = open_phantoms(f"a{others}", masks=others)
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4])
    data = read_round(dataset, scope="model", case=None, channel_names=("pre", "flair", "post"))
    asked = ask_parent(data, Told(), RoundClock(seconds=60))  # type: ignore[arg-type]
    assert (len(asked.others), len(asked.checked)) == (learned, 1)
    assert not {scan.case_id for scan in asked.others} & {scan.case_id for scan in asked.checked}


def test_an_adaptation_stays_one_when_it_was_imported(open_phantoms: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = open_phantoms("ab")
    for name in "ab":
        dataset.save_correction(name, truth_of(name), slices=[3, 4])
    finetune(
        dataset, name="own", scope="scan", case="a", seconds=60, policy=replace(policy("scan", 2), **EASY), threads=1
    )
    path = Registry().export("own", tmp_path / "own.safetensors")
    Registry().import_file(path, name="imported")
    for scope, case in (("scan", "b"), ("model", None)):
        with pytest.raises(InputError, match="model 'imported' holds rounds for the scan a"):
            finetune(dataset, name="imported", scope=scope, case=case, policy=policy(scope, 2), threads=1)
    again = finetune(dataset, name="imported", scope="scan", case="a", policy=policy("scan", 2), threads=1)
    assert again["steps"] > 0
    with pytest.raises(InputError, match="was adapted to the scan a; begin with one for all scans"):
        finetune(dataset, model="own", name="all", scope="model", policy=policy("model", 2), threads=1)
    # As a process leaves it that is killed before the adaptation has its number.
    VersionLine("own", registry=Registry()).versions()[1].path.unlink()
    with pytest.raises(InputError, match="model 'own' holds rounds for the scan a"):
        finetune(dataset, name="own", scope="model", policy=policy("model", 2), threads=1)


def test_a_parent_that_is_replaced_while_it_is_read_is_read_again(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its weights and the hash that a version's parent is known by are of the same file."""
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3, 4])
    parent = Path(shutil.copy(shipped(), tmp_path / "parent.safetensors"))
    names: list[str] = []

    def load(path: Path) -> tuple[Network, Any]:
        network, description = load_checkpoint(path)
        names.append(description.name)
        if len(names) == 1:
            save_checkpoint(path, network, replace(description, name="another"))
        return network, description

    monkeypatch.setattr(module, "load_checkpoint", load)
    run(dataset, model=parent, steps=2)
    assert names[1:] == ["another"]
    version = VersionLine("mine", registry=Registry()).versions()[-1]
    assert load_checkpoint(version.path)[1].parent == digest(parent)


def test_the_random_numbers_and_threads_of_the_caller_are_left_alone(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3, 4])
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    assert run(dataset, steps=2, threads=threads + 1)["steps"] == 2
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_name_that_another_round_took_meanwhile_is_left_to_it(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms("ab")
    for case in ("a", "b"):
        dataset.save_correction(case, truth_of(case), slices=[3, 4])
    slow = begin(dataset, steps=2)
    next(slow)
    run(dataset, scope="model", steps=2)
    line = VersionLine("mine", registry=Registry())
    versions = [version.number for version in line.versions()]
    with pytest.raises(InputError, match="'mine' is one for all scans; choose another name"):
        list(slow)
    assert [version.number for version in line.versions()] == versions
    run(dataset, scope="model", steps=2, model="mine")


def test_seconds_may_be_given_as_text(open_phantoms: Callable[..., Dataset]) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3, 4])
    assert run(dataset, steps=2, seconds="600")["steps"] == 2


def test_a_folder_of_versions_that_cannot_be_written_is_told_before_the_training(
    open_phantoms: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_phantoms()
    dataset.save_correction("a", truth_of("a"), slices=[3, 4])
    Registry().folder.mkdir(parents=True, exist_ok=True)
    (Registry().folder / "mine.versions").touch()
    monkeypatch.setattr("napari_unet_seg.engine.finetune.Round", pytest.fail)
    with pytest.raises(InputError, match=r"mine\.versions"):
        finetune(dataset, name="mine", scope="scan", case="a", policy=policy("scan", 2), threads=1)


def test_an_adaptation_is_found_by_the_scan_as_it_is_read(tmp_path: Path) -> None:
    """FLAIR alone, as one file: the model sees it three times, the adaptation belongs to the file's own pixels."""
    volume, _ = make_phantom(slices=SLICES, size=SIZE, seed=ord("a"))
    nib.save(nib.Nifti1Image(volume.data[1].T, np.eye(4)), tmp_path / "a_flair.nii.gz")
    dataset = open_dataset(tmp_path)
    case = dataset.cases[0]
    dataset.save_correction(case.case_id, np.zeros((SLICES, SIZE, SIZE), np.uint8), slices=[0])
    mask = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    mask[3:6, 20:60, 30:60] = 1
    dataset.save_correction(case.case_id, mask, slices=[3, 4, 5])
    easy = replace(policy("scan", 2), least_gain=-1.0, least_agreement_confirmed=0.0)  # type: ignore[type-var]
    report = run(dataset, policy=easy)
    found = Registry().model_of_scan(image_hash(case.read_image()))
    assert (found is not None and found.scope == "scan") == report["promoted"]
    _, description = load_checkpoint(VersionLine("mine", registry=Registry()).versions()[-1].path)
    assert description.training["image_hash"] == image_hash(case.read_image())


def test_the_time_is_kept(open_phantoms: Callable[..., Dataset]) -> None:
    """No assertion on seconds but on their use: a round of some seconds ends by its time, not by its steps."""
    dataset = open_phantoms()
    dataset.save_correction("a", wider(truth_of("a")), slices=[3, 4, 6])
    report = run(dataset, steps=100_000, seconds=4.0)
    assert 0 < report["steps"] < 100_000  # type: ignore[operator]
