import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.bright_flair import bright_region
from napari_unet_seg.engine.expected_error import error_alike, find_signs
from napari_unet_seg.engine.postprocess import mask_from_probability
from napari_unet_seg.engine.suggest import Suggestion, suggest, suggest_slices
from napari_unet_seg.errors import InputError
from tests.fakes import FakeSegmenter

DEPTH, SIZE = 9, 40


class Model(FakeSegmenter):
    def mask(self, probability: np.ndarray) -> np.ndarray:
        return mask_from_probability(probability)


def scan(flair: np.ndarray | None = None, *, spacing: float = 5.0) -> Volume:
    data = np.full((1, DEPTH, SIZE, SIZE), 50, np.uint8) if flair is None else flair[None]
    return Volume(data=data, channel_names=("flair",), spacing=(spacing, 1.0, 1.0))


def column(*, first: int = 2, last: int = 6, inside: float = 0.99) -> np.ndarray:
    """Probabilities of a square column through some slices, sure of itself."""
    p = np.full((DEPTH, SIZE, SIZE), 0.001, np.float32)
    p[first : last + 1, 10:25, 10:25] = inside
    return p


def ranked(probability: np.ndarray, **options: object) -> list[Suggestion]:
    values = {"volume": scan(), "probability": probability, "case": "a", "flair": None, **options}
    return suggest_slices(**values)  # type: ignore[arg-type]


def reasons(found: list[Suggestion]) -> dict[int, str]:
    return {suggestion.slice: suggestion.reason for suggestion in found}


def test_where_the_model_is_unsure_of_the_border_comes_first() -> None:
    p = column()
    p[4, 10:15, 10:25] = 0.55
    found = ranked(p)
    assert (found[0].case, found[0].slice) == ("a", 4)
    assert found[0].reason == "model unsure along 23% of the border"


def test_scores_descend_and_speak_of_wrong_pixels() -> None:
    p = column()
    p[4, 5:10, 10:25] = 0.4
    scores = [suggestion.score for suggestion in ranked(p)]
    assert scores == sorted(scores, reverse=True)
    assert 60 < scores[0] < 200
    assert all(type(suggestion.score) is float and type(suggestion.slice) is int for suggestion in ranked(p))


def test_a_corrected_slice_that_the_scan_has_no_longer_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(write_kaggle(tmp_path / "kaggle_3m", patients=1, slices=6, size=SIZE))
    case_id = dataset.cases[0].case_id
    mask = np.zeros((6, SIZE, SIZE), np.uint8)
    dataset.save_correction(case_id, mask, slices=[2, 5])
    for path in dataset.root.rglob("*_6*.tif"):
        path.unlink()
    found = suggest(open_dataset(dataset.root), Model())
    assert {suggestion.case for suggestion in found} <= {case_id}
    assert 2 not in {suggestion.slice for suggestion in found}


def test_a_jump_is_named_by_its_two_slices() -> None:
    p = column(last=3)
    p[4:7, 10:25, 22:37] = 0.99
    assert reasons(ranked(p))[3] == reasons(ranked(p))[4] == "the mask jumps between slices 3 and 4"


def test_a_mask_that_touches_no_other() -> None:
    p = column(last=4)
    p[7, 30:36, 30:36] = 0.99
    assert reasons(ranked(p))[7] == "the mask touches none of a neighbouring slice"


def test_a_slice_without_mask_beside_one_with_is_found_by_flair() -> None:
    flair = np.full((DEPTH, SIZE, SIZE), 50, np.uint8)
    flair[2:8, 10:25, 10:25] = 120
    found = ranked(column(), volume=scan(flair), flair=0)
    assert reasons(found)[7] == "no mask but bright FLAIR"
    assert found[0].slice == 7
    assert 1 not in reasons(found)
    assert 7 not in reasons(ranked(column(), volume=scan(flair)))


def test_a_slice_without_mask_that_the_model_is_unsure_of() -> None:
    p = column()
    p[7, 10:20, 10:20] = 0.4
    assert reasons(ranked(p))[7] == "no mask, but the model is unsure"


