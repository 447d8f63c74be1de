import json
from pathlib import Path
from typing import Any

import pytest

from napari_unet_seg.cli import main
from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.suggest import Suggestion
from napari_unet_seg.errors import InputError, SegmentationError
from tests.engine.models import save_small

Capture = pytest.CaptureFixture[str]
CASE = "TCGA_XX_1000_20000101"


class FakeSuggest:
    """Stands in for `suggest`; it keeps what it was called with."""

    def __init__(self) -> None:
        self.found = [Suggestion(case=CASE, slice=z, score=99.6 - z, reason=f"unsure about {z}") for z in range(25)]
        self.broken = False
        self.error: Exception | None = None
        self.called_with: dict[str, Any] = {}

    def __call__(self, dataset: Dataset, segmenter: object, **options: Any) -> list[Suggestion]:
        self.called_with = options
        if self.error is not None:
            raise self.error
        if self.broken:
            case = next(iter(dataset))
            options["failed"](case, InputError("the file is empty", path="p_1.tif"))
        return self.found


@pytest.fixture
def fake_suggest(monkeypatch: pytest.MonkeyPatch) -> FakeSuggest:
    fake = FakeSuggest()
    monkeypatch.setattr("napari_unet_seg.engine.suggest.suggest", fake)
    return fake


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    patients = write_kaggle(tmp_path / "kaggle_3m", patients=2, slices=3, size=32)
    return ["suggest", str(patients), "--model", str(save_small(tmp_path / "small.safetensors"))]


def test_the_worst_are_printed_and_all_written(
    tmp_path: Path, arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture
) -> None:
    assert main([*arguments, "--json", str(tmp_path / "s.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{CASE}  slice 0: unsure about 0 (worth about 100 pixels)"
    assert len(lines) == 21
    assert lines[-1] == "and 5 more; see --limit and --json"
    written = json.loads((tmp_path / "s.json").read_text())
    assert len(written) == 25
    assert written[1] == {"case": CASE, "slice": 1, "score": 98.6, "reason": "unsure about 1"}


def test_a_limit_holds_for_both(
    tmp_path: Path, arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture
) -> None:
    assert main([*arguments, "--json", str(tmp_path / "s.json"), "--limit", "22"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 22
    assert len(json.loads((tmp_path / "s.json").read_text())) == 22


def test_one_case_alone(arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture) -> None:
    assert main([*arguments, "--case", CASE]) == 0
    assert fake_suggest.called_with["cases"] == [CASE]
    assert main([*arguments, "--case", "nobody"]) == 2
    assert "there is no case 'nobody'" in capsys.readouterr().err


def test_nothing_left_to_suggest(arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture) -> None:
    fake_suggest.found = []
    assert main(arguments) == 0
    assert capsys.readouterr().out == "there is no slice left to suggest\n"


def test_a_broken_case_is_reported_and_the_others_go_on(
    arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture
) -> None:
    fake_suggest.broken = True
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == "napari-unet-seg: p_1.tif: the file is empty\n"
    assert len(captured.out.splitlines()) == 21


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SegmentationError("the network failed on cpu: no"), "the network failed on cpu: no"),
        (MemoryError(), "there is not enough memory for suggest; close other programs and start it again"),
        (RuntimeError("CUDA out of memory"), "there is not enough memory for suggest; close other programs"),
    ],
)
def test_a_computation_that_fails_is_one_line(
    arguments: list[str], fake_suggest: FakeSuggest, error: Exception, said: str, capsys: Capture
) -> None:
    fake_suggest.error = error
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"napari-unet-seg: {said}")


def test_a_fault_of_the_program_keeps_its_traceback(arguments: list[str], fake_suggest: FakeSuggest) -> None:
    fake_suggest.error = RuntimeError("a shape is wrong")
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        main(arguments)


def test_a_file_that_cannot_be_written_shows_first(
    tmp_path: Path, arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture
) -> None:
    (tmp_path / "a file").touch()
    assert main([*arguments, "--json", str(tmp_path / "a file" / "s.json")]) == 2
    assert "s.json: cannot be written" in capsys.readouterr().err
    assert fake_suggest.called_with == {}


def test_a_limit_of_nothing_is_one_line(arguments: list[str], fake_suggest: FakeSuggest, capsys: Capture) -> None:
    assert main([*arguments, "--limit", "0"]) == 2
    assert capsys.readouterr().err == "napari-unet-seg: --limit must be 1 or more, got 0\n"
    assert fake_suggest.called_with == {}


def test_the_model_s_own_slices(tmp_path: Path, arguments: list[str]) -> None:
    assert main([*arguments, "--case", CASE, "--json", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text())
    assert all(list(entry) == ["case", "slice", "score", "reason"] for entry in written)
    assert {entry["case"] for entry in written} == {CASE}
    assert {entry["slice"] for entry in written} <= {0, 1, 2}


def test_case_after_case_is_told(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [f"[1/2] {CASE}", "[2/2] TCGA_XX_1001_20000101"]
    assert main([*arguments, "--case", CASE]) == 0
    assert "[1/1]" not in capsys.readouterr().out


def test_corrections_beside_a_read_only_dataset_count(
    tmp_path: Path, arguments: list[str], fake_suggest: FakeSuggest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def look(dataset: Dataset, segmenter: object, **options: Any) -> list[Suggestion]:
        seen.append(dataset[CASE].corrected_slices())
        return []

    monkeypatch.setattr("napari_unet_seg.engine.suggest.suggest", look)
    dataset = open_dataset(arguments[1], tmp_path / "mine")
    mask = dataset[CASE].read_mask()
    assert mask is not None
    dataset.save_correction(CASE, 1 - mask, slices=[1])
    assert main([*arguments, "--overlay", str(tmp_path / "mine")]) == 0
    assert main(arguments) == 0
    assert seen == [[1], []]
