import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.checkpoint import load_checkpoint, read_description, save_checkpoint
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.errors import InputError
from tests.training.simulated import FakeFinetune, save_fold, suggest_last
from training import simulate
from training.simulation.model import dice_by_case, reference_dice, simulate_model, spread
from training.simulation.patients import read_patient, unseen_cases
from training.simulation.retraining import Plan
from training.simulation.scan import ScanRun, dice_of, simulate_scan
from training.simulation.studies import make_cohort, run_scans, scan_runs
from training.simulation.summary import summarise_models, summarise_scans
from training.simulation.tables import scan_table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=4, slices=6, size=32)


@pytest.fixture
def names(data: Path) -> list[str]:
    return sorted(folder.name for folder in data.iterdir())


@pytest.fixture
def fold(tmp_path: Path, names: list[str]) -> Path:
    """Trained on the last patient; the others are held out."""
    return save_fold(tmp_path / "fold.safetensors", cases=names[3:], held_out=names[:3])


def plan(data: Path, **settings: object) -> Plan:
    return Plan(data=data, seconds=1.0, device="cpu", **settings)


def scan(
    fold: Path, case: str, data: Path, finetune: FakeFinetune, *, pick: str = "worst", beside=(), labelled=(), **more
):
    run = ScanRun(checkpoint=fold, case=case, pick=pick, beside=tuple(beside), labelled=tuple(labelled))
    return simulate_scan(run, plan=plan(data, **more), finetune=finetune, suggest_slices=suggest_last)


def test_the_scores_are_those_of_the_slices_that_were_not_corrected(data: Path, names: list[str], fold: Path) -> None:
    result = scan(fold, names[0], data, FakeFinetune())
    patient = read_patient(open_dataset(data)[names[0]])
    segmenter = load_model(fold, device="cpu")
    mask = segmenter.mask(segmenter.predict(patient.volume))
    (done,) = result["rounds"]
    corrected = done["slices"]
    assert len(corrected) == done["corrected"] == 3
    assert result["dice"] == dice_of(mask, patient)
    assert done["parent"]["untouched"] == dice_of(mask, patient, without=corrected)
    mask[corrected] = patient.truth[corrected]
    assert done["parent"]["whole"] == dice_of(mask, patient) > result["dice"]


@pytest.mark.parametrize("promoted", [True, False])
def test_what_is_kept_is_what_the_gate_lets_through(data: Path, names: list[str], fold: Path, promoted: bool) -> None:
    (done,) = scan(fold, names[0], data, FakeFinetune(promoted=promoted))["rounds"]
    assert done["tuned"] != done["parent"]
    assert done["kept"] == (done["tuned"] if promoted else done["parent"])


def test_nothing_but_the_corrections_is_labelled(data: Path, names: list[str], fold: Path) -> None:
    finetune = FakeFinetune()
    result = scan(fold, names[0], data, finetune, beside=names[:3])
    (call,) = finetune.calls
    corrected = sorted(result["rounds"][0]["slices"])
    assert call["labelled"] == {names[0]: corrected, names[1]: [], names[2]: []}
    assert call["corrected"] == {names[0]: corrected}
    assert (call["scope"], call["case"], call["seconds"]) == ("scan", names[0], 1.0)


def test_labelled_cases_come_with_their_masks_unless_they_are_corrected(
    data: Path, names: list[str], fold: Path
) -> None:
    finetune = FakeFinetune()
    scan(fold, names[0], data, finetune, labelled=[names[0], names[3]])
    labelled = finetune.calls[0]["labelled"]
    assert (len(labelled[names[0]]), len(labelled[names[3]])) == (3, 6)


def test_rounds_go_on_with_other_slices_and_from_the_last_weights(data: Path, names: list[str], fold: Path) -> None:
    finetune = FakeFinetune()
    result = scan(fold, names[0], data, finetune, pick="suggested", slices=2, rounds=5)
    # Six slices are used up after three rounds.
    assert [done["slices"] for done in result["rounds"]] == [[5, 4], [3, 2], [1, 0]]
    assert [done["corrected"] for done in result["rounds"]] == [2, 4, 6]
    assert finetune.calls[0]["model"] == str(fold)
    assert finetune.calls[1]["model"] == finetune.calls[2]["model"] != str(fold)