def test_doubt_without_a_mask_counts_for_more_where_the_scan_has_none_at_all() -> None:
    nothing = np.zeros((DEPTH, SIZE, SIZE), np.float32)
    scores = []
    for p in (column(), nothing):
        p[8, 10:20, 10:20] = 0.4
        scores.append({suggestion.slice: suggestion.score for suggestion in ranked(p)}[8])
    assert scores == pytest.approx([20, 80], abs=1)


def test_in_a_scan_without_any_mask_the_bright_side_is_shown() -> None:
    volume, truth = make_phantom(slices=12, size=64)
    nothing = np.zeros(truth.shape, np.float32)
    found = suggest_slices(volume, nothing, case="a", flair=1)
    assert found[0].reason == "no mask but bright FLAIR on one side"
    assert all(truth[suggestion.slice].any() for suggestion in found[:3])
    # A person looked and left it empty.
    assert suggest_slices(volume, nothing, case="a", flair=1, corrected=[found[0].slice]) == []
    assert set(reasons(suggest_slices(volume, nothing, case="a", flair=1, corrected=[0]))) == set(reasons(found))


def test_a_head_alike_on_both_sides_has_no_bright_region() -> None:
    _, height, width = make_phantom()[1].shape
    symmetrical = np.zeros((4, height, width), np.uint8)
    symmetrical[:, 8:-8, 8:-8] = 80
    symmetrical[:, 24:32, 16:24] = symmetrical[:, 24:32, 40:48] = 160
    assert not bright_region(symmetrical).any()
    symmetrical[:, 24:32, 40:48] = 80
    # 8x8, and a little more for the smoothing.
    assert bright_region(symmetrical).tolist() == pytest.approx([80] * 4, abs=20)
    assert not bright_region(np.zeros((3, 20, 20))).any()
    assert not bright_region(np.zeros((3, 9, 9))).any()


def test_corrected_slices_are_not_suggested_and_their_neighbours_less() -> None:
    p = column()
    before = {suggestion.slice: suggestion.score for suggestion in ranked(p)}
    mask = (p >= 0.5).astype(np.uint8)
    after = {suggestion.slice: suggestion.score for suggestion in ranked(p, mask=mask, corrected=[4])}
    assert set(before) - set(after) == {4}
    # The model was right there.
    assert after[3] < 0.8 * before[3]


def test_what_was_wrong_in_a_corrected_slice_is_expected_beside_it() -> None:
    p = column()
    mask = (p >= 0.5).astype(np.uint8)
    mask[4, 25:40, 10:25] = 1
    found = ranked(p, mask=mask, corrected=[4])
    assert {found[0].slice, found[1].slice} == {3, 5}
    assert found[0].reason == "225 pixels like those corrected in slice 4"


def test_only_errors_in_the_same_direction_count() -> None:
    p = column(inside=0.9)
    mask = (p >= 0.5).astype(np.uint8)
    mask[4] = 0
    assert error_alike(p, mask, known=4, z=5, threshold=0.5) == 225
    # Beyond the end nothing was drawn that could be wrong.
    assert error_alike(p, mask, known=4, z=8, threshold=0.5) == 0


def test_neighbours_are_not_taken_in_a_row() -> None:
    p = column(first=0, last=8)
    order = [suggestion.slice for suggestion in ranked(p)]
    assert abs(order[0] - order[1]) > 1


def test_thin_slices_tell_more_of_each_other() -> None:
    p = column(first=0, last=8)
    thick, thin = (ranked(p, volume=scan(spacing=spacing)) for spacing in (5.0, 1.0))
    assert thin[0].score == thick[0].score
    assert thin[-1].score < thick[-1].score


def test_the_threshold_is_where_the_model_is_least_sure() -> None:
    p = np.full((1, 1, 2), 0.3, np.float32)
    p[..., 1] = 0.6
    unsure = [find_signs(p, np.ones(p.shape, np.uint8), None, threshold=t).unsure[0] for t in (0.5, 0.3)]
    assert unsure == pytest.approx([0.3 + 0.4, 0.5 + 0.4 / 1.4])


