from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_unet_seg.engine.checkpoint import file_hash
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores
from napari_unet_seg.engine.metrics import Counts
from tests.engine.models import save_small
from training import compare
from training.report.fold_scores import FoldScores


def write_run(
    folder: Path, dice: dict[str, float], *, told: bool = True, fold: int = 0, learning_rate: float = 1e-3
) -> Path:
    """The output of a cross-validation of one fold: of each case a slice of its Dice, and an empty one.

    A case below 0.5 has a false mask on that. An older version has not told whose the slices are.
    """
    folder.mkdir(exist_ok=True)
    checkpoint = save_small(folder / f"fold_{fold}.safetensors")
    cases = [
        CaseScores(case=case, dice=value, iou=value, hd95_mm=None, precision=1, recall=1,
                   volume_ml_true=1, volume_ml_pred=1)
        for case, value in dice.items()
    ]  # fmt: skip
    slices = []
    for value in dice.values():
        overlap = round(10 * value)
        for counts in (Counts(tp=overlap, fn=10 - overlap, fp=10 - overlap), Counts(fp=int(value < 0.5))):
            slices.append(SliceScores(counts=counts, pixels=40, soft_overlap=1, soft_sum=1))
    FoldScores(
        fold=fold, checkpoint=checkpoint, sha256=file_hash(checkpoint), recipe="small",
        training={"fit": {"learning_rate": learning_rate}}, spacing_assumed=0,
        cases=cases, slices=slices, slice_counts=[2] * len(cases) if told else None,
    ).save(folder / f"fold_{fold}.json")  # fmt: skip
    return folder


def test_a_change_is_compared_patient_by_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_run(tmp_path / "base", {"a": 0.5, "b": 0.6, "c": 0.7})
    # What only one of the two has scored takes no part.
    change = write_run(tmp_path / "change", {"b": 0.7, "a": 0.5, "d": 0.1})
    assert compare.main([str(base), str(change), "--json", str(tmp_path / "rows.json")]) == 0
    first, second = json.loads((tmp_path / "rows.json").read_text())
    assert first["difference"] is None
    assert first["volume_dice_mean"] == pytest.approx(0.6)
    assert second["cases"] == 2
    assert second["difference"]["mean"] == pytest.approx(0.05)
    assert (second["difference"]["better"], second["difference"]["worse"]) == (1, 0)
    assert second["dice"] == {"b": 0.7, "a": 0.5}
    assert "| change | 2 | 0.600 | 0.600 | 0.0% | +0.050 (+0.000 to +0.100) | 1, 0 |" in capsys.readouterr().out


def test_the_first_folder_may_be_given_among_the_others_once_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_run(tmp_path / "base", {"a": 0.5})
    change = write_run(tmp_path / "change", {"a": 0.6})
    assert compare.main([str(base), f"{base}/", str(change)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| base", "| change"]


def test_slices_of_an_older_version_are_compared_where_it_is_known_whose_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_run(tmp_path / "base", {"a": 0.5, "b": 0.6}, told=False)
    change = write_run(tmp_path / "change", {"a": 0.5, "b": 0.7}, told=False)
    other = write_run(tmp_path / "other", {"c": 0.1}, told=False)
    # A fold that the first run has not is left out as a whole.
    rows = compare.compare({"base": compare.read_run(base), "both": compare.read_run(change) + compare.read_run(other)})
    assert [row["tumour_slice_dice_mean"] for row in rows] == pytest.approx([0.55, 0.6])
    more = write_run(tmp_path / "more", {"a": 0.5, "c": 0.7}, told=False)
    assert compare.main([str(base), str(more)]) == 2
    told = capsys.readouterr().err
    assert f"{more / 'fold_0.json'}: does not say which slices are whose" in told
    assert told.count("\n") == 1


def test_scans_of_one_patient_count_as_one_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = {"TCGA_CS_4941_1996": 0.5, "TCGA_CS_4941_1997": 0.5, "TCGA_CS_4941_1998": 0.5}
    base = write_run(tmp_path / "base", {**scans, "TCGA_DU_1111_1999": 0.5})
    change = write_run(tmp_path / "change", {**dict.fromkeys(scans, 0.9), "TCGA_DU_1111_1999": 0.1})
    (difference,) = (row["difference"] for row in compare.compare(runs(base, change))[1:])
    assert difference["mean"] == pytest.approx(0.2)
    assert difference["ci95"] == pytest.approx([-0.4, 0.4])
    assert (difference["better"], difference["worse"]) == (1, 1)
    alone = write_run(tmp_path / "alone", dict.fromkeys(scans, 0.6))
    assert compare.main([str(base), str(alone)]) == 0
    assert "| +0.100 | 1, 0 |" in capsys.readouterr().out


def runs(*folders: Path) -> dict[str, list[FoldScores]]:
    return {folder.name: compare.read_run(folder) for folder in folders}


def test_runs_that_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, other = write_run(tmp_path / "base", {"a": 0.5}), write_run(tmp_path / "other", {"b": 0.5})
    assert compare.main([str(base), str(other)]) == 2
    assert capsys.readouterr().err == "other has no patient in common with base; compare the same folds\n"
    (tmp_path / "nothing").mkdir()
    assert compare.main([str(base), str(tmp_path / "nothing")]) == 2
    assert "holds no scores of a fold" in capsys.readouterr().err
    assert compare.main([str(base), str(tmp_path / "not there")]) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'not there'}: there is no such file\n"
    (other / "fold_0.json").write_text("{")
    assert compare.main([str(base), str(other)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_folds_that_were_trained_differently_are_not_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_run(tmp_path / "base", {"a": 0.5})
    write_run(base, {"b": 0.5}, fold=1)
    assert compare.main([str(base)]) == 0
    write_run(base, {"b": 0.5}, fold=1, learning_rate=2e-3)
    assert compare.main([str(base)]) == 2
    told = capsys.readouterr().err
    assert f"{base / 'fold_1.safetensors'}: was trained with other settings" in told
    assert "fit.learning_rate 0.002, not 0.001" in told
    assert told.count("\n") == 1