def test_a_degraded_truth_is_scored_against_the_truth(data: Path, names: list[str], fold: Path) -> None:
    exact, worse = (
        scan(fold, names[0], data, FakeFinetune(), degrade=degrade)["rounds"][0] for degrade in ("", "shift:2")
    )
    assert exact["slices"] == worse["slices"]
    assert worse["parent"]["whole"] < exact["parent"]["whole"]
    assert worse["parent"]["untouched"] == exact["parent"]["untouched"]


def test_a_run_that_is_refused_does_not_end_the_others(data: Path, names: list[str], fold: Path) -> None:
    def refuse(*_: object, **told: object) -> dict[str, object]:
        if told["case"] == names[0]:
            raise InputError("nothing to learn from")
        return FakeFinetune()(*_, **told)

    runs = [ScanRun(checkpoint=fold, case=case, pick="worst") for case in names[:2]]
    first, second = run_scans(runs, plan=plan(data), finetune=refuse, suggest_slices=suggest_last)
    assert first == {"case": names[0], "pick": "worst", "seed": 0, "error": "nothing to learn from"}
    assert len(second["rounds"]) == 1


def test_corrections_are_spread_evenly() -> None:
    assert spread(8, ["a", "b", "c"]) == {"a": 3, "b": 3, "c": 2}


def test_the_model_is_scored_on_those_that_nobody_corrected(data: Path, names: list[str], fold: Path) -> None:
    finetune = FakeFinetune()
    dataset = open_dataset(data)
    cohort = make_cohort(dataset, fold, correct=names[:2], other=[names[3]])
    assert cohort.evaluate == (names[2],)
    before = dice_by_case(dataset, cohort.watched, load_model(fold, device="cpu"))
    run = simulate_model(
        cohort,
        plan=plan(data, slices=5, rounds=2),
        checkpoint=fold,
        before=before,
        pick="worst",
        seed=0,
        finetune=finetune,
        suggest_slices=suggest_last,
    )
    assert set(run["before"]) == {names[2], names[3]}
    assert {case: len(slices) for case, slices in run["rounds"][0]["slices"].items()} == {names[0]: 3, names[1]: 2}
    assert [done["corrected"] for done in run["rounds"]] == [5, 10]
    assert {case for case, slices in finetune.calls[1]["labelled"].items() if slices} == set(names[:2])
    assert set(finetune.calls[0]["labelled"]) == set(names[:3])
    assert all(done["kept"] == done["tuned"] for done in run["rounds"])
    rows = summarise_models([run], evaluate=cohort.evaluate, other=cohort.other, reference={names[2]: 1.0})
    gained = rows[1]["evaluated_after"] - rows[1]["evaluated_before"]
    assert rows[1]["gap_closed_after"] == pytest.approx(gained / (1 - run["before"][names[2]]))


def test_what_is_scored_is_not_rehearsed(data: Path, names: list[str], fold: Path) -> None:
    dataset = open_dataset(data)
    cohort = make_cohort(dataset, fold, correct=names[:1], rehearse_labelled=True)
    assert cohort.labelled == (names[3],)
    assert make_cohort(dataset, fold, correct=names[:1], other=[names[3]], rehearse_labelled=True).labelled == ()
    assert make_cohort(dataset, fold, correct=names[:1], alone=True).beside == ()
    assert make_cohort(dataset, fold, correct=names[:1], other=names[1:2]).beside == (names[0], names[2])


def test_seen_cases_are_neither_corrected_nor_evaluated(data: Path, names: list[str], fold: Path) -> None:
    dataset = open_dataset(data)
    with pytest.raises(InputError, match=f"trained on {names[3]}"):
        make_cohort(dataset, fold, correct=names[:1], evaluate=[names[3]])
    with pytest.raises(InputError, match=f"trained on {names[3]}"):
        scan_runs(dataset, [fold], cases=[names[3]], ways=[("worst", 0)])


def test_without_a_held_out_list_the_rest_of_the_dataset_is_unseen(
    tmp_path: Path, data: Path, names: list[str]
) -> None:
    other = save_fold(tmp_path / "other.safetensors", cases=names[:1], held_out=[])
    runs = scan_runs(open_dataset(data), [other], ways=[("worst", 0)], limit=2)
    assert [run.case for run in runs] == names[1:3]
    nothing = save_fold(tmp_path / "nothing.safetensors", cases=[], held_out=[])
    with pytest.raises(InputError, match="names no case"):
        scan_runs(open_dataset(data), [nothing], ways=[("worst", 0)])