def test_nothing_to_say() -> None:
    assert ranked(np.zeros((DEPTH, SIZE, SIZE), np.float32)) == []
    assert ranked(column(), corrected=range(DEPTH)) == []


def test_a_single_slice() -> None:
    p = column()[4:5]
    volume = Volume(data=np.zeros((1, 1, SIZE, SIZE), np.uint8), channel_names=("flair",))
    (found,) = ranked(p, volume=volume, flair=0)
    assert (found.slice, found.reason) == (0, "56 pixels of border, where masks err most")


@pytest.mark.parametrize("z", [0, DEPTH - 1])
def test_at_an_end_of_the_scan_there_is_one_neighbour(z: int) -> None:
    p = column()
    p[1:-1] = p[DEPTH // 2]
    p[[0, -1]] = p[1]
    assert "unlike" not in reasons(ranked(p))[z]
    p[z, 10:25, 25:31] = 1
    assert reasons(ranked(p))[z] == "90 pixels unlike the neighbouring slice"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        ranked(column()[1:])


def test_what_is_handed_in_stays_as_it_is() -> None:
    p = column()
    mask = (p >= 0.5).astype(np.uint8)
    for array in (p, mask):
        array.setflags(write=False)
    ranked(p, mask=mask, corrected=[3])


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(write_kaggle(tmp_path, patients=2, slices=6, size=32))


def test_a_dataset_across_its_cases(dataset: Dataset) -> None:
    done: list[str] = []
    found = suggest(dataset, Model(), progress=lambda case: done.append(case.case_id))  # type: ignore[arg-type]
    assert done == [case.case_id for case in dataset]
    assert {suggestion.case for suggestion in found} == set(done)
    scores = [suggestion.score for suggestion in found]
    assert scores == sorted(scores, reverse=True)
    alone = suggest(dataset, Model(), cases=[done[1]])  # type: ignore[arg-type]
    assert suggest(dataset, Model(), cases=done[1]) == alone  # type: ignore[arg-type]
    assert alone == [suggestion for suggestion in found if suggestion.case == done[1]]


def test_saved_corrections_are_known(dataset: Dataset) -> None:
    case = dataset.cases[0].case_id
    worst = suggest(dataset, Model(), cases=[case])[0]  # type: ignore[arg-type]
    dataset.save_correction(case, np.zeros((6, 32, 32), np.uint8), slices=[worst.slice])
    assert worst.slice not in reasons(suggest(dataset, Model(), cases=[case]))  # type: ignore[arg-type]


def test_a_correction_whose_mask_file_is_gone_is_none(dataset: Dataset) -> None:
    case = dataset.cases[0].case_id
    worst = suggest(dataset, Model(), cases=[case])[0]  # type: ignore[arg-type]
    dataset.save_correction(case, np.zeros((6, 32, 32), np.uint8), slices=[worst.slice])
    (dataset.root / case / f"{case}_{worst.slice + 1}_mask.tif").unlink()
    assert suggest(open_dataset(dataset.root), Model(), cases=[case])[0] == worst  # type: ignore[arg-type]


def test_a_case_that_cannot_be_read_is_passed_over(dataset: Dataset) -> None:
    broken, whole = (case.case_id for case in dataset)
    (dataset.root / broken / f"{broken}_1.tif").write_bytes(b"")
    told: list[str] = []
    found = suggest(dataset, Model(), failed=lambda case, _: told.append(case.case_id))  # type: ignore[arg-type]
    assert told == [broken]
    assert {suggestion.case for suggestion in found} == {whole}
    with pytest.raises(InputError, match=f"{broken}_1.tif"):
        suggest(dataset, Model())  # type: ignore[arg-type]


def test_an_unknown_case(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="there is no case 'nobody'"):
        suggest(dataset, Model(), cases=["nobody"])  # type: ignore[arg-type]


def test_no_torch_is_loaded() -> None:
    code = "import sys, napari_unet_seg.engine.suggest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