def test_the_reference_of_a_case_never_saw_it(tmp_path: Path, data: Path, names: list[str], fold: Path) -> None:
    dataset = open_dataset(data)
    with pytest.raises(InputError, match=f"trained on {names[3]}"):
        reference_dice([fold], names, dataset=dataset, device="cpu")
    second = save_fold(tmp_path / "second.safetensors", cases=names[:3], held_out=names[3:])
    assert list(reference_dice([fold, second], names, dataset=dataset, device="cpu")) == names
    assert reference_dice([], names, dataset=dataset, device="cpu") == {}


def scan_result(
    case: str, pick: str, *, before: float, after: float, whole: float, promoted: bool = True, seed: int = 0
):
    scores = {"untouched": after, "untouched_slices": None, "whole": whole}
    return {
        "case": case,
        "pick": pick,
        "seed": seed,
        "dice": 0.5,
        "rounds": [
            {
                "slices": [1],
                "corrected": 1,
                "parent": {"untouched": before, "untouched_slices": None, "whole": 0.6},
                "kept": scores,
                "tuned": scores,
                "report": {"promoted": promoted, "reason": ""},
            }
        ],
    }


def test_means_are_over_patients_and_the_worst_over_runs() -> None:
    runs = [
        scan_result("a", "suggested", before=0.4, after=0.5, whole=0.8),
        scan_result("b", "suggested", before=0.4, after=0.7, whole=0.9, promoted=False),
        scan_result("a", "random", before=0.4, after=0.4, whole=0.6),
        scan_result("a", "random", before=0.4, after=0.2, whole=0.8, seed=1),
        scan_result("b", "random", before=0.4, after=0.6, whole=0.9),
    ]
    suggested, by_chance = summarise_scans(runs)
    assert (suggested["cases"], suggested["runs"], suggested["promoted"]) == (2, 2, 1)
    assert suggested["gain_mean"] == pytest.approx(0.2)
    assert suggested["dice_substituted"] == pytest.approx(0.6)
    assert (by_chance["cases"], by_chance["runs"]) == (2, 3)
    assert by_chance["gain_mean"] == pytest.approx((-0.1 + 0.2) / 2)
    assert by_chance["gain_worst"] == pytest.approx(-0.2)
    assert suggested["against"]["random"]["mean"] == pytest.approx((0.8 - 0.7 + 0.9 - 0.9) / 2)


def test_what_a_checkpoint_began_with_had_seen_is_not_unseen(
    tmp_path: Path, data: Path, names: list[str], fold: Path
) -> None:
    network, description = load_checkpoint(fold)
    training = {"cases": names[3:], "cases_before": names[:1]}
    save_checkpoint(fold, network, dataclasses.replace(description, training=training))
    dataset = open_dataset(data)
    assert unseen_cases(read_description(fold), dataset) == names[1:3]
    with pytest.raises(InputError, match=f"trained on {names[0]}"):
        make_cohort(dataset, fold, correct=[names[0]])
    with pytest.raises(InputError, match=f"reference was trained on {names[0]}"):
        reference_dice([fold], names[:2], dataset=dataset, device="cpu")


def test_scans_of_a_patient_make_no_interval_narrower() -> None:
    scans = [f"TCGA_CS_4941_199{number}" for number in range(3)]
    runs = [scan_result(case, "worst", before=0.4, after=0.5, whole=0.8) for case in scans]
    assert summarise_scans(runs)[0]["gain_ci95"] is None
    assert "gain +0.100, worst" in scan_table({"runs": runs, "summary": summarise_scans(runs), "failed": []})
    runs.append(scan_result("TCGA_DU_1111_1999", "worst", before=0.4, after=0.1, whole=0.2))
    assert summarise_scans(runs)[0]["gain_ci95"] == pytest.approx([-0.3, 0.1])


def command(scope: str, data: Path, fold: Path, output: Path, *more: str) -> list[str]:
    paths = ["--data", str(data), "--model", str(fold), "--output", str(output)]
    return [*paths, "--scope", scope, "--seconds", "1", "--device", "cpu", *more]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeFinetune:
    fake = FakeFinetune()
    monkeypatch.setattr(simulate, "finetune", fake)
    monkeypatch.setattr(simulate, "suggest_slices", suggest_last)
    return fake


def test_the_command_compares_picks(
    tmp_path: Path, data: Path, names: list[str], fold: Path, engine: FakeFinetune, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--pick", "suggested", "random", "--seeds", "2", "--limit", "2", "--slices", "2", "--rounds", "2"]
    assert simulate.main(command("scan", data, fold, tmp_path / "out", *more)) == 0
    assert len(engine.calls) == 2 * 3 * 2
    text = (tmp_path / "out" / "simulation.json").read_text()
    result = json.loads(text)
    assert len(result["runs"]) == 6
    assert [(row["pick"], row["round"], row["corrected"]) for row in result["summary"]] == [
        ("suggested", 1, 2),
        ("random", 1, 2),
        ("suggested", 2, 4),
        ("random", 2, 4),
    ]
    assert str(tmp_path) not in text
    assert (tmp_path / "out" / "simulation.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert f"6/6  {names[1]} random 1: untouched" in printed
    assert "against random" in printed


def test_the_command_closes_a_gap(
    tmp_path: Path, data: Path, names: list[str], fold: Path, engine: FakeFinetune, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = save_fold(tmp_path / "reference.safetensors", cases=names[:1], held_out=names[1:])
    more = ["--correct-cases", names[0], names[1], "--other-cases", names[3], "--reference", str(reference)]
    assert simulate.main(command("model", data, fold, tmp_path / "out", "--slices", "4", *more)) == 0
    result = json.loads((tmp_path / "out" / "simulation.json").read_text())
    (row,) = result["summary"]
    # The reference has the parent's weights here.
    assert row["reference"] == row["evaluated_before"] == result["reference"][names[2]]
    assert row["gap_closed_after"] is None
    assert row["other_before"] is not None
    assert (tmp_path / "out" / "simulation.png").exists()
    assert "promoted: yes (so it was told)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scope", "more", "problem"),
    [
        ("scan", ["--degrade", "blur"], "unknown degradation"),
        ("scan", ["--cases", "nobody"], "there is no case"),
        ("scan", ["--slices", "0"], "there must be slices"),
        ("scan", ["--seconds", "nan"], "a round takes time, got nan s"),
        ("model", [], "needs --correct-cases"),
        ("model", ["--correct-cases", "*_1000_*", "*_1001_*", "*_1002_*"], "no case is left to evaluate"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(
    tmp_path: Path,
    data: Path,
    fold: Path,
    engine: FakeFinetune,
    capsys: pytest.CaptureFixture[str],
    scope: str,
    more: list[str],
    problem: str,
) -> None:
    assert simulate.main(command(scope, data, fold, tmp_path / "out", *more)) == 2
    told = capsys.readouterr().err
    assert problem in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("scope", "problem"),
    [
        ("scan", "its header names no case of this dataset that it was not trained on"),
        ("model", "it was trained on {} or its patient; correct and evaluate others"),
    ],
)
def test_a_model_is_not_scored_on_what_it_has_learned(
    tmp_path: Path, data: Path, names: list[str], capsys: pytest.CaptureFixture[str], scope: str, problem: str
) -> None:
    Registry().folder.mkdir(parents=True)
    save_fold(Registry().folder / "all.safetensors", cases=names, held_out=[])
    more = ["--correct-cases", names[0]] if scope == "model" else []
    assert simulate.main(command(scope, data, Path("all"), tmp_path / "out", *more)) == 2
    assert capsys.readouterr().err.endswith(f"all.safetensors: {problem.format(names[0])}\n")


def test_the_truth_is_not_in_the_way_of_empty_slices(data: Path, names: list[str], fold: Path) -> None:
    """Slices without tumour in truth and mask don't count in the mean over slices."""
    (done,) = scan(fold, names[0], data, FakeFinetune(), slices=6)["rounds"]
    assert done["parent"] == {"untouched": 1.0, "untouched_slices": None, "whole": 1.0}
    assert np.isfinite(done["wall_seconds"])
